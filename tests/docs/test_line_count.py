"""The gate counts lines and characters that are written by hand, and has a ceiling for both."""

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "count_lines.py"
LONGEST = 120  # characters, without a URL


def count(folder: Path, *revision: str) -> subprocess.CompletedProcess[str]:
    script = str(folder / ".ci" / SCRIPT.name)
    return subprocess.run(
        ["python3", script, *revision], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository that has four lines and 15 characters by hand, and allows as many."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "--quiet"], check=True)
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
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "all"], check=True)
    (tmp_path / ".ci").mkdir()
    shutil.copy(SCRIPT, tmp_path / ".ci")
    (tmp_path / ".ci" / "ceiling").write_text("lines 4\ncharacters 15\n")
    return tmp_path


def test_the_blanks_at_both_ends_of_a_line_do_not_count(repository: Path) -> None:
    (repository / "infra" / "faults.toml").write_text("\n \ta = é \r\n\n")
    counted = count(repository)
    assert (counted.returncode, counted.stderr) == (0, "")
    assert "by hand   in all             4          15" in counted.stdout.splitlines()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a = 1\n \nb = 2\n", "5 lines are by hand, and .ci/ceiling allows 4."),
        ("a = 10\n", "16 characters are by hand, and .ci/ceiling allows 15."),
    ],
)
def test_what_is_by_hand_above_a_ceiling_fails_the_gate(
    repository: Path, text: str, found: str
) -> None:
    (repository / "infra" / "faults.toml").write_text(text)
    counted = count(repository)
    assert (counted.returncode, counted.stderr) == (1, f"{found}\n")
    assert count(repository, "HEAD").returncode == 0


def test_no_line_by_hand_is_too_long() -> None:
    """A row of a table in prose, an address and an image's digest cannot be broken."""
    classify = runpy.run_path(str(SCRIPT))["classify"]
    kinds = ("css", "js", "md", "py", "sql", "tf", "tfvars")
    listed = ["git", "ls-files", "-z", "*Dockerfile", *(f"*.{kind}" for kind in kinds)]
    paths = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = []
    for path in (path for path in paths.split("\0")[:-1] if classify(path) == "by hand"):
        is_prose = path.endswith(".md")
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8").split("\n"), 1):
            text = re.sub(r"https?://[^\s)\"'`>]+|@sha256:\w+", "", line)
            if len(text) > LONGEST and not (is_prose and line.lstrip().startswith("|")):
                found.append(f"{path}:{number}")
    assert found == []
