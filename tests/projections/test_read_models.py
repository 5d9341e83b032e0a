"""Every read model supports deletion and as-of queries, and is compared with the oracle."""

import re

import pytest
from typer.testing import CliRunner

from progress.adapters.postgres import statements
from progress.adapters.postgres.database import Connection
from progress.cli import build_app
from progress.errors import ProgressError
from progress.projections import batch, definitions, schema
from progress.projections.projector import SHARDS, Projector
from progress.projections.schema import BATCH, REALTIME, ReadModel
from progress.query.graphql.schema import FIELDS
from tests import oracle
from tests.support import cache_instances, model_rows, sample_events
from tests.support.api import QUERY
from tests.support.stage import append

MODELS = (*REALTIME, *BATCH)
WITHOUT_ROWS = {"deleted_learners"}  # This table has rows only after a deletion.


def name_of(model: ReadModel) -> str:
    return model.name


def count_rows(connection: Connection, table: str) -> int:
    return sum(row["user_id"] == "ann" for row in model_rows.read_table(connection, table))


@pytest.fixture
def learner_tables(connection: Connection) -> list[str]:
    return [row["table_name"] for row in model_rows.read(connection, "learner tables")]


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_a_model_has_a_compiled_field_or_a_reason_for_having_none(model: ReadModel) -> None:
    assert bool(model.field) != bool(model.internal)
    if model.field:
        if FIELDS[model.field].sql is None:  # a compiled field has no pages
            assert "first" in QUERY.fields[model.field].args
            return
        query = cache_instances.build(model.field, "ann", sample_events.BEGIN)
        assert query.file == f"read_models/{model.name}"


def test_every_model_with_a_graphql_field_is_compared_with_the_oracle() -> None:
    compared = set(model_rows.compared_models())
    assert {model.name for model in MODELS if model.field} <= compared == oracle.defined_models()


@pytest.mark.parametrize("field", [f for f, d in FIELDS.items() if d.sql], ids=str)
def test_a_query_about_the_past_reads_no_live_rows_of_learners(
    connection: Connection, learner_tables: list[str], field: str
) -> None:
    query = cache_instances.build(field, "ann", sample_events.BEGIN)
    text = statements.blocks(query.file)[query.block]
    read = {*re.findall(r"\b(?:FROM|JOIN) (\w+)", text)} & {*learner_tables, "segments"}
    assert read - {*definitions.PRESENT} <= definitions.as_of_relations(text).keys()


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


def without_places(text: str) -> str:
    return re.sub(r"^-- sql/\S+:\d+(, sql/\S+:\d+)*\n", "", text, flags=re.MULTILINE)


def test_the_database_runs_the_sql_that_the_command_prints(connection: Connection) -> None:
    printed = "".join(
        without_places(CliRunner().invoke(build_app("sql"), ["sql", name]).output)
        for name in (
            "checkpoints",
            "versions",
            "fold",
            "batch",
            "interface",
            "views",
            "as_of",
            *map(name_of, MODELS),
        )
    )
    sources = model_rows.read(connection, "function sources")
    assert {"fold_facts", "fold_batch", "snapshot_state"} <= {row["proname"] for row in sources}
    for row in sources:
        source = row["prosrc"].replace(f"_{schema.fingerprint()}", "")
        assert source in printed, row["proname"]
    assert all(definition in printed for definition in schema._definitions())
    assert "sql/read_models/goals.sql:" in schema.trace("fold")["functions"]


def test_the_command_rejects_unknown_names() -> None:
    with pytest.raises(ProgressError, match="found 'nothing'"):
        schema.trace("nothing")
    with pytest.raises(ProgressError, match="has no blocks: it runs as it is written"):
        schema.trace("functions/replace_views")
    result = CliRunner().invoke(build_app("sql"), ["sql", "goals", "nothing"])
    assert "only table, fold, definition" in str(result.exception)
