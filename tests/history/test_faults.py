"""The checker finds planted faults in histories of Progress, and none without a fault."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bench.history import checker

ROOT = Path(__file__).resolve().parents[2]
FAULTS = tomllib.loads(Path(__file__).with_name("faults.toml").read_text(encoding="utf-8"))
# The load takes 18 seconds.
_SOAK = ("--minutes", "0.3", "--events", "30", "--queries", "10", "--kill-interval-s")
_KILL_INTERVAL_S = 6


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", FAULTS)
def test_the_checker_finds_the_fault(name: str, tmp_path: Path) -> None:
    """A load shows a stale answer only sometimes, so up to five loads are recorded."""
    copy = _plant(tmp_path / "copy", FAULTS[name])
    assert any(checker.main(str(_record(copy, kills=False))) == 1 for _ in range(5))


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_a_history_with_kills_and_without_a_fault_is_valid(tmp_path: Path) -> None:
    assert checker.main(str(_record(_plant(tmp_path / "copy", {}), kills=True))) == 0


def test_the_code_has_the_text_of_each_fault() -> None:
    for fault in FAULTS.values():
        assert (ROOT / fault["file"]).read_text(encoding="utf-8").count(fault["text"]) == 1


def _plant(copy: Path, fault: dict[str, str]) -> Path:
    """Copy the files of the repository; replace the fault's text, which its file has once."""
    files = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
    for file in files.rstrip("\0").split("\0"):
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, copy / file)
    if fault:
        path = copy / fault["file"]
        source = path.read_text(encoding="utf-8")
        path.write_text(source.replace(fault["text"], fault["by"]), encoding="utf-8")
    return copy


def _record(copy: Path, *, kills: bool) -> Path:
    """Run the soak test of the copy, and return the history; what the soak says is ignored."""
    history = copy / "history.jsonl"
    subprocess.run(
        [
            *(sys.executable, "-m", "bench", "soak", *_SOAK),
            f"{_KILL_INTERVAL_S if kills else 3600}",
            *("--out", f"{copy / 'out'}", "--history", f"{history}"),
        ],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        timeout=600,
    )
    return history
