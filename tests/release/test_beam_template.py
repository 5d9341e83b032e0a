"""The Flex Template of the Beam pipeline, its image, and the versions of the image's packages."""

import json
import re
from pathlib import Path

from tests.support import release_runs
from tests.support.fake_cloud import Cloud
from tests.support.release_runs import ROOT
from tests.support.release_world import REPOSITORY

BEAM = ROOT / "infra/beam"
TEMPLATE = "gs://progress-dev-progress-templates/beam-rebuild.json"


def read_pins(path: Path) -> dict[str, str]:
    """Return the version of each package in a lock file."""
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", path.read_text(), re.MULTILINE))


def test_the_template_runs_the_image_that_was_built_from_the_code(
    cloud: Cloud, tmp_path: Path
) -> None:
    done = release_runs.build(cloud, tmp_path, "beam_template.py")
    assert (done.returncode, done.stderr) == (0, "")
    name = f"{REPOSITORY}/beam-rebuild"
    image = f"{name}@sha256:{'d' * 64}"
    assert done.stdout == f"beam-rebuild={image}\n"
    template = json.loads(cloud.world.objects[TEMPLATE])
    assert template["image"] == template["defaultEnvironment"]["sdkContainerImage"] == image
    assert template["sdkInfo"] == {"language": "PYTHON"}
    assert template["metadata"] == json.loads((BEAM / "metadata.json").read_text())
    # The fake records only files with a dot in their names, so it omits the Dockerfile.
    files = cloud.world.built[f"{name}:abc123"]
    copied = re.findall(r"^COPY (?!--)(\S+)", (BEAM / "Dockerfile").read_text(), re.MULTILINE)
    assert {file.partition("/")[0] for file in files} == {*copied}
    assert {"progress/recovery/beam_pipeline.py", "sql/recovery/archive_rebuild.sql"} <= files


def test_beam_uses_the_package_versions_that_the_project_has_locked() -> None:
    beam, project = read_pins(BEAM / "requirements.txt"), read_pins(ROOT / "requirements.txt")
    named = (BEAM / "requirements.in").read_text().splitlines()
    own = {"apache-beam", *(line for line in named if line.startswith("#"))}
    names = [re.split("[=>]", line)[0] for line in named if line not in own]
    assert {name: beam[name] for name in names} == {name: project[name] for name in names}


def test_the_image_has_the_locked_version_of_beam() -> None:
    (tag,) = re.findall(r"apache/beam_python[\d.]+_sdk:([\d.]+)", (BEAM / "Dockerfile").read_text())
    assert tag == read_pins(BEAM / "requirements.txt")["apache-beam"]
