"""Programs on Node: clients that nobody here wrote, from the packages that tests/clients locks."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from progress import settings
from tests.conftest import skip_without

CLIENTS = Path(__file__).parent.parent / "clients"


def workshop(request: pytest.FixtureRequest, folder: Path) -> Path:
    """A copy of the clients, with their packages, in which files may be made.

    The test skips where Node or the packages are missing.
    """
    if not shutil.which("node") or not (CLIENTS / "node_modules").exists():
        skip_without(request, "node")
    made = folder / "clients"
    shutil.copytree(CLIENTS, made, ignore=shutil.ignore_patterns("node_modules"))
    (made / "node_modules").symlink_to(CLIENTS / "node_modules")
    return made


def run(folder: Path, *command: str, **told: str) -> str:
    """What a command prints that is told this by its environment; `tsc` and its like are found."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=_environment(folder, told),
        capture_output=True,
        timeout=100,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def lines(folder: Path, *command: str, **told: str) -> Iterator[Iterator[str]]:
    """What a command prints, line by line while it runs; it ends with the block."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(folder, told),
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout
    try:
        yield iter(process.stdout)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _environment(folder: Path, told: dict[str, str]) -> dict[str, str]:
    programs = f"{folder / 'node_modules' / '.bin'}:{os.environ['PATH']}"
    return settings.inherited(**told, PATH=programs)
