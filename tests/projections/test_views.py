"""Analysts read the read models through views that keep their names and columns."""

import math
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from pg8000.exceptions import DatabaseError

from progress.adapters.postgres import database, logins
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.roles import Login
from progress.errors import DatabaseUnavailable, ProjectionError
from progress.projections import batch, rebuild, replacement, schema, views
from progress.projections.schema import BATCH, REALTIME
from tests.conftest import Store
from tests.support import cli, model_rows, postgres_servers, sample_events
from tests.support.postgres_servers import url_of
from tests.support.stage import append

pytestmark = pytest.mark.every_postgres

OTHER = "progress_0123456789ab"
REPLACE = "SELECT progress.replace_views(:other, CAST(:models AS text[]))"
EXAMPLE = Path(__file__).parents[2] / "examples/views.sql"


@pytest.fixture
def populated(folded_learners: tuple[str, ...], connection: Connection) -> Connection:
    views.follow(connection, None)
    return connection


@pytest.fixture
def analyst(store: Store, populated: Connection) -> Iterator[Connection]:
    """A connection with the privileges and the settings of an analyst's login."""
    name = f"analyst_of_{store.url.rpartition('/')[2].partition('?')[0]}"
    logins.apply(populated, [Login("progress_analyst", name, "secret")])
    url = store.url.replace("//postgres", f"//{name}")
    with closing(postgres_servers.connect_plainly(url)) as connection:
        yield connection
    populated.run(f"DROP ROLE {name}")


def rows_of(connection: Connection, view: str) -> list[list[object]]:
    return sorted(connection.run(f"TABLE progress.{view}") or [], key=repr)


def test_each_read_model_that_the_api_serves_has_a_view(populated: Connection) -> None:
    served = {model.name for model in (*REALTIME, *BATCH) if model.field}
    others = {"items", "item_difficulty", "group_members", "set_aside_items"}
    assert model_rows.list_view_columns(populated).keys() == served | others


def test_each_column_of_a_view_has_a_comment_that_tells_its_unit(populated: Connection) -> None:
    comments = {
        (view, column): comment
        for view, column, comment in populated.run(
            "SELECT c.relname, a.attname, col_description(c.oid, a.attnum)"
            " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
            " WHERE c.relnamespace = 'progress'::regnamespace"
        )
    }
    assert [column for column, comment in comments.items() if comment is None] == []
    units = {
        "bigint|integer|double precision|smallint": r"number|interval|days|milliseconds|seconds"
        r"|share|\d.* to \d|10,000,000|sum of|goal, in|shard|factor|transaction",
        "date": r"\b(day|Monday)\b",
        "timestamp with time zone": r"^time\b",
    }
    for view, columns in model_rows.list_view_columns(populated).items():
        for column, kind in columns.items():
            for kinds, unit in units.items():
                if re.fullmatch(kinds, kind):
                    assert re.search(unit, comments[view, column]), (view, column)


def test_the_memory_of_an_item_is_shown_in_days_and_from_1_to_10(populated: Connection) -> None:
    """After one correct answer, the stability is w[2] of FSRS-6, 2.3065 days."""
    rows = populated.run(
        "SELECT stability, stability_days, difficulty, difficulty_1_to_10, answers"
        " FROM progress.item_stats WHERE stability IS NOT NULL"
    )
    assert rows
    for stability, days, difficulty, shown, answers in rows:
        assert days == pytest.approx(math.exp(stability / 10**7))
        assert shown == pytest.approx(difficulty / 10**7)
        assert 1 <= shown <= 10
        assert answers > 1 or days in (pytest.approx(2.3065), pytest.approx(0.212))


def test_an_analyst_reads_every_view_and_nothing_else(
    populated: Connection, analyst: Connection
) -> None:
    for view in views.MODELS:
        assert rows_of(analyst, view) == rows_of(populated, view)
    assert rows_of(analyst, "user_progress")
    live = schema.schema_name()
    for statement in (
        *(f"SELECT FROM {table}" for table in ("event_store.events", f"{live}.user_progress")),
        "SELECT FROM operations.operations",
        "INSERT INTO progress.rest_days VALUES ('ann', '2024-04-06')",
        "DELETE FROM progress.user_progress",
        "CREATE VIEW progress.mine AS SELECT 1 AS one",
        f"SELECT progress.replace_views('{live}', '{{}}')",
    ):
        with pytest.raises(DatabaseError, match="42501"):
            analyst.run(statement)
    for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
        assert analyst.run(f"SHOW {setting}") == [["1min"]]


def test_the_documented_queries_of_analysts_work(analyst: Connection) -> None:
    weeks, levels, _ = EXAMPLE.read_text().split(";")
    assert analyst.run(weeks) == [[date(2024, 4, 1), 3, Decimal("0.500")]]
    assert analyst.run(levels) == [["A1", 3, 1.0]]


def test_a_learner_without_answers_has_the_levels_and_domains_of_the_catalogue(
    populated: Connection,
) -> None:
    append(populated, [sample_events.change_preferences("dee", timezone="Asia/Tokyo")])
    batch.run(populated)
    for kind, name in (("level", "A1"), ("domain", "R")):
        statement = f"SELECT {kind}, items_studied, catalogue_items, progress_rate"
        rows = populated.run(f"{statement} FROM progress.{kind}_stats WHERE user_id = 'dee'")
        assert rows == [[name, 0, 3, 0.0]]


def test_the_views_contain_no_deleted_learner(populated: Connection) -> None:
    append(populated, [sample_events.user_deleted("ann")])
    batch.run(populated)
    for view in views.MODELS:
        assert not [row for row in rows_of(populated, view) if "ann" in row], view


def test_queries_on_views_see_no_error_and_no_empty_view_during_swaps(
    store: Store, analyst: Connection
) -> None:
    expected, done = rows_of(analyst, "item_stats"), threading.Event()

    def read() -> int:
        number = 0
        while not done.is_set():
            assert rows_of(analyst, "item_stats") == expected
            joined = analyst.run(
                "SELECT count(*) FROM progress.weekly_stats JOIN progress.domain_stats"
                " USING (user_id) JOIN progress.daily_stats USING (user_id)"
            )
            assert joined[0][0]
            number += 1
        return number

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            for _ in range(3):
                rebuild.run(lambda: database.connect(store.url))
        finally:
            done.set()
        assert reading.result()


def test_a_rebuild_that_is_killed_after_its_swap_has_moved_the_views(
    store: Store, populated: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(replacement, "drop", lambda *_: None)
        rebuild.run(lambda: database.connect(store.url))
    assert model_rows.read_value(populated, "schemas") == 2
    assert views.find_source(populated) == schema.schema_name()


@pytest.mark.exhaustive
def test_a_swap_commits_without_the_views_while_a_query_uses_one(
    store: Store,
    populated: Connection,
    analyst: Connection,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(replacement, "_DROP_TRIES", 1)
    live, former = schema.schema_name(), replacement.former_name()
    expected = rows_of(populated, "item_stats")
    analyst.run("BEGIN")
    rows_of(analyst, "daily_stats")
    rebuild.run(lambda: database.connect(store.url))
    assert views.find_source(populated) == former
    assert "the views of the schema progress still read" in capsys.readouterr().out
    assert not sample_events.find_differences(populated)
    with pytest.raises(DatabaseUnavailable, match="still being read"):
        replacement.drop(populated, former)
    assert rows_of(populated, "item_stats") == expected

    analyst.run("COMMIT")
    populated.run("SET ROLE progress_batch")
    batch.run(populated)
    populated.run("RESET ROLE")
    assert views.find_source(populated) == live
    assert rows_of(analyst, "item_stats") == expected
    rebuild.run(lambda: database.connect(store.url))
    assert views.find_source(populated) == live
    assert rows_of(analyst, "item_stats") == expected
    assert model_rows.read_value(populated, "schemas") == 1


@pytest.fixture
def other(populated: Connection) -> str:
    schema.create(populated, OTHER)
    schema.set_search_path(populated)
    populated.run(REPLACE, other=OTHER, models=views.MODELS)
    return OTHER


def test_a_release_moves_the_views_and_a_migration_does_not(
    store: Store, populated: Connection, other: str
) -> None:
    schema.drop(populated, schema.schema_name())
    assert rebuild.ensure(lambda: database.connect(store.url))
    rebuild.run(lambda: database.connect(store.url))
    batch.run(populated)
    assert views.find_source(populated) == other
    moved = cli.expect_success(cli.progress(store.url, "move-views"))
    assert moved == f"The views read {schema.schema_name()}.\n"
    assert views.find_source(populated) == schema.schema_name()
    assert rows_of(populated, "item_stats")


def test_views_are_not_moved_to_a_missing_schema(populated: Connection, other: str) -> None:
    schema.drop(populated, schema.schema_name())
    with pytest.raises(ProjectionError, match="does not exist: run `progress migrate` first"):
        views.move(populated)
    assert views.find_source(populated) == other


def test_an_unused_schema_is_kept_while_a_query_prevents_the_move_of_the_views(
    populated: Connection, other: str, analyst: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacement, "_DROP_TRIES", 1)
    monkeypatch.setattr(views, "_TRIES", 1)
    analyst.run("BEGIN")
    rows_of(analyst, "items")
    with pytest.raises(DatabaseUnavailable, match="the views of the schema progress were not mov"):
        views.move(populated)
    with pytest.raises(DatabaseUnavailable, match=f"{other} is still being read"):
        list(replacement.drop_unused(populated))
    assert views.find_source(populated) == other
    analyst.run("COMMIT")
    assert list(replacement.drop_unused(populated)) == [other]
    assert views.find_source(populated) == schema.schema_name()


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TEMP VIEW mine AS SELECT * FROM progress.user_progress",
        "CREATE TEMP TABLE mine (item progress.items)",
        "CREATE FUNCTION pg_temp.one() RETURNS progress.items RETURN NULL::progress.items",
    ],
)
def test_temporary_objects_of_an_idle_session_do_not_keep_a_former_schema(
    store: Store,
    populated: Connection,
    analyst: Connection,
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
) -> None:
    monkeypatch.setattr(replacement, "_DROP_TRIES", 1)
    analyst.run(statement)
    rebuild.run(lambda: database.connect(store.url))
    assert views.find_source(populated) == schema.schema_name()
    assert model_rows.read_value(populated, "schemas") == 1
    analyst.run("DISCARD TEMP")


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    ("kind", "definition"),
    [
        ("VIEW public.mine", "AS SELECT * FROM progress.items"),
        ("TABLE public.mine", "(item progress.items)"),
        ("TABLE public.mine", "(items progress.items[])"),
        ("FUNCTION public.mine", "(items progress.items[]) RETURNS int RETURN 1"),
    ],
)
def test_what_the_owner_made_of_a_view_is_not_dropped(
    populated: Connection, other: str, kind: str, definition: str
) -> None:
    populated.run(f"CREATE {kind} {definition}")
    assert not views.follow(populated, other)
    assert views.find_source(populated) == other
    populated.run(f"DROP {kind}")
    assert views.follow(populated, other)


def test_the_views_read_only_schemas_of_read_models(store: Store, populated: Connection) -> None:
    with closing(database.connect(url_of(store.url, "batch"))) as job:
        for source in ("event_store", "public", "progress_0", "progress_0123456789abcdef"):
            with pytest.raises(DatabaseError, match="schema of a version"):
                job.run("SELECT progress.replace_views(:source, '{events}')", source=source)
    assert views.find_source(populated) == schema.schema_name()


def test_the_views_of_two_versions_are_replaced_one_after_the_other(
    store: Store, populated: Connection, other: str
) -> None:
    with (
        closing(store.connect()) as mover,
        closing(store.connect()) as observer,
        ThreadPoolExecutor(1) as pool,
    ):
        populated.run("BEGIN")
        populated.run(REPLACE, other=other, models=views.MODELS[2:])
        pid = mover.run("SELECT pg_backend_pid()")[0][0]
        moving = pool.submit(views.move, mover)
        model_rows.wait_for_lock(observer, pid, moving)
        populated.run("COMMIT")
        moving.result()
    assert views.find_source(populated) == schema.schema_name()
    assert model_rows.list_view_columns(populated).keys() == {*views.MODELS}


def test_a_new_database_has_views(store: Store, connection: Connection) -> None:
    schema.drop(connection, schema.schema_name())
    assert rebuild.ensure(lambda: database.connect(store.url))
    assert views.find_source(connection) == schema.schema_name()
    assert not rebuild.ensure(lambda: database.connect(store.url))
