"""The way to the first environment: its commands, its amounts, and its profile in the middle."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import alert_policies
from tests.support.terraform_environments import Environments

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "first-cloud.md").read_text(encoding="utf-8")
COST = (ROOT / "docs" / "cost.md").read_text(encoding="utf-8")
MIDDLE = COST.split("## The profile in the middle")[1].split("\n## ")[0]


def test_the_commands_read_the_organisation_the_project_and_the_password(tmp_path: Path) -> None:
    """Another command in the block of the password would be pasted with it, and become it."""
    file = tmp_path / "infra/terraform/environments/dev.tfvars"
    file.parent.mkdir(parents=True)
    shutil.copy(ROOT / "infra/terraform/environments/dev.tfvars", file)
    (tmp_path / "gcloud").write_text("#!/bin/sh\necho 123\n")
    (tmp_path / "gcloud").chmod(0o755)
    fill, block = re.findall(
        r"^(?: {8,}.*(?:environments|gcloud organi|sed|read -rs|export).*\n)+", PAGE, re.MULTILINE
    )[:2]
    shell = f"{fill}{block}secret\necho $PROJECT; printenv TF_VAR_neon_owner_password\n"
    done = subprocess.run(
        ["bash"], input=shell, capture_output=True, text=True, check=True, cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )  # fmt: skip
    assert done.stdout == ("Neon's password (invisible):  6 characters\nprogress-dev\nsecret\n")
    assert '\nparent = "organizations/123"\n' in file.read_text(encoding="utf-8")
    assert [each.name for each in file.parent.iterdir()] == ["dev.tfvars"]


@pytest.mark.exhaustive  # plans one more environment
def test_the_profile_in_the_middle_is_what_the_brief_names(environments: Environments) -> None:
    (lines,) = re.findall(r"^(?: {8}\w+ += .+\n)+", PAGE, re.MULTILINE)
    settings = re.findall(r"(\w+) += \"?(.+?)\"?$", lines, re.MULTILINE)
    middle = environments.variant("middle", "dev", *(f"-var={n}={v}" for n, v in settings)).applied
    (sql,) = middle.one("google_sql_database_instance")["settings"]
    assert sql["tier"] == "db-f1-micro"
    assert middle.of("google_cloud_scheduler_job", "run")["batch"]["schedule"] == "*/5 * * * *"
    assert len(alert_policies.alerts(middle)) == 5
    rows = re.findall(r"^\| [\w ]+ \| ([\d.]+) \| .+ \|$", MIDDLE, re.MULTILINE)
    *parts, total = map(float, rows)
    assert round(sum(parts)) == total
    assert f"about ${total:.0f} a month" in PAGE
