"""The workers of this version fold the read models of the release before as its own workers did.

`released` has, of a release: a log, the definitions of its schema, and the rows that its own code
folded from the log, without versions and times of the clock. Never change these files.
"""

import gzip
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.event_store import dead_letters, time_zones
from progress.projections import batch, live, rebuild, replacement, replay, schema
from progress.projections.projector import Projector
from tests.conftest import Store
from tests.support import model_rows, sample_events
from tests.support.stage import append

pytestmark = pytest.mark.every_postgres

RELEASED = Path(__file__).parent / "released" / "0.3.0"
CLOCK = "version last_updated updated_at catalogue_version swap_version created_at"
COLUMNS = """
SELECT c.relname, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relkind = 'r'
  AND a.attname <> ALL (CAST(:clock AS text[])) AND c.relname <> 'zone_rules'
GROUP BY c.relname
"""
ROWS = """
SELECT coalesce(json_agg(to_json(r) ORDER BY CAST(r AS text) COLLATE "C"), '[]')::text
FROM (SELECT {columns} FROM {table}) r
"""


def read(name: str) -> Any:
    return json.loads(gzip.decompress((RELEASED / f"{name}.json.gz").read_bytes()))


def read_all(connection: Connection) -> dict[str, Any]:
    tables = connection.run(COLUMNS, clock=CLOCK.split())
    sql = {table: ROWS.format(columns=columns, table=table) for table, columns in tables}
    return {table: json.loads(connection.run(text)[0][0]) for table, text in sql.items()}


@pytest.fixture
def former(store: Store, connection: Connection) -> str:
    """The release's schema, as the release created it and `migrate` completes it."""
    made = read("schema")
    with closing(store.connect()) as creating, database.transaction(creating):
        creating.run(f"CREATE SCHEMA {made['schema']} AUTHORIZATION progress_project")
        creating.run("SET LOCAL ROLE progress_project")
        schema.set_search_path(creating, made["schema"])
        for statement in made["definitions"]:
            creating.run(statement)
        fill = schema._block("zone_rules", "fill")
        creating.run(fill, rules=time_zones.encode_rules())
    assert live.find(connection).schemas == [schema.schema_name()]
    rebuild.ensure(store.connect)
    return str(made["schema"])


def test_each_version_has_the_rows_that_its_own_code_folds(
    connection: Connection, former: str
) -> None:
    found = live.find(connection)
    worker = Projector(connection)
    for events in read("log"):
        append(connection, events)
        worker.fold_live(found, worker.catch_up_all)
        batch.run(connection)
    schema.set_search_path(connection)
    assert not sample_events.find_differences(connection)
    schema.set_search_path(connection, former)
    rows, expected = read_all(connection), read("rows")
    del rows["snapshot_learners"], expected["snapshot_learners"]  # the run took their snapshots
    assert {table for table in expected if rows[table] != expected[table]} == set()
    assert rows.keys() == expected.keys()


@pytest.mark.parametrize("beyond", [0, 1])
def test_the_former_read_models_leave_out_what_their_version_cannot_show(
    connection: Connection, former: str, beyond: int
) -> None:
    """Version 0.3 folds it, and then answers no query about the learner's items or days."""
    bounds = {"new_interval": 36_500, "duration_seconds": 86_400, "response_time_ms": 86_400_000}
    events = [event for n in (0, 1) for event in sample_events.lesson("ann", n)]
    for event in events:
        data = event["data"]
        data.update({field: bound + beyond for field, bound in bounds.items() if field in data})
    append(connection, events)
    for _ in range(2):
        batch.run(connection)
        append(connection, [sample_events.change_preferences("ann", timezone="Asia/Tokyo")])
    left_out = connection.run(
        "SELECT DISTINCT event_type FROM event_store.poisoned "
        "JOIN event_store.events USING (global_position) ORDER BY event_type"
    )
    kinds = ["CorrectAnswerGiven", "IncorrectAnswerGiven", "ReviewProcessed", "SessionCompleted"]
    assert left_out == [[kind] for kind in kinds if beyond]
    for name, is_whole in ((former, not beyond), (schema.schema_name(), True)):
        rows = model_rows.read_table(connection, f"{name}.item_stats")
        assert {row["interval_days"] for row in rows} == ({36_500 + beyond} if is_whole else set())
    for letter in dead_letters.list_letters(connection):
        assert "other code" in str(replay.replay(connection, letter.letter_id))
    connection.run("UPDATE event_store.read_models SET read_until = NULL")
    assert list(replacement.drop_unused(connection)) == [former]
    assert dead_letters.list_letters(connection) == []
