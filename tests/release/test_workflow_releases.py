"""The release workflows: service accounts, environments, order and concurrency."""

import re

from tests.support.workflows import (
    FILES,
    FOLDER,
    ROOT,
    SIGNS_IN,
    jobs,
    read,
    steps,
)


def test_jobs_that_sign_in_have_an_environment_and_the_right_service_account() -> None:
    accounts = {
        "infra/release/": "progress-pipeline",
        "terraform apply": "terraform",
        "terraform plan": "terraform-plan",
    }
    worked = []
    for file in FILES:
        for name, job in jobs(file).items():
            account = None
            for step in job.get("steps", ()):
                if step.get("uses", "").startswith(SIGNS_IN):
                    account = step["with"]["service_account"]
                    assert job["environment"] in ("images", "trial") or (
                        "inputs.environment" in job["environment"]
                    )
                for work, whose in accounts.items():
                    if work in step.get("run", "") and "environment" in job and name != "trial":
                        worked.append(name)
                        project = "@${{ vars.PROJECT_ID }}.iam.gserviceaccount.com"
                        assert account == whose + project, (file, step["run"])
    assert sorted(worked) == ["build", "plan", "release", "release", "release", "rollback"]


def test_workflows_use_only_the_service_accounts_that_bootstrap_allows() -> None:
    text = (ROOT / "infra/bootstrap/federation.tf").read_text(encoding="utf-8")
    lines = re.findall(r'"([\w-]+)" += (\["[^]]*"\])', text)
    allowed = {
        (account, file) for account, files in lines for file in re.findall(r'"(.+?)"', files)
    }
    allowed |= set(re.findall(r'"images ([\w-]+) ([\w.]+)"', text))
    signed_in = {
        (step["with"]["service_account"].partition("@")[0], file.name)
        for file in FILES
        for step, _, _ in steps(file)
        if step.get("uses", "").startswith(SIGNS_IN)
    }
    assert signed_in == allowed


def test_releases_and_rollbacks_of_an_environment_never_overlap() -> None:
    """A rollback cancels the release in progress, even if the release waits for an approval."""
    groups = {
        stem: job["concurrency"]
        for stem in ("release", "rollback")
        for job in jobs(FOLDER / f"{stem}.yaml").values()
    }
    group = "release-${{ inputs.environment }}"
    assert groups == {
        "release": {"group": group, "cancel-in-progress": False},
        "rollback": {"group": group, "cancel-in-progress": True},
    }
    deploying = [f.stem for f in FILES if "release.py deploy" in f.read_text()]
    assert deploying == ["release"]


def test_a_cancelled_release_receives_a_signal_and_is_recovered() -> None:
    job = jobs(FOLDER / "release.yaml")["release"]
    deploy, mend = job["steps"][-2:]
    assert deploy["run"].startswith("exec python3 infra/release/release.py deploy ")
    assert job["timeout-minutes"] - deploy["timeout-minutes"] >= 30
    ends = [f"steps.{deploy['id']}.outcome == '{outcome}'" for outcome in ("failure", "cancelled")]
    assert mend["if"] == f"always() && ({' || '.join(ends)})"
    assert mend["run"].startswith("python3 infra/release/release.py recover ")


def test_main_is_released_to_dev_staging_and_production_with_the_same_images() -> None:
    deliver = jobs(FOLDER / "deliver.yaml")
    assert read(FOLDER / "deliver.yaml")["on"] == {"push": {"branches": ["main"]}}
    assert deliver["build"]["needs"] == "checks"
    order = [("dev", "build"), ("staging", ["build", "dev"]), ("production", ["build", "staging"])]
    for name, needs in order:
        assert deliver[name]["needs"] == needs
        images = {f: f"${{{{ needs.build.outputs.{f} }}}}" for f in ("query", "ingest", "project")}
        assert deliver[name]["with"] == {"environment": name, **images}
    inputs = read(FOLDER / "release.yaml")["on"]["workflow_call"]["inputs"]
    assert inputs.keys() == deliver["dev"]["with"].keys()


def test_the_workflows_use_the_environments_that_terraform_trusts() -> None:
    text = (ROOT / "infra/bootstrap/federation.tf").read_text(encoding="utf-8")
    (names,) = re.findall(r"github_environments = \{(.*)\}", text)
    files = (ROOT / "infra/terraform/environments").glob("*.tfvars")
    assert dict(re.findall(r'(\w+) = "(\w+)"', names)) == {
        **{file.stem: file.stem for file in files},
        "prod": "production",
        "images": "images",
    }
    for stem in ("rollback", "plan"):
        choice = read(FOLDER / f"{stem}.yaml")["on"]["workflow_dispatch"]["inputs"]["environment"]
        assert choice["options"] == ["dev", "staging", "production"]


def test_workflows_that_sign_in_are_triggered_only_by_events_that_terraform_allows() -> None:
    federation = (ROOT / "infra/bootstrap/federation.tf").read_text()
    (events,) = re.findall(r"assertion\.event_name in \[(.*?)\]", federation)
    signing_in = [file for file in FILES if "id-token: write" in file.read_text()]
    started = {event for file in signing_in for event in read(file)["on"]} - {"workflow_call"}
    assert started == set(re.findall(r"\w+", events))
