"""Migrations run once, in order and under a lock; none runs if one of them is invalid.

An SQL function is applied again when its file changes.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from progress import files, settings
from progress.adapters.postgres import migrations, roles, statements
from progress.adapters.postgres.database import Connection
from progress.cli import maintenance as store_commands
from progress.errors import DatabaseUnavailable, ProgressError
from progress.projections import rebuild, schema
from progress.recovery import checks
from tests.conftest import Store
from tests.support import model_rows, sample_events, stage

APPEND = "event_store/functions/append.sql"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(migrations.FOLDER, tmp_path / "migrations"))


def test_concurrent_migrations_run_one_after_the_other(store: Store, folder: Path) -> None:
    (folder / "9000_one.sql").write_text("CREATE TABLE one (); SELECT pg_sleep(0.05);")
    (folder / "9001_two.sql").write_text("CREATE TABLE two ();")
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(lambda _: migrate(store, folder), range(4)))
    assert sorted(applied) == [[], [], [], ["9000_one.sql", "9001_two.sql"]]


def test_concurrent_creations_of_the_read_models_run_one_after_the_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", store.url)
    made, others = schema._definitions, []
    with closing(store.connect()) as watching, ThreadPoolExecutor(1) as pool:
        schema.drop(watching, schema.schema_name())

        def meanwhile() -> list[str]:
            others.append(pool.submit(store_commands.migrate))
            while not model_rows.read_value(watching, "one waits to migrate"):
                assert not others[0].done()
            return made()

        monkeypatch.setattr(schema, "_definitions", meanwhile)
        store_commands.migrate()
        (other,) = others
        other.result()


def test_an_index_of_the_log_is_built_while_events_are_appended(store: Store) -> None:
    """The build waits for a reader; one that was interrupted has left an invalid index."""
    with closing(store.connect()) as owner, closing(store.connect()) as other:
        owner.run("DELETE FROM public.progress_migrations WHERE name >= '0022'")
        owner.run(model_rows.BLOCKS["make the index invalid"])
        other.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.run("SELECT FROM event_store.events")
        with ThreadPoolExecutor(1) as pool:
            building = pool.submit(migrate, store, migrations.FOLDER)
            while not model_rows.read_value(owner, "an index is built"):
                assert not building.done()
            stage.append(owner, sample_events.choices("u"))
            other.run("COMMIT")
            assert "0022_list_events.sql" in building.result()
        assert model_rows.read_value(owner, "the index is valid")


def migrate(store: Store, folder: Path) -> list[str]:
    with closing(store.connect()) as connection:
        return migrations.apply(connection, folder)


def changed(folder: Path) -> None:
    file = min(folder.iterdir())
    file.write_text(file.read_text() + "-- changed")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed, "0001_event_store.sql was changed after it was applied"),
        (lambda folder: max(folder.iterdir()).unlink(), "the database is newer than this code"),
        (lambda folder: (folder / "0000_x.sql").touch(), "0000_x.sql comes before"),
        (
            lambda folder: (folder / "9000_x.sql").write_text("CREATE TABLE x (); nonsense"),
            "9000_x",
        ),
    ],
)
def test_migrations_are_not_applied_if_one_migration_is_invalid(
    store: Store, folder: Path, change: Callable[[Path], object], message: str
) -> None:
    change(folder)
    with closing(store.connect()) as connection:
        with pytest.raises(ProgressError, match=message):
            migrations.apply(connection, folder)
        assert connection.run("SELECT to_regclass('x')") == [[None]]
        assert migrations.apply(connection) == []


@pytest.fixture
def refused(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """A connection to a database whose last migration fails; a sequence counts the attempts."""
    with closing(store.connect()) as connection:
        connection.run("CREATE SEQUENCE attempts")
        (folder / "9000_refused.sql").write_text("SELECT nextval('attempts'); SELECT 1 / 0;")
        monkeypatch.setattr(migrations, "FOLDER", folder)
        monkeypatch.setattr(migrations.apply, "__defaults__", (folder, ()))
        monkeypatch.setenv("DATABASE_URL", store.url)
        yield connection


def migrate_as(monkeypatch: pytest.MonkeyPatch, execution: str) -> None:
    monkeypatch.setenv("CLOUD_RUN_EXECUTION", execution)
    settings.current.cache_clear()
    store_commands.migrate()


def test_a_failed_migration_is_not_retried_in_the_same_job_execution(
    refused: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ProgressError, match=r"^9000_refused.sql: division by zero"):
        migrate_as(monkeypatch, "one")
    with pytest.raises(ProgressError, match=r"^not tried again: 9000_refused.sql: division"):
        migrate_as(monkeypatch, "one")
    assert refused.run("SELECT last_value FROM attempts") == [[1]]
    with pytest.raises(ProgressError, match=r"^9000_refused.sql"):  # another execution retries
        migrate_as(monkeypatch, "two")
    assert refused.run("SELECT last_value FROM attempts") == [[2]]


def test_a_migration_is_retried_after_the_database_was_unavailable(
    refused: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> bool:
        raise DatabaseUnavailable("the database went away")

    monkeypatch.setattr(migrations, "apply", lambda *_, **__: [])
    with monkeypatch.context() as patch:
        patch.setattr(rebuild, "ensure", lost)
        with pytest.raises(DatabaseUnavailable):
            migrate_as(monkeypatch, "one")
    migrate_as(monkeypatch, "one")


def test_a_database_of_a_version_before_the_first_release_is_rejected(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", store.url)
    with closing(store.connect()) as connection:
        connection.run("TRUNCATE public.progress_migrations")
        sql = statements.blocks("adapters/migrations")
        for name in ("0001_roles.sql", "0015_system_callers.sql"):
            connection.run(sql["record"], name=name, checksum="any")
    with pytest.raises(ProgressError, match=r"`progress down`, delete the data folder \.progress"):
        store_commands.migrate()


def test_the_other_functions_get_their_privileges_on_what_project_creates(store: Store) -> None:
    with closing(store.connect()) as connection:
        connection.run("SET ROLE progress_project")
        connection.run("CREATE SCHEMA models CREATE TABLE numbers (n int)")
        assert connection.run(
            "SELECT has_table_privilege('progress_query', 'models.numbers', 'SELECT'),"
            " has_table_privilege('progress_batch', 'models.numbers', 'DELETE'),"
            " has_table_privilege('progress_query', 'models.numbers', 'INSERT'),"
            " has_schema_privilege('progress_ingest', 'models', 'USAGE')"
        ) == [[True, True, False, False]]


@pytest.mark.parametrize(
    "change",
    [
        "DROP FUNCTION event_store.append",
        "ALTER FUNCTION event_store.append SECURITY INVOKER",
        "UPDATE pg_proc SET prosrc = prosrc || '-- changed' WHERE proname = 'append'",
    ],
)
def test_a_changed_function_is_applied_again_together_with_its_privileges(
    store: Store, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    asked = (
        "SELECT has_function_privilege('progress_ingest', f, 'EXECUTE'),"
        " has_function_privilege('public', f, 'EXECUTE')"
        " FROM CAST('event_store.append(jsonb)' AS regprocedure) AS f"
    )
    with closing(store.connect()) as connection:
        connection.run(change)
        (finding,) = checks.check_migrations(connection)
        assert finding.found == "the database lacks, or has otherwise, event_store.append()"
        with monkeypatch.context() as patch:
            patch.setattr(roles, "apply", lambda *_: None)  # until it ends, others call functions
            assert APPEND in migrations.apply(connection)
        assert connection.run(asked) == [[True, False]]
        assert checks.check_migrations(connection) == []


_FUNCTIONS = """
    SELECT proname FROM pg_proc WHERE pronamespace = CAST(:schema AS regnamespace) ORDER BY 1
"""


# Stored rows have the results of this function, so a migration defines it once and for all.
CONSTANT = {"event_store": ["event_uuid"], "operations": []}


@pytest.mark.parametrize("schema", ["event_store", "operations"])
def test_each_other_sql_function_is_defined_once_in_a_file(store: Store, schema: str) -> None:
    paths = files.SQL.glob(f"{schema}/functions/*.sql")
    definition = re.compile(rf"^CREATE OR REPLACE FUNCTION {schema}\.(\w+)\(", re.MULTILINE)
    defined = [name for file in paths for name in definition.findall(file.read_text())]
    with closing(store.connect()) as connection:
        found = [name for (name,) in connection.run(_FUNCTIONS, schema=schema)]
    assert found == sorted([*defined, *CONSTANT[schema]])
