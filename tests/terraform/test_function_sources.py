"""The zip archives for the functions' first builds contain all the code and no other files."""

import json
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from tests.conftest import need_terraform
from tests.support import terraform
from tests.support.terraform import REPOSITORY
from tests.support.terraform_environments import Environments

FUNCTIONS = ("ingest", "project", "query")

# The first lines of each tested program. They hide the development packages, so that importing one
# of these packages fails as in the image.
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
def mapping(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, str]]:
    """For each function, the mapping of paths in its archive to paths in the repository."""
    need_terraform(request)
    root = terraform.copy_root(tmp_path_factory.mktemp("whole"), whole=True)
    expression = "jsonencode(local.archived_files)"
    output = root.run("console", "-var-file=environments/dev.tfvars", text=expression)
    files: dict[str, dict[str, str]] = json.loads(json.loads(output))
    return files


@pytest.fixture(scope="module")
def archives(
    mapping: dict[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """For each function, a folder with the files of its archive."""
    folder = tmp_path_factory.mktemp("sources")
    for name, files in mapping.items():
        for path, source in files.items():
            (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / source, folder / name / path)
    return {name: folder / name for name in mapping}


def test_an_archive_has_the_files_that_terraform_lists(
    mapping: dict[str, dict[str, str]], environments: Environments
) -> None:
    """Compare only the files that the tests' copy of the repository contains.

    The copy lacks most files, because large archives would slow Terraform down.
    """
    assert environments["dev"].state
    root = environments.root().folder
    assert mapping.keys() == {*FUNCTIONS}
    for name, files in mapping.items():
        copied = {path: root.parents[1] / source for path, source in files.items()}
        expected = {path: file.read_text() for path, file in copied.items() if file.exists()}
        assert {"main.py", "requirements.txt"} <= expected.keys()
        with zipfile.ZipFile(root / ".terraform" / "sources" / f"{name}.zip") as archive:
            stored = {path: archive.read(path).decode() for path in archive.namelist()}
        stored.pop("progress/added.txt", None)  # another test adds this file
        assert stored == expected


def test_each_archive_has_only_the_code(mapping: dict[str, dict[str, str]]) -> None:
    code = {
        path.relative_to(REPOSITORY).as_posix()
        for top in ("progress", "sql")
        for path in (REPOSITORY / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for name, files in mapping.items():
        own = {"main.py": f"functions/{name}/main.py"}
        if name == "project":
            own["jobs/batch_aggregates/main.py"] = "jobs/batch_aggregates/main.py"
        assert files == {path: path for path in code | {"requirements.txt"}} | own


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_loads_from_its_archive(archives: dict[str, Path], name: str) -> None:
    done = _alone(archives[name], _LOADED, name)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(archives[name])


@pytest.mark.exhaustive
def test_the_jobs_start_from_the_archive_of_the_project_function(archives: dict[str, Path]) -> None:
    """The jobs start, and fail only because there is no database."""
    job = _alone(archives["project"], _JOB, "jobs/batch_aggregates/main.py")
    assert job.returncode == 1, job.stderr
    assert "ERROR" in job.stdout
    assert "Traceback" not in job.stderr
    migrate = _alone(archives["project"], _RUN, "progress.cli", "migrate")
    assert migrate.returncode == 1, migrate.stderr
    assert "Traceback" not in migrate.stderr
    dump = _alone(archives["project"], _RUN, "progress.cli", "dump", "--help")
    assert dump.returncode == 0, dump.stderr


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("publish", "--force", "requirements.txt"), "or set PUBSUB_PROJECT_ID"),
        (("schedule", "pause"), "or name a --project"),
    ],
)
def test_a_command_that_needs_the_local_stack_reports_what_else_it_can_use(
    archives: dict[str, Path], words: tuple[str, ...], remedy: str
) -> None:
    """The image never runs a local stack."""
    done = _alone(archives["project"], _RUN, "progress.cli", *words)
    assert done.returncode == 1
    assert done.stderr.startswith("progress: the local stack is not running"), done.stderr
    assert done.stderr.rstrip().endswith(remedy), done.stderr


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
    """Return the installed modules that belong to no package of requirements.txt."""
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
