"""Build the image of the Beam pipeline, and store the Flex Template that runs it.

    beam_template.py --project P --region R --commit C

Print a line `beam-rebuild=IMAGE@sha256:…`. Terraform creates the bucket of the template
(infra/terraform/dataflow.tf).
"""

import json
import sys
import tempfile
from pathlib import Path

import build
import exit_status
import gcloud

BEAM = build.REPOSITORY / "infra/beam"
IMAGE = "beam-rebuild"
_TIMEOUT_S = 300.0


def main() -> int:
    """Build the image and store the template; return the exit code."""
    description = "Build the Flex Template of the Beam pipeline."
    return exit_status.run(description, build.ARGUMENTS, _build_and_store)


def _build_and_store(project: str, region: str, commit: str) -> None:
    image = _build(project, region, commit)
    _store(project, image)
    exit_status.log(f"{IMAGE}={image}")


def _build(project: str, region: str, commit: str) -> str:
    """Build the image; return its name with its digest."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("progress", "sql"):
            build.copy(build.REPOSITORY / name, Path(folder) / name)
        for name in ("Dockerfile", "main.py", "requirements.txt"):
            build.copy(BEAM / name, Path(folder) / name)
        return build.submit(
            folder, BEAM / "build.yaml", IMAGE, project=project, region=region, commit=commit
        )


def _store(project: str, image: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{IMAGE}.json"
        file.write_text(json.dumps(describe(image), indent=2), encoding="utf-8")
        target = f"gs://{project}-progress-templates/{file.name}"
        command = ("storage", "cp", str(file), target, f"--project={project}", "--quiet")
        gcloud.run(command, _TIMEOUT_S)


def describe(image: str) -> dict[str, object]:
    """Return the template. Its launcher and its workers run the same image."""
    metadata = json.loads((BEAM / "metadata.json").read_text(encoding="utf-8"))
    return {
        "image": image,
        "sdkInfo": {"language": "PYTHON"},
        "metadata": metadata,
        "defaultEnvironment": {
            "sdkContainerImage": image,
            "machineType": "e2-standard-2",  # 8 GB for two processes, each with a DuckDB of 2 GB
            "diskSizeGb": 50,
            "ipConfiguration": "WORKER_IP_PRIVATE",
        },
    }


if __name__ == "__main__":
    sys.exit(main())
