"""Build a commit's images, one for each function, and push them to the registry.

    build.py --project P --region R --commit C

Print a line for each function, such as `query=IMAGE@sha256:…`. Pass each line to `release.py
deploy` with a separate option `--image`.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import exit_status
import gcloud

REPOSITORY = Path(__file__).resolve().parent.parent.parent
CONFIG = Path(__file__).with_name("build.yaml")

# The source files of each image.
SHARED = ("requirements.txt", "progress", "sql")
OWN = {
    "query": {"main.py": "functions/query/main.py"},
    "ingest": {"main.py": "functions/ingest/main.py"},
    "project": {
        "main.py": "functions/project/main.py",
        "jobs/batch_aggregates/main.py": "jobs/batch_aggregates/main.py",
    },
}
ARGUMENTS = ("project", "region", "commit")
_TIMEOUT_S = 1_500.0  # longer than the timeout in build.yaml


def main() -> int:
    return exit_status.run("Build a commit's images.", ARGUMENTS, _build_all)


def _build_all(project: str, region: str, commit: str) -> None:
    for function in OWN:
        exit_status.log(f"{function}={_build(function, project, region, commit)}")


def _build(function: str, project: str, region: str, commit: str) -> str:
    """Build the function's image; return the image's name with its digest."""
    with tempfile.TemporaryDirectory() as folder:
        copy_sources(function, Path(folder))
        place = {"project": project, "region": region, "commit": commit}
        return submit(folder, CONFIG, function, **place, _FUNCTION=function)


def submit(
    folder: str, config: Path, name: str, *, project: str, region: str, commit: str, **more: str
) -> str:
    """Build an image from the folder, and return the image's name with its digest.

    `more` are substitutions in the build's `config`.
    """
    image = f"{region}-docker.pkg.dev/{project}/progress/{name}"
    account = f"progress-build@{project}.iam.gserviceaccount.com"
    substitutions = {"_IMAGE": f"{image}:{commit}", **more}
    command = (
        *("builds", "submit", folder, f"--config={config}", f"--project={project}"),
        *(f"--region={region}", "--quiet", "--format=json"),
        "--substitutions=" + ",".join(f"{key}={value}" for key, value in substitutions.items()),
        f"--service-account=projects/{project}/serviceAccounts/{account}",
        f"--gcs-source-staging-dir=gs://{project}-sources/builds",
    )
    build = json.loads(gcloud.run(command, _TIMEOUT_S))
    (result,) = build["results"]["images"]
    return f"{image}@{result['digest']}"


def copy_sources(function: str, folder: Path, repository: Path = REPOSITORY) -> None:
    """Copy the source files of the function's image into the folder."""
    for name in SHARED:
        copy(repository / name, folder / name)
    for name, source in OWN[function].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(repository / source, folder / name)


def copy(source: Path, target: Path) -> None:
    """Copy a file, or a folder without its compiled and hidden files."""
    ignore: Callable[[str, list[str]], set[str]] = shutil.ignore_patterns("__pycache__", ".*")
    if source.is_dir():
        shutil.copytree(source, target, ignore=ignore)
    else:
        shutil.copyfile(source, target)


if __name__ == "__main__":
    sys.exit(main())
