"""Definitions compute the live rows from the whole log, both in PostgreSQL and in DuckDB."""

import json
import os
import sys

import pytest

from progress.adapters.postgres.database import Connection
from progress.projections import batch, definitions
from progress.projections.projector import SHARDS, Projector
from progress.recovery import checks
from tests.support import archives, definition_folds, model_rows, programs, sample_events
from tests.support.stage import append

# The schema's tables that are not computed by a definition, each with the reason.
NOT_FOLDED = {
    "zone_rules": "constants",
    "window_shape": "a template without rows",
    "snapshot_learners": "a queue of the batch job",
    "checkpoints": "positions in the log",
    "batch_checkpoints": "positions in the log",
}


@pytest.fixture
def folded(connection: Connection) -> Connection:
    append(connection, [*sample_events.varied_study("ann"), *sample_events.lesson("ben", 0)])
    append(connection, [sample_events.user_deleted("ben")])
    batch.run(connection)
    return connection


def find_differing_tables(connection: Connection) -> list[str]:
    return [difference.table for difference in checks.find_differences(connection)]


def test_each_table_of_the_schema_has_a_whole_fold_or_a_reason_for_having_none(
    connection: Connection,
) -> None:
    tables = {row["tablename"] for row in model_rows.read(connection, "tables") if row["is_model"]}
    assert tables == {*definitions.TABLES, *NOT_FOLDED}


def test_a_missing_row_of_any_table_is_a_difference(folded: Connection) -> None:
    with checks.open_snapshot(folded):
        for table in definitions.TABLES:
            folded.run(model_rows.BLOCKS["lose a row"].replace("{table}", table))
        checks.fold(folded)
        found = checks.compare(folded)
    assert {(one.table, one.missing, one.extra) for one in found} == {
        (table, 1, int(table == "catalogue_sizes"))  # its rows are sums, of which a part is lost
        for table in definitions.TABLES
    }
    assert all(one.example.startswith('"(') for one in found)


def test_events_that_are_not_folded_yet_do_not_cause_a_difference(folded: Connection) -> None:
    append(folded, [*sample_events.lesson("ann", 9), sample_events.item_published("i2", "B2")])
    assert find_differing_tables(folded) == []
    projector = Projector(folded)
    for shard in SHARDS:
        projector.catch_up(shard)
    assert find_differing_tables(folded) == []


@pytest.mark.exhaustive
def test_the_time_zones_and_locales_of_the_machine_and_of_the_session_do_not_change_rows(
    folded: Connection,
) -> None:
    folded.run(archives.BLOCKS["set the zone"])
    assert find_differing_tables(folded) == []
    log = definition_folds.read_log(folded)
    environment = {**os.environ, "TZ": "Pacific/Chatham", "LC_ALL": "tr_TR.UTF-8"}
    command = [sys.executable, "-m", "tests.support.definition_folds"]
    elsewhere = programs.run(command, environment, text=log)
    assert json.loads(elsewhere) == definition_folds.duck().fold(log)
