"""The gate counts lines and characters that are written by hand, and has a ceiling for both."""

import re
import runpy
import shutil
from pathlib import Path

import pytest

from tests.support import programs

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "count_lines.py"
LONGEST = 120  # characters, without a URL


def count(folder: Path, *revision: str) -> programs.Ended:
    return programs.try_run(["python3", folder / ".ci" / SCRIPT.name, *revision], folder=folder)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository that has four lines and 15 characters by hand, and allows as many."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    programs.run([*git, "init"])
    texts = {
        "progress/query/page/en.json": '{\n\n"a": "b"\n}\n',
        "infra/faults.toml": "a = 1",
        "infra/audit/requirements.txt": "one\ntwo\n",
        "data/reviews.csv": "one\n",
        "LICENSE": "one\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    programs.run([*git, "add", "."])
    programs.run([*git, "commit", "-m", "all"])
    (tmp_path / ".ci").mkdir()
    shutil.copy(SCRIPT, tmp_path / ".ci")
    (tmp_path / ".ci" / "ceiling").write_text("lines 4\ncharacters 15\n")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("\n \ta = é \r\n\n", ""),  # the blanks at both ends of a line do not count
        ("a = 1\n \nb = 2\n", "5 lines are by hand, and .ci/ceiling allows 4.\n"),
        ("a = 10\n", "16 characters are by hand, and .ci/ceiling allows 15.\n"),
    ],
)
def test_what_is_by_hand_above_a_ceiling_fails_the_gate(
    repository: Path, text: str, found: str
) -> None:
    (repository / "infra" / "faults.toml").write_text(text)
    counted = count(repository)
    assert (counted.returncode, counted.stderr) == (int(bool(found)), found)
    assert ("by hand   in all             4          15" in counted.stdout) == (not found)
    assert count(repository, "HEAD").returncode == 0


def test_no_line_by_hand_is_too_long() -> None:
    """A row of a table in prose, an address and an image's digest cannot be broken."""
    classify = runpy.run_path(str(SCRIPT))["classify"]
    kinds = ("css", "js", "md", "py", "sql", "tf", "tfvars")
    listed = ["git", "ls-files", "-z", "*Dockerfile", *(f"*.{kind}" for kind in kinds)]
    paths = programs.run(listed, folder=ROOT)
    found = []
    for path in (path for path in paths.split("\0")[:-1] if classify(path) == "by hand"):
        is_prose = path.endswith(".md")
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8").split("\n"), 1):
            text = re.sub(r"https?://[^\s)\"'`>]+|@sha256:\w+", "", line)
            if len(text) > LONGEST and not (is_prose and line.lstrip().startswith("|")):
                found.append(f"{path}:{number}")
    assert found == []
