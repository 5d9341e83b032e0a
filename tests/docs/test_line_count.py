"""The gate counts the lines that are written by hand, and has a ceiling for them."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "count_lines.py"


def count(folder: Path, *revision: str) -> subprocess.CompletedProcess[str]:
    script = str(folder / ".ci" / SCRIPT.name)
    return subprocess.run(
        ["python3", script, *revision], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository that has four lines by hand, and allows four."""
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
    (tmp_path / ".ci" / "ceiling").write_text("4\n")
    return tmp_path


def test_a_line_by_hand_above_the_ceiling_fails_the_gate(repository: Path) -> None:
    (repository / "infra" / "faults.toml").write_text("a = 1\n \nb = 2\n")
    counted = count(repository)
    assert counted.returncode == 1
    assert counted.stderr == "5 lines are by hand, and .ci/ceiling allows 4.\n"
    assert count(repository, "HEAD").returncode == 0
