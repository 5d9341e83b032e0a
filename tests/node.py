"""Programs on Node: clients that nobody here wrote, from the packages that tests/clients locks."""

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import missing

from progress import settings

CLIENTS = Path(__file__).parent / "clients"


def run(request: pytest.FixtureRequest, *command: str, **told: str) -> str:
    """What a command prints that is told this by its environment; the test skips without Node."""
    if not shutil.which("node") or not (CLIENTS / "node_modules").exists():
        missing(request, "node")
    done = subprocess.run(
        command,
        cwd=CLIENTS,
        env=settings.inherited(**told),
        capture_output=True,
        timeout=100,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
