"""The way to the first environment: its commands, its amounts, and its profile in the middle."""

import re
import shutil
from pathlib import Path

import pytest

from tests.support import alert_policies, cli, terraform
from tests.support.terraform_environments import Environments

ROOT = Path(__file__).parents[2]
TELEMETRY = "progress/adapters/telemetry"
PAGE = (ROOT / "docs" / "first-cloud.md").read_text(encoding="utf-8")
COST = (ROOT / "docs" / "cost.md").read_text(encoding="utf-8")
MIDDLE = COST.split("## The profile in the middle")[1].split("\n## ")[0]


# Fails, as gcloud would, if an earlier command has not made what a call needs.
_GCLOUD = r"""
cd "$CLONE"
need() { grep -qs "\"$1\": \"$2\"" ./*.tfstate infra/bootstrap/*.tfstate || exit 1; }
case "$*" in
version | "auth login --update-adc" | "billing accounts list") ;;
*"organizations list --format=value"*) echo 123 ;;
*"organizations list"*) echo '[{"name": "organizations/123"}]' ;;
*"projects list"*) echo "[]" ;;
"--quiet beta services identity create"*) ;;
"builds submit "*" --project=ours-dev --gcs-source-staging-dir=gs://"*)
    bucket=${*##*gs://}; need name "${bucket%%/*}"; need repository_id progress; touch built ;;
"run jobs execute progress-release "*) test -e built ;;
"auth print-identity-token") echo token ;;
*) exit 1 ;;
esac"""
# Answers "yes", and keeps the states on this machine. The bucket that the page names must exist.
# Where the provider would enable the compute API itself, this fails, as it may in a new project.
_TERRAFORM = r"""
case "$1" in -chdir=*) folder=${1#-chdir=} ;; *) folder=. ;; esac
case "$*" in *-backend-config=bucket=*)
    grep -qs "\"name\": \"${*##*=}\"" "$CLONE"/*.tfstate "$folder/terraform.tfstate" || exit 1
    printf 'terraform {\n  backend "http" {}\n}\n' > "$folder/kept_override.tf"
    set -- $(echo "$*" | sed 's/-backend-config=.*//') ;;
esac
[ "${PWD##*/}" != bootstrap ] || export TF_HTTP_ADDRESS="$TF_HTTP_ADDRESS-bootstrap"
case "$*" in *apply*) ;; *) exec "$REAL" "$@" ;; esac
unset TF_INPUT
echo yes | "$REAL" "$@" || exit
! grep -qs '"auto_create_network": false' "$folder/terraform.tfstate" || {
    "$REAL" taint 'google_project.this["dev"]'; exit 1; }"""


@pytest.mark.exhaustive
def test_each_command_needs_only_what_an_earlier_one_has_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Type the page's commands in its order. What is typed after the password would become it.

    Typed once more, they succeed and change nothing.
    """
    terraform.need_offline()
    for name in ("bootstrap", "terraform", "docker"):
        terraform.copy_folder(ROOT / "infra" / name, tmp_path / "infra" / name)
    for file in ("infra/preflight", "docs/runbook.md", f"{TELEMETRY}/metric_fields.json"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    terraform.write_program(tmp_path / "infra/try", "grep -q progress-query state.tfstate")
    terraform.write_program(tmp_path / "programs/gcloud", _GCLOUD)
    monkeypatch.setenv("REAL", str(shutil.which("terraform")))
    terraform.write_program(tmp_path / "programs/terraform", _TERRAFORM)
    monkeypatch.setenv("CLONE", str(tmp_path))
    dev = tmp_path / "infra/terraform/environments/dev.tfvars"
    values = dev.read_text(encoding="utf-8")
    for example, own in (("progress-dev", "ours-dev"), ("0" * 6, "012345"), ("ep-example", "ep-1")):
        values = values.replace(example, own)
    dev.write_text(values, encoding="utf-8")

    steps = PAGE.split("## What dev lacks")[0]
    typed = "".join(line[8:] for line in steps.splitlines(keepends=True) if line[:8].isspace())
    typed, prompts = re.subn(r"(.* characters\"\n)", r"\1secret\n", typed)
    assert prompts == 1
    shown = terraform.Root(tmp_path).run_program(
        ["bash", "-e"],
        text=f"{typed}echo AGAIN\n{typed}printenv TF_VAR_neon_owner_password\n",
        state="state",
    )
    first, again = shown.split("AGAIN\n")
    assert again.endswith("token\nsecret\n")
    for part in (first, again):
        assert re.search(r"No changes\..*Apply complete! .*\n +\"query\" = ", part, re.DOTALL)
    assert set(re.findall(r"Apply complete! Resources: (.+)", again)) == {
        "0 added, 0 changed, 0 destroyed."
    }
    assert not (tmp_path / "infra/bootstrap/backend_override.tf").exists()
    assert '\nparent = "organizations/123"\n' in dev.read_text(encoding="utf-8")


def test_the_way_has_nine_steps_and_takes_forty_two_minutes_at_most() -> None:
    minutes = re.findall(r"^\d\. \*\*.+?\*\* \((\d+) minutes\)", PAGE, re.MULTILINE)
    assert len(minutes) == 9
    assert sum(map(int, minutes)) <= 42


def test_the_log_of_a_job_that_failed_is_read_where_the_command_writes_why() -> None:
    """Cloud Logging gives plain text no severity, whether it is of the output or of errors."""
    failed = cli.progress("mysql://here/there", "migrate")
    assert (failed.stdout, failed.stderr[:10]) == ("", "progress: ")
    (read,) = re.findall(r"gcloud logging read '(.*job_name=progress-release.*)'", PAGE)
    assert read.split(" AND ") == ["resource.labels.job_name=progress-release", "logName:stderr"]


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
