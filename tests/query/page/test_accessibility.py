"""The accessibility report says what axe's rules and the list of manual checks show."""

from playwright.sync_api import Browser

from tests.support import accessibility

AGAIN = "run python -m tests.support.accessibility, and read the difference"


def test_the_report_has_the_rules_that_axe_runs_and_each_manual_check(chromium: Browser) -> None:
    checks, rules = accessibility.read_checks(), accessibility.find_rules(chromium)
    assert accessibility.find_problems(checks, rules) == []
    for file, render in accessibility.FILES.items():
        assert file.read_text(encoding="utf-8") == render(checks, rules), AGAIN
    assert len(checks) == len({check["criterion"] for check in checks}) == 56  # levels A and AA
