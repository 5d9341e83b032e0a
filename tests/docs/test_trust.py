"""docs/trust.md lists reports that tests name, and commands that exist."""

import re
import shlex
from pathlib import Path

from tests.support import gate

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\|.*\| `([^`]+)` \|$", PAGE, re.MULTILINE)


def test_the_page_lists_each_report_that_a_test_names_and_no_other() -> None:
    listed = re.findall(
        r"^- .+:\s+\[(.+)\]\(https://github.com/(.+)/(?:issues|pull)/(\d+)\)$", PAGE, re.MULTILINE
    )
    named = [
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r'"""Report (\S+#\d+): ', path.read_text(encoding="utf-8"))
    ]
    assert all(name == f"{project}#{number}" for name, project, number in listed)
    assert sorted(name for name, _, _ in listed) == sorted(named)


def test_a_promise_that_make_test_does_not_check_names_make_test_all() -> None:
    tests = ROOT / "tests"
    for command in COMMANDS:
        _, what, *arguments = shlex.split(command)
        if what != "test":
            continue
        for path in (ROOT / each for each in arguments[0].removeprefix("ARGS=").split()):
            assert not (path.is_file() and "exhaustive" in path.read_text("utf-8")), command
            assert not gate.is_gate_only(str(path.relative_to(tests))), command
