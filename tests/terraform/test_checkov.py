"""checkov's findings in the plans equal the findings that infra/checkov/skips.yaml explains."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import skip_without
from tests.support.terraform import REPOSITORY, need_offline
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Deployment

_SKIPS = REPOSITORY / "infra" / "checkov" / "skips.yaml"
_OWN = REPOSITORY / ".venv-checkov" / "bin" / "checkov"  # installed by make checkov


def skips() -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = yaml.safe_load(_SKIPS.read_text())
    return read


@pytest.fixture(scope="module")
def checkov(request: pytest.FixtureRequest) -> str:
    program = str(_OWN) if _OWN.exists() else shutil.which("checkov")
    if program is None:
        skip_without(request, "checkov")
    return program


def find_failures(program: str, plans: list[Path]) -> Iterator[tuple[str, str]]:
    """Yield each failed check and its resource's address, without the for_each key."""
    done = subprocess.run(
        [program, "--file", *plans, "--framework", "terraform_plan", "--output", "json",
         "--compact", "--quiet", "--soft-fail", "--skip-download"],
        env={**os.environ, "LOG_LEVEL": "ERROR"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 50 * len(plans)
    assert {failure["file_path"] for failure in report["results"]["failed_checks"]} == {
        f"/{plan.name}" for plan in plans
    }
    for failure in report["results"]["failed_checks"]:
        yield failure["check_id"], failure["resource"].partition("[")[0]


@pytest.mark.exhaustive
def test_each_finding_has_a_skip_and_each_skip_has_a_finding(
    checkov: str, environments: Environments, bootstrap: Deployment, tmp_path: Path
) -> None:
    need_offline()
    deployments = {name: environments[name] for name in ("dev", "prod")} | {"bootstrap": bootstrap}
    plans = [tmp_path / f"{name}.json" for name in deployments]
    for plan in plans:
        plan.write_text(json.dumps(deployments[plan.stem].plan))
    findings = {*find_failures(checkov, plans)}
    expected = {(skip["check"], resource) for skip in skips() for resource in skip["resources"]}
    assert sorted(findings - expected) == []
    assert sorted(expected - findings) == []


def test_every_skip_has_a_reason() -> None:
    for skip in skips():
        assert set(skip) == {"check", "resources", "reason"}
        assert skip["resources"]
        assert len(skip["reason"]) > 10
