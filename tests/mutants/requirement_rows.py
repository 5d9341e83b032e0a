"""Mutants are edits that remove the behaviour of a row of docs/requirements.md.

`python -m tests.mutants.requirement_rows [ROW …]` makes each edit of requirements.toml in a copy of
the repository, and runs the test that the row names. The test must pass before the edit, and fail
after it. Otherwise, the row claims too much, and the exit code is 1.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from progress.local import processes
from tests.mutants.broken_folds import HERE
from tests.support import terraform

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "requirements.md"
LAST = 278  # the number of the brief's last row

_SEED, _DRAWN = 28, 60
_ROW = re.compile(
    r"^- \*\*(\d+) (done|different|open)\*\*: (.+\n(?:  [^ -].*\n)*)((?:  - .+\n)*)", re.MULTILINE
)
_REFERENCE = re.compile(r"^  - (test )?`([^`]+)`$", re.MULTILINE)
# A test that is skipped shows nothing, so these programs are required.
_REQUIRED = ("terraform", "node", "chromium", "promtool")


@dataclass(frozen=True)
class Row:
    """A row of docs/requirements.md; references have the form `file::name`."""

    number: int
    status: str
    text: str
    code: list[str]
    tests: list[str]


@dataclass(frozen=True)
class Mutant:
    """An edit: in `file`, `by` replaces `text`. The row's `test` then fails."""

    file: str
    row: int
    text: str
    by: str
    test: str

    def edit(self, root: Path) -> str:
        """Return the edited content of the file; raise LookupError if the file lacks `text`."""
        before = (root / self.file).read_text(encoding="utf-8")
        if self.text not in before:
            raise LookupError(f"row {self.row}: its text is not in {self.file}")
        return before.replace(self.text, self.by)


def read_rows() -> list[Row]:
    """Return the rows of the page."""
    rows = []
    for number, status, text, listed in _ROW.findall(PAGE.read_text(encoding="utf-8")):
        references = _REFERENCE.findall(listed)
        code = [name for is_test, name in references if not is_test]
        tests = [name for is_test, name in references if is_test]
        rows.append(Row(int(number), status, text, code, tests))
    return rows


def load_mutants() -> list[Mutant]:
    """Return the mutants of requirements.toml, in which a heading is a file and a row's number."""
    tables = tomllib.loads((HERE / "requirements.toml").read_text(encoding="utf-8"))
    return [
        Mutant(file, int(row), **values)
        for file, entries in tables.items()
        for row, values in entries.items()
    ]


def draw(rows: Sequence[Row]) -> list[int]:
    """Return the numbers of the rows that need a mutant: 60 rows that are done."""
    order = random.Random(_SEED).sample(range(1, LAST + 1), LAST)
    done = {row.number for row in rows if row.status == "done"}
    return [number for number in order if number in done][:_DRAWN]


def main(numbers: Sequence[str]) -> int:
    """Run the mutants of these rows, or all; return 1 if a row's test does not detect one."""
    mutants = [m for m in load_mutants() if not numbers or str(m.row) in numbers]
    with copy_repository() as root:
        before = run_tests(root, sorted({mutant.test for mutant in mutants}))
        if before.returncode or re.search(r"\d+ skipped", before.stdout):
            print(before.stdout, "A test fails or is skipped without an edit.", sep="\n")
            return 1
        alive = [mutant for mutant in mutants if not _is_killed(root, mutant)]
    print(f"{len(mutants) - len(alive)} of {len(mutants)} edits were detected")
    return 1 if alive else 0


@contextmanager
def copy_repository() -> Iterator[Path]:
    """Copy the tracked files, and link the packages of the third-party clients."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in listed.stdout.decode().split("\0"):
            if name and (ROOT / name).exists():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, Path(folder) / name)
        packages = "tests/clients/node_modules"
        (Path(folder) / packages).symlink_to(ROOT / packages)
        yield Path(folder)


def run_tests(
    root: Path, tests: Sequence[str], *, timeout_s: float | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the tests in the copy, whose modules come before those of the repository.

    `stdout` of the result includes the errors. Raise TimeoutExpired if the tests take longer than
    `timeout_s`.
    """
    required = [f"--require={name}" for name in _REQUIRED]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *required, *tests]
    offline = os.fspath(terraform.find_offline() or "")
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=root,
            env={
                **os.environ,
                "PYTHONPATH": os.fspath(root),
                "TERRAFORM_OFFLINE": offline,
                **environment,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            process.wait(timeout_s)
        finally:  # As after Ctrl-C, pytest then stops the servers of its tests.
            processes.end(process, by=signal.SIGINT, seconds=60)
        output.seek(0)
        return subprocess.CompletedProcess(command, process.returncode, output.read().decode())


def _is_killed(root: Path, mutant: Mutant) -> bool:
    """Return whether the row's test fails after the edit, and print this."""
    file = root / mutant.file
    before = file.read_text(encoding="utf-8")
    file.write_text(mutant.edit(root), encoding="utf-8")
    is_killed = run_tests(root, ["-x", mutant.test]).returncode == 1
    file.write_text(before, encoding="utf-8")
    print("      " if is_killed else "ALIVE ", mutant.row, mutant.file, mutant.test, flush=True)
    return is_killed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
