"""The accessibility report says what axe's rules and the list of manual checks show."""

import pytest
from playwright.sync_api import Browser

from tests.support import accessibility
from tests.support.accessibility import Check

CHECKED = {
    "level": "A", "criterion": "1.3.3", "name": "Sensory Characteristics", "result": "supports",
    "checked": "2026-11-28", "how": "read", "seen": "Nothing.", "tests": "",
}  # fmt: skip
AGAIN = "run python -m tests.support.accessibility, and read the difference"


def test_the_report_has_the_rules_that_axe_runs_and_each_manual_check(chromium: Browser) -> None:
    checks, rules = accessibility.read_checks(), accessibility.find_rules(chromium)
    assert accessibility.find_problems(checks, rules) == []
    for file, render in accessibility.FILES.items():
        assert file.read_text(encoding="utf-8") == render(checks, rules), AGAIN
    assert len(checks) == len({check["criterion"] for check in checks}) == 56  # levels A and AA


@pytest.mark.parametrize(
    ("change", "rules", "problem"),
    [
        ({}, {}, None),
        ({"seen": ""}, {"1.3.3": ["a-rule"]}, None),
        ({"result": "", "checked": "", "how": "", "seen": ""}, {}, None),
        ({"seen": ""}, {}, "neither axe nor anybody checks it"),
        ({"checked": ""}, {"1.3.1": ["a-rule"]}, "neither axe nor anybody checks it"),
        ({"result": "not-applicable", "how": ""}, {}, "neither axe nor anybody checks it"),
        ({"result": "perfect"}, {}, "no such result"),
        ({"tests": "test_layout.py::test_nothing"}, {}, "no such test"),
    ],
)
def test_a_claim_without_evidence_is_found(
    change: Check, rules: accessibility.Rules, problem: str | None
) -> None:
    found = accessibility.find_problems([CHECKED | change], rules)
    assert [text for text in found if not problem or problem not in text] == []
    assert bool(found) == bool(problem)


def test_what_nobody_has_checked_is_not_evaluated() -> None:
    check = CHECKED | {"result": "", "checked": "", "how": "", "seen": ""}
    assert "level: not-evaluated" in accessibility.render_report([CHECKED, check], {})
    assert "1 met, 1 not evaluated" in accessibility.render_page([CHECKED, check], {})
