"""Run third-party clients with Node; tests/clients/package-lock.json pins their versions."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from progress import settings
from tests.conftest import skip_without
from tests.support import programs

CLIENTS = Path(__file__).parent.parent / "clients"


def workshop(request: pytest.FixtureRequest, folder: Path) -> Path:
    """Return a writable copy of the clients, with their packages.

    Skip the test if Node or the packages are missing. The gate does not install the packages.
    """
    if not shutil.which("node") or not (CLIENTS / "node_modules").exists():
        skip_without(request, "node")
    copy = folder / "clients"
    shutil.copytree(CLIENTS, copy, ignore=shutil.ignore_patterns("node_modules"))
    (copy / "node_modules").symlink_to(CLIENTS / "node_modules")
    return copy


def run(folder: Path, *command: str, **environment: str) -> str:
    return programs.run(command, _environment(folder, environment), folder=folder)


@contextmanager
def lines(folder: Path, *command: str, **environment: str) -> Iterator[Iterator[str]]:
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(folder, environment),
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


def _environment(folder: Path, environment: dict[str, str]) -> dict[str, str]:
    path = f"{folder / 'node_modules' / '.bin'}:{os.environ['PATH']}"
    return settings.child_env(**environment, PATH=path)
