"""Programs on Node: clients that nobody here wrote, from the packages that tests/clients locks."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import missing

from progress import settings

CLIENTS = Path(__file__).parent / "clients"


def workshop(request: pytest.FixtureRequest, folder: Path) -> Path:
    """A copy of the clients, with their packages, in which files may be made.

    The test skips where Node or the packages are missing.
    """
    if not shutil.which("node") or not (CLIENTS / "node_modules").exists():
        missing(request, "node")
    made = folder / "clients"
    shutil.copytree(CLIENTS, made, ignore=shutil.ignore_patterns("node_modules"))
    (made / "node_modules").symlink_to(CLIENTS / "node_modules")
    return made


def run(folder: Path, *command: str, **told: str) -> str:
    """What a command prints that is told this by its environment; `tsc` and its like are found."""
    programs = f"{folder / 'node_modules' / '.bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env=settings.inherited(**told, PATH=programs),
        capture_output=True,
        timeout=100,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
