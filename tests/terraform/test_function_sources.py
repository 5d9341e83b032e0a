"""The source archives of the first builds have all the code and no other files."""

import json
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from tests.support import terraform
from tests.support.terraform import REPOSITORY
from tests.support.terraform_environments import Environments

FUNCTIONS = ("ingest", "project", "query")

# Hides the development packages, so that the import of such a package fails as in the image.
_ALONE = """
import importlib.abc, json, sys
missing = set(json.loads(sys.argv[1]))
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"not in the image: {name}", name=name)
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in missing else find_spec(name, *rest)
sys.meta_path.insert(0, Missing())
"""

_LOADED = """
import functions_framework
functions_framework.create_app(sys.argv[2], "main.py")
import progress
print(progress.__file__)
"""

_RUN = """
import runpy
sys.argv = sys.argv[2:]
sys.path[0] = "."
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""

_JOB = """
import runpy
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def archives(
    environments: Environments, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The folder into which each function's archive is unpacked, keyed by function."""
    folder = tmp_path_factory.mktemp("sources")
    root = terraform.copy_root(folder / "copy", whole=True)
    root.run("plan", "-var-file=environments/dev.tfvars", "-target=data.archive_file.source")
    unpacked = {}
    for name in FUNCTIONS:
        with zipfile.ZipFile(root.folder / ".terraform" / "sources" / f"{name}.zip") as archive:
            archive.extractall(folder / name)
        unpacked[name] = folder / name
    return unpacked


def test_each_archive_has_only_the_code(archives: dict[str, Path]) -> None:
    code = {
        path.relative_to(REPOSITORY).as_posix()
        for top in ("progress", "sql")
        for path in (REPOSITORY / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for name, folder in archives.items():
        own = {"requirements.txt", "main.py"}
        own |= {"jobs/batch_aggregates/main.py"} if name == "project" else set()
        files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
        assert files == own | code
        door = REPOSITORY / "functions" / name / "main.py"
        assert (folder / "main.py").read_bytes() == door.read_bytes()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_loads_from_its_archive(archives: dict[str, Path], name: str) -> None:
    done = _alone(archives[name], _LOADED, name)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(archives[name])


def test_the_jobs_start_from_the_archive_of_the_project_function(archives: dict[str, Path]) -> None:
    """The jobs start, and fail only because there is no database."""
    job = _alone(archives["project"], _JOB, "jobs/batch_aggregates/main.py")
    assert job.returncode == 1, job.stderr
    assert "ERROR" in job.stdout
    assert "Traceback" not in job.stderr
    migrate = _alone(archives["project"], _RUN, "progress.cli", "migrate")
    assert migrate.returncode == 1, migrate.stderr
    assert "Traceback" not in migrate.stderr
    backup = _alone(archives["project"], _RUN, "progress.cli", "backup", "--help")
    assert backup.returncode == 0, backup.stderr


def test_a_command_that_needs_the_local_stack_reports_that_there_is_none(
    archives: dict[str, Path],
) -> None:
    """The image has no local stack, so only commands that do not need the stack can run."""
    published = _alone(archives["project"], _RUN, "progress.cli", "publish", "requirements.txt")
    assert published.returncode == 1
    assert published.stderr.startswith("progress: there is no local stack here"), published.stderr


def _alone(folder: Path, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _ALONE + code, json.dumps(_of_development()), *words],
        cwd=folder,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(folder),
            "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
            "AUTH_ISSUER": "https://auth.example.com",
            "AUTH_AUDIENCE": "progress",
            "AUTH_JWKS_URL": "https://auth.example.com/jwks",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def _of_development() -> list[str]:
    """Return the imported modules that do not come from a package of requirements.txt."""
    locked = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (REPOSITORY / "requirements.txt").read_text().splitlines()
        if "==" in line
    }
    return [
        module
        for module, brought in metadata.packages_distributions().items()
        if module != "progress"
        and not locked
        & {package.lower().replace("_", "-").replace(".", "-") for package in brought}
    ]
