"""Every read model supports deletion and as-of queries, and is compared with the oracle."""

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import date

import pytest
from typer.testing import CliRunner

from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.cli import build_app
from progress.errors import ProgressError
from progress.projections import batch, schema, snapshots
from progress.projections.projector import SHARDS, Projector
from progress.projections.schema import BATCH, REALTIME, ReadModel
from progress.query.graphql.fields import FIELDS
from tests import oracle
from tests.conftest import Store
from tests.support import model_rows, rows_by_hand, sample_events, stage
from tests.support.stage import append

MODELS = (*REALTIME, *BATCH)
NOT_FOLDED_AS_OF = {"window_shape"}  # No fold writes rows to this template.
WITHOUT_ROWS = {"deleted_learners"}  # This table has rows only after a deletion.
NOT_IN_SNAPSHOTS = {"group_members", "member_weeks"}  # No as-of query reads these tables.
# Values for the required arguments of the models' GraphQL fields.
ARGUMENTS = {"from": date(2024, 3, 1), "to": date(2024, 3, 31), "itemId": "i1"}


def name_of(model: ReadModel) -> str:
    return model.name


def tables_of(model: ReadModel) -> list[str]:
    block = statements.blocks(f"read_models/{model.name}").get("table", "")
    lines = [line.split() for line in block.splitlines()]
    return [line[2] for line in lines if line[:2] == ["CREATE", "TABLE"]]


def count_rows(connection: Connection, table: str) -> int:
    return sum(row["user_id"] == "ann" for row in model_rows.read_table(connection, table))


@pytest.fixture
def learner_tables(connection: Connection) -> list[str]:
    """The tables of the schema whose rows belong to learners."""
    return [row["table_name"] for row in model_rows.read(connection, "learner tables")]


@pytest.fixture
def as_of_connection(store: Store) -> Iterator[Connection]:
    """A connection with the as-of tables and the privileges of the query function."""
    with closing(stage.connect(rows_by_hand.query_url(store.url))) as connection:
        path = f"pg_temp, {schema.schema_name()}, event_store"
        connection.run("SELECT set_config('search_path', :path, false)", path=path)
        connection.run(schema.as_of_tables())
        yield connection


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_a_model_has_a_compiled_field_or_a_reason_for_having_none(model: ReadModel) -> None:
    assert bool(model.field) != bool(model.internal)
    if model.field:
        sql = FIELDS[model.field].sql
        assert sql
        arguments = {name: ARGUMENTS[name] for name in sql.parameters if name in ARGUMENTS}
        query = sql.build(sample_events.BEGIN, arguments)
        assert query.file == f"read_models/{model.name}"


def test_every_model_with_a_graphql_field_is_compared_with_the_oracle() -> None:
    compared = set(model_rows.compared_models())
    assert {model.name for model in MODELS if model.field} <= compared == oracle.defined_models()


@pytest.mark.parametrize("model", REALTIME, ids=name_of)
def test_an_as_of_query_has_its_own_copy_of_each_table(
    as_of_connection: Connection, model: ReadModel
) -> None:
    for table in set(tables_of(model)) - NOT_FOLDED_AS_OF:
        own = model_rows.read_value(as_of_connection, "is temporary", name=table)
        assert own, f"{table}: its block `as_of` is missing"


def study(connection: Connection) -> None:
    """Record and fold events that give ann a row in every table; do not take a snapshot."""
    append(connection, sample_events.varied_study("ann"))
    Projector(connection).catch_up_all()
    batch.fold(connection, list(SHARDS))


def test_a_deletion_removes_the_learner_from_every_table(
    connection: Connection, learner_tables: list[str]
) -> None:
    study(connection)
    filled = [table for table in learner_tables if count_rows(connection, table)]
    assert set(filled) == set(learner_tables) - WITHOUT_ROWS
    gone = sample_events.user_deleted("ann")
    append(connection, [gone])
    Projector(connection).catch_up_all()
    assert [table for table in learner_tables if count_rows(connection, table)] == [*WITHOUT_ROWS]


def keeps_whole_rows(model: ReadModel) -> bool:
    """Return True if a snapshot holds the model's rows as one array."""
    snapshot = statements.blocks(f"read_models/{model.name}").get("snapshot", "")
    return snapshot.startswith("(SELECT array_agg")


def test_every_model_with_rows_of_learners_is_in_a_snapshot(learner_tables: list[str]) -> None:
    for model in REALTIME:
        if set(tables_of(model)) & set(learner_tables) - WITHOUT_ROWS - NOT_IN_SNAPSHOTS:
            assert "snapshot" in statements.blocks(f"read_models/{model.name}"), model.name


@pytest.mark.parametrize("model", [m for m in REALTIME if keeps_whole_rows(m)], ids=name_of)
def test_an_as_of_query_restores_the_rows_of_a_snapshot(
    connection: Connection, as_of_connection: Connection, model: ReadModel
) -> None:
    study(connection)
    assert snapshots.take(connection, snapshots.Policy(event_interval=1))
    append(connection, sample_events.lesson("ann", 4))
    Projector(connection).catch_up_all()
    fold = statements.blocks("projections/as_of")["fold_as_of"]
    with database.transaction(as_of_connection):
        as_of_connection.run(fold, user_id="ann", as_of=None, known_at=None, is_last=True)
        restored = model_rows.read_table(as_of_connection, model.name)
    live = model_rows.read_table(connection, model.name)
    for row in (*restored, *live):
        row.pop("version", None)  # each transaction writes a different version
    assert sorted(restored, key=str) == sorted(live, key=str)


def without_places(text: str) -> str:
    return re.sub(r"^-- sql/\S+:\d+(, sql/\S+:\d+)*\n", "", text, flags=re.MULTILINE)


def test_the_database_runs_the_sql_that_the_command_prints(connection: Connection) -> None:
    printed = "".join(
        without_places(CliRunner().invoke(build_app("sql"), ["sql", name]).output)
        for name in ("checkpoints", "versions", "fold", "batch", "as_of", *map(name_of, MODELS))
    )
    sources = model_rows.read(connection, "function sources")
    assert {"fold_facts", "fold_batch", "snapshot_state"} <= {row["proname"] for row in sources}
    for row in sources:
        assert row["prosrc"] in printed, row["proname"]
    assert all(definition in printed for definition in schema._definitions())
    assert "sql/read_models/goals.sql:" in schema.trace("fold")["functions"]


def test_the_command_rejects_unknown_names() -> None:
    with pytest.raises(ProgressError, match="found 'nothing'"):
        schema.trace("nothing")
    result = CliRunner().invoke(build_app("sql"), ["sql", "goals", "nothing"])
    assert "only table, as_of, fold" in str(result.exception)
