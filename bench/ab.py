"""Compare two trees: `python -m bench ab REVISION [ROW …]`.

The rows of `bench.ab_rows` run in this tree, with its uncommitted changes, and in a worktree of the
revision. Rounds of the two take turns, so the speed of the machine changes for both. A cost is CPU
time of one process. Two copies of one tree differ by 1 to 2 %.
"""

import contextlib
import filecmp
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.ab_rows import ROWS
from progress.files import ROOT

_ROUNDS = 20
_LOCK = "requirements-dev.txt"
_HEADS = ("row", "process", "this, µs", "{}, µs", "this / {}", "middle half of the rounds' ratios")


@dataclass(frozen=True)
class _Tree:
    process: "subprocess.Popen[str]"

    def measure(self, row: str) -> dict[str, float]:
        """Return the row's costs in one round; raise RuntimeError if the process has failed."""
        assert self.process.stdin
        assert self.process.stdout
        print(row, file=self.process.stdin, flush=True)
        if not (line := self.process.stdout.readline()):
            raise RuntimeError(f"a tree cannot measure {row}; its error is above")
        costs: dict[str, float] = json.loads(line)
        return costs


def main(arguments: list[str]) -> int:
    """Print a table of the named rows, or of all; return the exit code."""
    console = Console(markup=False, highlight=False, soft_wrap=True)
    revision, names = "".join(arguments[:1]), arguments[1:] or [*ROWS]
    if not revision or set(names) - ROWS.keys():
        console.print(f"python -m bench ab REVISION [ROW …]; the rows are {', '.join(ROWS)}")
        return 2
    heads = [head.format(revision) for head in _HEADS]
    print("| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|", sep="\n", flush=True)
    with _check_out(revision) as (folder, python):
        for name in names:
            with (
                _run(ROOT, sys.executable) as this,
                _run(folder, python) as other,
                console.status(name),
            ):
                pairs = [
                    [tree.measure(name) for tree in order][:: 1 if order[0] is this else -1]
                    for order in [(this, other), (other, this)] * (_ROUNDS // 2)
                ]
            for line in _compare(name, pairs):
                print(line, flush=True)
    return 0


@contextlib.contextmanager
def _check_out(revision: str) -> Iterator[tuple[Path, str]]:
    """Yield a temporary worktree, and its Python.

    If both trees need the same packages, it is this Python. Otherwise, the tree installs its own.
    """
    with tempfile.TemporaryDirectory(prefix="progress-ab-") as temporary:
        folder = Path(temporary, "tree")
        git = ("git", "-C", str(ROOT), "worktree")
        subprocess.run([*git, "add", "--quiet", "--detach", folder, revision], check=True)
        try:
            if filecmp.cmp(folder / _LOCK, ROOT / _LOCK, shallow=False):
                yield folder, sys.executable
            else:
                subprocess.run(["make", "setup"], cwd=folder, stdout=sys.stderr, check=True)
                yield folder, str(folder / ".venv/bin/python")
        finally:
            subprocess.run([*git, "remove", "--force", folder], check=True)


@contextlib.contextmanager
def _run(folder: Path, python: str) -> Iterator[_Tree]:
    """Measure the tree in a process of its own, which imports only this tree's modules."""
    pipe, environment = subprocess.PIPE, os.environ | {"PYTHONPATH": str(folder)}
    rows = [python, "-P", str(Path(__file__).with_name("ab_rows.py"))]
    with subprocess.Popen(
        rows, cwd=folder, env=environment, stdin=pipe, stdout=pipe, text=True
    ) as process:
        yield _Tree(process)


def _compare(name: str, pairs: list[list[dict[str, float]]]) -> Iterator[str]:
    """Yield a line for each process, with the least cost of each tree, and ratios."""
    for part in pairs[0][0]:
        ours, theirs = ([pair[side][part] for pair in pairs] for side in (0, 1))
        if min(theirs) < 1:  # a few calls of a background task
            continue
        low, middle, high = statistics.quantiles(a / b for a, b in zip(ours, theirs, strict=True))
        least = f"{min(ours):,.1f} | {min(theirs):,.1f} | {min(ours) / min(theirs):.3f}"
        yield f"| {name} | {part} | {least} | {low:.3f} to {high:.3f}, median {middle:.3f} |"
