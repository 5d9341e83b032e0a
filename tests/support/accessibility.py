"""The accessibility report: which rules axe checks in the tests, and what was checked by hand.

Write it again after a change of either:

    python -m tests.support.accessibility
"""

import csv
import re
import textwrap
from collections import Counter, defaultdict

import yaml
from playwright.sync_api import Browser

from progress.files import ROOT
from tests.support import browser

TESTS = ROOT / "tests" / "query" / "page"
LEVELS = {
    "supports": "met",
    "partially-supports": "met in part",
    "does-not-support": "not met",
    "not-applicable": "not applicable",
    "not-evaluated": "not evaluated",
}

Check = dict[str, str]  # a row of the list of manual checks
Rules = dict[str, list[str]]  # the ids of axe's rules by criterion

# All rules that run on an empty document, with their tags, of which one is as "wcag1410".
_RUN = """async (rules) => {
  const found = await axe.run(document, { runOnly: rules });
  return ['passes', 'violations', 'incomplete', 'inapplicable']
    .flatMap((kind) => found[kind].map(({ id, tags }) => [id, tags]));
}"""
_METHODS = (
    "axe-core runs in the tests of the page, in light and dark colours. What it cannot decide was "
    "checked on the date of each remark, by a program with scripts and pictures of Chromium. No "
    "screen reader was used, and nobody with a disability has tried the page."
)
_NOTES = (
    "The learner's page with the views of learners, teachers, support and administrators. The "
    "sign-in page of your issuer, GraphiQL, dashboards and the files of an export are not part."
)
_HEAD = """# Accessibility

{notes}

{methods}

Of the {all} criteria of WCAG 2.2, levels A and AA: {counts}.

[openacr.yaml](openacr.yaml) is the same report in the form of
[OpenACR](https://github.com/GSA/openacr), whose tools make a VPAT of it. Both are generated from
`tests/query/page/accessibility.csv` and the rules that axe runs. A test fails if they differ, or if
a criterion is said to be met and neither a rule nor a check stands behind it;
[contributing](../CONTRIBUTING.md#before-a-pull-request) says when to check again.

If you meet a barrier, open an issue of this repository, or tell whoever runs your service, who also
answers for the sign-in and the app: what you wanted to do, with which browser and aid.

| criterion | level | result | seen | how | in each run: axe's rules, tests |
|---|---|---|---|---|---|
"""


def read_checks() -> list[Check]:
    text = (TESTS / "accessibility.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def find_rules(chromium: Browser) -> Rules:
    page = chromium.new_page()
    page.evaluate(browser.AXE)
    rules: Rules = defaultdict(list)
    for name, tags in sorted(page.evaluate(_RUN, browser.STANDARDS)):
        for first, second, rest in re.findall(r"\bwcag(\d)(\d)(\d+)\b", " ".join(tags)):
            rules[f"{first}.{second}.{rest}"].append(name)
    page.close()
    return rules


def find_problems(checks: list[Check], rules: Rules) -> list[str]:
    """Return what a report of these checks would claim without evidence."""
    problems = []
    for check in checks:
        criterion, result = check["criterion"], check["result"] or "not-evaluated"
        was_checked = all(check[name] for name in ("checked", "how", "seen"))
        if result not in LEVELS:
            problems.append(f"{criterion}: no such result: {result}")
        if result != "not-evaluated" and not was_checked and not rules.get(criterion):
            problems.append(f"{criterion}: {result}, but neither axe nor anybody checks it")
        for test in check["tests"].split():
            file, _, name = test.partition("::")
            if f"\ndef {name}(" not in (TESTS / file).read_text(encoding="utf-8"):
                problems.append(f"{criterion}: no such test: {test}")
    return problems


def render_report(checks: list[Check], rules: Rules) -> str:
    chapters: dict[str, object] = {
        f"success_criteria_level_{level.lower()}": {
            "criteria": [_judge(check, rules) for check in checks if check["level"] == level]
        }
        for level in ("A", "AA")
    }
    chapters["success_criteria_level_aaa"] = {"disabled": True, "notes": "Not evaluated."}
    report = {
        "title": "Progress Accessibility Conformance Report",
        "product": {"name": "Progress", "description": _NOTES},
        "author": {"name": "The contributors", "email": "none; open an issue in the repository"},
        "report_date": max(check["checked"] for check in checks),
        "evaluation_methods_used": _METHODS,
        "license": "Apache-2.0",
        "catalog": "2.5-edition-wcag-2.2-en",
        "chapters": chapters,
    }
    return yaml.safe_dump(report, sort_keys=False, allow_unicode=True, width=118)


def _judge(check: Check, rules: Rules) -> dict[str, object]:
    notes = f"{check['seen']} Checked on {check['checked']}: {check['how']}."
    notes += "".join(f" In each run, {what}." for what in _name_repeated(check, rules))
    adherence = {"level": check["result"] or "not-evaluated", "notes": notes}
    return {"num": check["criterion"], "components": [{"name": "web", "adherence": adherence}]}


def _name_repeated(check: Check, rules: Rules) -> list[str]:
    axe = [f"axe: {', '.join(names)}"] if (names := rules.get(check["criterion"])) else []
    return axe + [test.partition("::")[2] for test in check["tests"].split()]


def render_page(checks: list[Check], rules: Rules) -> str:
    found = Counter(LEVELS[check["result"] or "not-evaluated"] for check in checks)
    counts = ", ".join(f"{number} {level}" for level, number in found.most_common())
    notes, methods = textwrap.fill(_NOTES, 120), textwrap.fill(_METHODS, 120)
    head = _HEAD.format(notes=notes, methods=methods, all=len(checks), counts=counts)
    rows = [
        f"| {check['criterion']} {check['name']} | {check['level']}"
        f" | {LEVELS[check['result'] or 'not-evaluated']} | {check['seen']}"
        f" | {check['how']}, {check['checked']} | {'; '.join(_name_repeated(check, rules))} |"
        for check in checks
    ]
    return head + "\n".join(rows) + "\n"


FILES = {
    ROOT / "docs" / "openacr.yaml": render_report,
    ROOT / "docs" / "accessibility.md": render_page,
}


def main() -> None:
    checks = read_checks()
    with browser.browser() as chromium:
        rules = find_rules(chromium)
    for file, render in FILES.items():
        file.write_text(render(checks, rules), encoding="utf-8")


if __name__ == "__main__":
    main()
