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


def test_each_promise_has_a_command_whose_target_and_files_exist() -> None:
    targets = re.findall(
        r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    rows = PAGE.split("| --- | --- |\n")[1].split("\n\n")[0].splitlines()
    assert len(rows) == len(COMMANDS)
    for command in COMMANDS:
        program, what, *arguments = shlex.split(command)
        if program == "make":
            assert what in targets
            (argument,) = arguments or [""]
            paths = [ROOT / path for path in argument.removeprefix("ARGS=").split()]
            assert all(path.exists() for path in paths)
            # `make test` leaves out some tests, so a promise that they check needs test-all.
            files = [path for path in paths if path.is_file()]
            is_partial = any("exhaustive" in path.read_text(encoding="utf-8") for path in files)
            tests = ROOT / "tests"
            is_partial |= any(gate.is_gate_only(str(path.relative_to(tests))) for path in paths)
            assert what == "test-all" or not is_partial, command
        else:
            assert (program, what) == (".venv/bin/python", "-m")
            module = ROOT / arguments[0].replace(".", "/")
            assert module.is_dir() or module.with_suffix(".py").is_file()
