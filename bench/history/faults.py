"""Plant each fault in a copy of Progress, and measure the time until the checker finds it.

Usage: python -m bench.history.faults [NAME ...]. The exit code is 1 if a fault is not found.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

from rich.console import Console

ROOT = Path(__file__).resolve().parents[2]
_HERE = Path(__file__).parent
_CHECKER = _HERE / "checker.py"
# The load takes 18 seconds. The run without a fault has kills. Of the faults, only those that need
# an outage have kills, because Progress promises less while processes die.
_SOAK = ("--minutes", "0.3", "--events", "30", "--queries", "10", "--kill-interval-s")
_KILL_INTERVAL_S = 6


def load() -> dict[str, dict[str, Any]]:
    """Return the faults by their names."""
    return tomllib.loads((_HERE / "faults.toml").read_text(encoding="utf-8"))


def main(names: list[str]) -> int:
    """Plant the named faults, by default all, and also run without a fault."""
    faults = load()
    console, missed = Console(highlight=False), 0
    for name in names or ["", *faults]:
        fault = faults[name] if name else {}
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="progress-fault-") as folder:
            copy = _plant(Path(folder) / "copy", fault)
            verdict = _check(_record(copy, kills=fault.get("kills", not fault)))
        is_right = verdict.startswith("VALID") if not name else not verdict.startswith("VALID")
        missed += not is_right
        seconds = time.monotonic() - began
        title = fault.get("fault", "no fault")
        console.print(f"{'ok' if is_right else 'MISSED'}  {seconds:3.0f} s  {title}: {verdict}")
    return 1 if missed else 0


def _plant(copy: Path, fault: dict[str, Any]) -> Path:
    """Copy the files of the repository; replace the fault's text, which its file has once."""
    files = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
    for file in files.rstrip("\0").split("\0"):
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, copy / file)
    if fault:
        path = copy / fault["file"]
        source = path.read_text(encoding="utf-8")
        assert source.count(fault["text"]) == 1, fault["text"]
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


def _check(history: Path) -> str:
    """Return VALID, or INVALID with the first violation."""
    program = [sys.executable, f"{_CHECKER}", f"{history}"]
    output = subprocess.run(program, capture_output=True, text=True, check=False).stdout
    first, *_, last = output.splitlines() or ["the checker failed", "INVALID"]
    return last if last == "VALID" else f"{last}, first: {first}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
