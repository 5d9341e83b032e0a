"""`progress check` finds the defects that a restore can leave, and names an action for each."""

import functools
import json
import re

import pytest

from progress.adapters.postgres.database import Connection
from progress.errors import CheckpointError
from progress.projections import batch, rebuild, schema
from progress.projections.projector import SHARDS, Projector
from progress.recovery import checks
from tests.conftest import Store
from tests.support import cli, recovery_fixtures, sample_events
from tests.support.stage import append

BLOCKS = recovery_fixtures.BLOCKS


@pytest.fixture
def populated(connection: Connection) -> Connection:
    sample_events.record_lessons(connection, "ann", "ben", "cyd", "dan")
    batch.run(connection)
    connection.run(BLOCKS["let the log be changed"])
    return connection


def list_findings(connection: Connection) -> str:
    return "; ".join(
        f"{finding.found}: {finding.do}" for finding in checks.run(connection).findings
    )


@pytest.mark.every_postgres
def test_an_undamaged_store_has_no_findings(store: Store, populated: Connection) -> None:
    output = cli.expect_success(cli.progress(store.url, "check"))
    assert "the log is complete" in output.lower()
    append(populated, sample_events.lesson("ann", 9))  # it is not folded yet
    report = json.loads(cli.expect_success(cli.progress(store.url, "check", "--json")))
    assert report["events"] == report["head"] > 0
    behind = {shard["events_behind"] for shard in report["shards"]}
    assert behind == {0, len(sample_events.lesson("ann", 9))}
    assert report["findings"] == []


def test_a_job_runs_the_command_of_an_operator_once_and_those_of_a_release_again(
    store: Store, populated: Connection
) -> None:
    """Cloud Run retries a failed task three times: an operator would wait for four checks."""
    populated.run(BLOCKS["lose an event"])
    again = functools.partial(cli.progress, store.url, CLOUD_RUN_TASK_ATTEMPT="1")
    assert cli.expect_failure(again("check", "--whole"), "not tried again") == ""
    release = (cli.ROOT / "infra/release/release.py").read_text(encoding="utf-8")
    commands = {*re.findall(r'execute\(RELEASE_JOB, "([\w-]+)"', release)}
    jobs = (cli.ROOT / "infra/terraform/jobs.tf").read_text(encoding="utf-8")
    commands |= {*re.findall(r'\bargs = \["([\w-]+)"', jobs)}
    assert commands == {"dump", "migrate", "move-views", "prune-schemas", "rebuild"}
    for command in commands:
        cli.expect_success(again(command, "--help"))


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("lose an event", ["positions 5 to 5 are missing", "Restore the event store"]),
        ("renumber a stream", ["the versions of 1 streams are not"]),
        ("misplace an event", ["the streams of 1 events to other shards"]),
        ("record it at another time", ["of another log", "progress rebuild"]),
        (
            "give a number by hand",
            ["event_store.dead_letters lags behind the rows", "event_store.pending lags behind"],
        ),
        (
            "lose a checkpoint",
            ["1 of 16 checkpoints are missing", "of shard 3 are ahead", "progress rebuild"],
        ),
    ],
)
def test_each_defect_is_reported_with_an_action(
    store: Store, populated: Connection, damage: str, words: list[str]
) -> None:
    populated.run(BLOCKS[damage])
    for word in words:
        assert word in list_findings(populated)
    cli.expect_failure(cli.progress(store.url, "check"))


@pytest.mark.every_postgres
def test_a_changed_row_is_reported_only_if_every_row_is_compared(
    store: Store, populated: Connection
) -> None:
    assert "every row match it" in cli.expect_success(cli.progress(store.url, "check", "--whole"))
    populated.run(BLOCKS["change a row"])
    cli.expect_success(cli.progress(store.url, "check"))
    output = cli.expect_failure(cli.progress(store.url, "check", "--whole"), "progress rebuild")
    assert "hourly_stats differs from a fold of the log: it lacks 1 rows and has 1" in output
    cli.expect_success(cli.progress(store.url, "rebuild"))
    cli.expect_success(cli.progress(store.url, "check", "--whole"))


@pytest.mark.parametrize("table", ["item_difficulty", "group_items"])
def test_sums_under_another_shard_are_reported(
    store: Store, populated: Connection, table: str
) -> None:
    joined = {"user_id": "ann", "group_id": "g"}
    at = sample_events.BEGIN
    append(populated, [sample_events.envelope("LearnerJoinedGroup", joined, at=at)])
    Projector(populated).catch_up_all()
    cli.expect_success(cli.progress(store.url, "check", "--whole"))
    populated.run(BLOCKS["move sums to another shard"].replace("sums", table))
    output = cli.expect_failure(cli.progress(store.url, "check", "--whole"), "progress rebuild")
    assert f"{table} differs from a fold of the log: it lacks 1 rows and has 1" in output


def test_missing_read_models_are_reported(store: Store, populated: Connection) -> None:
    schema.drop(populated, schema.schema_name())
    cli.expect_failure(cli.progress(store.url, "check"), "progress migrate")
    cli.expect_success(cli.progress(store.url, "migrate"))
    cli.expect_success(cli.progress(store.url, "check"))


def test_read_models_ahead_of_the_log_are_reported_and_rebuilt(
    store: Store, populated: Connection
) -> None:
    head = checks.run(populated).head
    populated.run(BLOCKS["lose the end"], head=head - 30)
    assert "ahead of the log" in list_findings(populated)
    with pytest.raises(CheckpointError):
        [Projector(populated).catch_up(shard) for shard in SHARDS]
    output = cli.expect_failure(cli.progress(store.url, "check"), "progress rebuild")
    assert "AHEAD" in output
    cli.expect_success(cli.progress(store.url, "rebuild"))
    cli.expect_success(cli.progress(store.url, "check"))
    assert not sample_events.find_differences(populated)


@pytest.mark.every_postgres
def test_read_models_of_another_log_are_reported_even_if_this_log_is_longer(
    store: Store, populated: Connection
) -> None:
    head = checks.run(populated).head
    populated.run(BLOCKS["lose the end"], head=head - 30)
    append(populated, [event for n in range(20, 30) for event in sample_events.lesson("ann", n)])
    report = checks.run(populated)
    assert report.head > head
    assert "of another log" in list_findings(populated)
    rebuild.run(store.connect)
    assert not list_findings(populated)
