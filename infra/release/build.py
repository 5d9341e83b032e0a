"""Builds a commit's images, one for each function, into the registry of the development project.

    build.py --project P --region R --commit C

Prints `query=IMAGE@sha256:…` and so on, a line each: what `release.py deploy --image` takes.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import gcloud
from outcome import Failed, say

REPOSITORY = Path(__file__).resolve().parent.parent.parent
CONFIG = Path(__file__).with_name("build.yaml")

# What lies in an image beside its function: as infra/terraform/sources.tf has it.
SHARED = ("requirements.txt", "progress", "sql")
OWN = {
    "query": {"main.py": "functions/query/main.py"},
    "ingest": {"main.py": "functions/ingest/main.py"},
    "project": {
        "main.py": "functions/project/main.py",
        "jobs/batch_aggregates/main.py": "jobs/batch_aggregates/main.py",
    },
}
_PATIENCE = 1_500.0  # seconds; longer than the build's own


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description="Builds a commit's images.")
    for name in ("project", "region", "commit"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    try:
        for function in OWN:
            say(f"{function}={_build(function, given.project, given.region, given.commit)}")
    except Failed as fault:
        sys.stderr.write(f"build: {fault}\n")
        return 1
    return 0


def _build(function: str, project: str, region: str, commit: str) -> str:
    """The image, by digest."""
    image = f"{region}-docker.pkg.dev/{project}/progress/{function}"
    account = f"progress-build@{project}.iam.gserviceaccount.com"
    with tempfile.TemporaryDirectory() as folder:
        lay_out(function, Path(folder))
        words = (
            *("builds", "submit", folder, f"--config={CONFIG}", f"--project={project}"),
            *(f"--region={region}", "--quiet", "--format=json"),
            f"--substitutions=_IMAGE={image}:{commit},_FUNCTION={function}",
            f"--service-account=projects/{project}/serviceAccounts/{account}",
            f"--gcs-source-staging-dir=gs://{project}-sources/builds",
        )
        built = json.loads(gcloud.run(words, _PATIENCE))
    (made,) = built["results"]["images"]
    return f"{image}@{made['digest']}"


def lay_out(function: str, folder: Path, repository: Path = REPOSITORY) -> None:
    """All that the function's image is made from."""
    for name in SHARED:
        _copy(repository / name, folder / name)
    for name, source in OWN[function].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(repository / source, folder / name)


def _copy(source: Path, target: Path) -> None:
    unwanted: Callable[[str, list[str]], set[str]] = shutil.ignore_patterns("__pycache__", ".*")
    if source.is_dir():
        shutil.copytree(source, target, ignore=unwanted)
    else:
        shutil.copyfile(source, target)


if __name__ == "__main__":
    sys.exit(main())
