"""`progress schedule` calls a fake Cloud Scheduler over gRPC, through Google's library."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import grpc
import pytest

from tests.support import cli, cloud_scheduler
from tests.support.cloud_scheduler import LAST, CloudScheduler

NOWHERE = "postgresql://nobody@127.0.0.1:9/none"  # no server: `progress schedule` needs no database


class Cloud:
    def __init__(self, scheduler: CloudScheduler, address: str) -> None:
        self.scheduler, self._address = scheduler, address

    def schedule(self, *arguments: str, **environment: str) -> cli.Result:
        variables = {"CLOUD_SCHEDULER_EMULATOR_HOST": self._address, "PUBSUB_PROJECT_ID": "p"}
        return cli.progress(NOWHERE, "schedule", *arguments, **(variables | environment))

    def state(self, name: str) -> str:
        return str(self.scheduler.jobs[name].state.name)


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with cloud_scheduler.serve() as (address, scheduler):
        yield Cloud(scheduler, address)


def test_the_list_command_shows_the_schedules_of_all_response_pages(cloud: Cloud) -> None:
    lines = cli.expect_success(cloud.schedule("list", "--json")).splitlines()
    backup, batch, _ = map(json.loads, lines)
    assert (backup["name"], backup["schedule"]) == ("progress-backup", "0 */6 * * *")
    assert (batch["state"], batch["code"]) == ("ENABLED", 4)
    assert datetime.fromisoformat(batch["last_at"]) == LAST
    listing = cli.expect_success(cloud.schedule("list"))
    assert "with code 4" in listing
    assert "2026-11-20 02:00" in listing
    elsewhere = cli.expect_success(cloud.schedule("list", "--region", "us-east1"))
    assert "There are no schedules." in elsewhere
    elsewhere = cli.expect_success(cloud.schedule("list", SCHEDULER_REGION="asia-northeast1"))
    assert "There are no schedules." in elsewhere


def test_schedules_can_be_paused_and_resumed_and_run(cloud: Cloud) -> None:
    assert "is paused." in cli.expect_success(cloud.schedule("pause"))
    assert cloud.state("progress-batch") == "PAUSED"
    assert cloud.state("progress-backup") == "ENABLED"
    assert "already" in cli.expect_success(cloud.schedule("pause"))
    cli.expect_success(cloud.schedule("run"))
    assert cloud.scheduler.calls[-1] == "RunJob progress-batch"
    both = ("progress-batch", "progress-backup")
    cli.expect_success(cloud.schedule("pause", *both))
    assert {cloud.state(name) for name in both} == {"PAUSED"}
    cli.expect_success(cloud.schedule("resume", *both, "--project", "p"))
    assert {cloud.state(name) for name in both} == {"ENABLED"}


def test_a_rejection_and_an_outage_are_reported_in_one_line_with_advice(cloud: Cloud) -> None:
    away = cloud.schedule("pause", CLOUD_SCHEDULER_EMULATOR_HOST="127.0.0.1:9")
    cli.expect_failure(away, "try again")
    for refusal, words in [
        (grpc.StatusCode.PERMISSION_DENIED, "the caller needs roles/cloudscheduler.admin"),
        (grpc.StatusCode.INTERNAL, "try again"),
    ]:
        cloud.scheduler.refusal = refusal
        cli.expect_failure(cloud.schedule("pause"), words)


def test_the_error_names_an_unknown_schedule_or_region(cloud: Cloud) -> None:
    cli.expect_failure(cloud.schedule("pause", "progress-x"), "there is no progress-x")
    cli.expect_failure(cloud.schedule("pause", "--region", "us-east1"), "locations/us-east1")


def test_the_error_says_how_to_get_missing_credentials(cloud: Cloud, tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "CLOUDSDK_CONFIG": str(tmp_path), "NO_GCE_CHECK": "true"}
    nobody = cloud.schedule("list", CLOUD_SCHEDULER_EMULATOR_HOST="", **home)
    cli.expect_failure(nobody, "gcloud auth login --update-adc")
