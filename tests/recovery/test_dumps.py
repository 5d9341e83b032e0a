"""A dump contains every row of the log; an empty database that loads it continues the log."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from progress import settings
from progress.adapters.postgres import logins
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.logins import Login
from progress.adapters.postgres.statements import blocks
from progress.adapters.storage.storage import Folder
from progress.errors import ProgressError
from progress.local import data_folder
from progress.local.data_folder import State
from progress.local.processes import Process
from progress.projections import batch, rebuild, schema
from progress.recovery import backups, checks, dumps
from tests.conftest import Store
from tests.support import cli, cloud_storage, sample_events
from tests.support.backup_fixtures import BLOCKS, nobody, populated
from tests.support.postgres_servers import Server, connect_plainly
from tests.support.stage import append, connect

__all__ = ["populated"]

NO_LEDGER = Folder(Path(os.devnull))


def rows_of(connection: Connection) -> dict[str, list[str]]:
    """Return every row of the log and of the operations, as text."""
    queries = connection.run(BLOCKS["every row of the log"], schema=schema.schema_name())
    return {table: sorted(row for (row,) in connection.run(query)) for table, query in queries}


@pytest.fixture
def filled(populated: Connection) -> Connection:
    """A store with rows of all kinds, also dead letters, pending events and an erasure."""
    append(populated, [{}, sample_events.envelope("SessionStarted", {}, at=sample_events.BEGIN)])
    lost = {"session_id": "unknown", "item_id": "i0", "response_time_ms": 900}
    append(populated, [sample_events.envelope("CorrectAnswerGiven", lost, at=sample_events.BEGIN)])
    sample_events.poison(populated, "u1")
    batch.run(populated)
    populated.run(BLOCKS["accept an operation"])
    populated.run(BLOCKS["forbid a learner"])
    return populated


@pytest.mark.every_postgres
def test_a_dump_restores_every_row_in_an_empty_database(
    store: Store, stores: Callable[[], Store], filled: Connection, tmp_path: Path
) -> None:
    before = rows_of(filled)
    assert all(before[table] for table in ("erased", "pending", "dead_letters", "steps"))
    folder = Folder(tmp_path)
    older, _ = dumps.run(filled, folder, nobody)
    append(filled, sample_events.lesson("u2", 8))
    newer, manifest = dumps.run(filled, folder, nobody)
    with closing(connect(stores().url)) as empty:
        assert dumps.load(empty, folder, NO_LEDGER, nobody, older)[0] == older
        assert rows_of(empty) == before
    other = stores()
    with closing(connect(other.url)) as empty:
        assert dumps.load(empty, folder, NO_LEDGER, nobody) == (newer, manifest)
        assert rows_of(empty) == rows_of(filled)
        rebuild.run(other.connect)
        assert not checks.run(empty).findings  # the numbers of new rows follow those of the dump
        append(empty, [{}, *sample_events.lesson("u3", 9)])
        batch.run(empty)
        assert not sample_events.find_differences(empty)


def test_the_backup_role_dumps_into_a_bucket_and_the_owner_loads_it(
    store: Store, stores: Callable[[], Store], filled: Connection, bucket: cloud_storage.Bucket
) -> None:
    login = f"dumper_{filled.run('SELECT current_database()')[0][0]}"
    logins.apply(filled, [Login("progress_backup", login, "secret")])
    as_backup = store.url.replace("//postgres@", f"//{login}@")
    dumped = cli.expect_success(cli.progress(as_backup, "dump", "gs://b/dumps"))
    name = next(iter(bucket.objects)).split("/")[1]
    assert f"gs://b/dumps/{name}" in dumped
    assert list(bucket.objects)[-1].endswith("/manifest.json")
    empty = stores()
    assert name in cli.expect_success(cli.progress(empty.url, "load", "gs://b/dumps"))
    with closing(connect(empty.url)) as loaded:
        assert rows_of(loaded)["events"] == rows_of(filled)["events"]
    again = cli.progress(empty.url, "load", "gs://b/dumps", "--name", name)
    cli.expect_failure(again, "the database is not empty: event_store.dead_letters, ")


def test_a_backup_with_the_log_always_dumps_it_and_a_daily_one_once_a_day(
    store: Store, populated: Connection, tmp_path: Path
) -> None:
    backup = ("backup", str(tmp_path), "--with-log")
    for number in (1, 2):
        said = cli.expect_success(cli.progress(store.url, *backup))
        assert f"The log up to position {number_of_events(populated)} in" in said
        assert f"log/00000{number}" in said
    said = cli.expect_success(cli.progress(store.url, *backup, "--daily"))
    assert "Without the log: its last dump is less than 20 hours old (--daily)." in said
    folder = Folder(tmp_path)
    assert backups.find_newest(folder)[0] == max(name for name in folder.folders() if name != "log")
    log = Folder(tmp_path / "log")
    assert log.folders() == ["000001", "000002"]
    made = dumps.read(log, "000002").taken_at
    due = [dumps.is_due(log, made + timedelta(hours=h)) for h in (-1, 6, 18, 24)]
    assert due == [True, False, False, True]  # -1: the dump's clock was ahead


def number_of_events(connection: Connection) -> int:
    return int(connection.run("SELECT count(*) FROM event_store.events")[0][0])


def test_the_newest_dump_has_the_highest_number_whatever_its_time_name_and_position(
    populated: Connection, tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    for name, head in ("20200101T000000.000000Z", 9), ("20300101T000000.000000Z", 5):
        made, _ = dumps.run(populated, folder, nobody)
        shutil.move(tmp_path / made, tmp_path / name)
        edit(tmp_path / name, partial(dict.update, number=0, head=head))
    assert newest(folder) == "20200101T000000.000000Z"  # as 0.2 and 0.3 made them
    ahead, _ = dumps.run(populated, folder, nobody)
    shutil.move(tmp_path / ahead, tmp_path / "20990101T000000.000000Z")
    edit(tmp_path / "20990101T000000.000000Z", lambda manifest: manifest.update(head=10**6))
    assert newest(folder) == "20990101T000000.000000Z"
    assert dumps.run(populated, folder, nobody)[1].number == 2
    spoil(tmp_path / "20300101T000000.000000Z")
    name, dump = dumps.run(populated, folder, nobody)
    assert (name, dump.number) == ("000003", 3)
    with pytest.raises(ProgressError, match="remove the folder, or name another dump"):
        newest(folder)


def newest(folder: Folder) -> str:
    found = dumps.find_newest(folder)
    assert found
    return found[0]


def test_of_two_dumps_at_once_the_later_one_takes_the_next_number(
    populated: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumps.run(populated, Folder(tmp_path), nobody)
    monkeypatch.setattr(Folder, "folders", lambda _: [])  # the other one is not seen yet
    assert dumps.run(populated, Folder(tmp_path), nobody)[0] == "000002"


def test_a_dump_names_the_last_migration_of_its_database_and_not_of_the_code(
    populated: Connection, tmp_path: Path
) -> None:
    removed = populated.run(
        "DELETE FROM public.progress_migrations"
        " WHERE name = (SELECT max(name) FROM public.progress_migrations) RETURNING name"
    )
    assert dumps.run(populated, Folder(tmp_path), nobody)[1].migration < removed[0][0]


def test_a_load_is_refused_while_serve_runs_or_while_a_table_has_rows_and_drops_read_models(
    stores: Callable[[], Store], dumped: Path
) -> None:
    def load(connection: Connection) -> None:
        dumps.load(connection, Folder(dumped.parent), NO_LEDGER, nobody)

    store = stores()
    with closing(connect(store.url)) as empty, closing(connect(store.url)) as serve:
        serve.run(blocks("recovery/dumps")["lock serve"])
        with pytest.raises(ProgressError, match="`progress serve` runs on this database"):
            load(empty)
        serve.run(blocks("recovery/dumps")["unlock serve"])
        empty.run(BLOCKS["accept an operation"])
        with pytest.raises(ProgressError, match=r"operations\.operations, operations\.steps have"):
            load(empty)
        assert schema.exists(empty, schema.schema_name())
        empty.run("DELETE FROM operations.operations")
        load(empty)
        assert not schema.exists(empty, schema.schema_name())  # nothing old is answered


def test_a_load_drops_no_schema_of_another_program(
    stores: Callable[[], Store], postgres_server: Server, dumped: Path
) -> None:
    theirs = "CREATE TABLE progress.lessons (n int) PARTITION BY RANGE (n)"
    filled = "CREATE TABLE progress.p PARTITION OF progress.lessons DEFAULT"
    name = postgres_server.create_bare_database("")
    for url, create, words in (
        (postgres_server.sibling(name), ("CREATE SCHEMA progress", theirs), "already exists"),
        (stores().url, (theirs, filled, "INSERT INTO progress.p VALUES (1)"), "lessons, .* have"),
    ):
        with closing(connect_plainly(url)) as connection:
            for statement in create:
                connection.run(statement)
            with pytest.raises(ProgressError, match=words):
                dumps.load(connection, Folder(dumped.parent), NO_LEDGER, nobody)
            assert connection.run("SELECT count(*) FROM progress.lessons")
            owner = "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'progress'"
            assert connection.run(owner) == [["postgres" if name in url else "progress_project"]]
    postgres_server.drop(name)


def test_erasures_of_a_load_publish_nothing_where_serve_has_run(tmp_path: Path) -> None:
    where = data_folder.at(str(tmp_path))
    stopped = Process(2**22, 0)
    where.write(State(supervisor=stopped, phase="ready", addresses={"commands_url": "http://x"}))
    script = (
        "from progress import settings; from progress.cli import connections;"
        "connections.use_stack(); print(settings.current().publish_events)"
    )
    environment = settings.child_env(
        PROGRESS_DATA_DIR=str(tmp_path), DATABASE_URL="postgresql://a@/b"
    )
    printed = subprocess.check_output([sys.executable, "-c", script], env=environment, text=True)
    assert printed.strip() == "off"


@pytest.fixture
def dumped(filled: Connection, tmp_path: Path) -> Path:
    """The folder of a dump."""
    name, _ = dumps.run(filled, Folder(tmp_path), nobody)
    return tmp_path / name


def cut(folder: Path) -> None:
    file = folder / "event_store.sessions.gz"
    file.write_bytes(file.read_bytes()[:-20])


def drop_a_table(folder: Path) -> None:
    edit(folder, lambda manifest: manifest["tables"].pop())


def come_from_a_later_version(folder: Path) -> None:
    edit(folder, lambda manifest: manifest.update(migration="9999_later.sql"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / backups.NAME).read_text())
    change(manifest)
    (folder / backups.NAME).write_text(json.dumps(manifest))


def spoil(folder: Path) -> None:
    (folder / backups.NAME).write_text("{}")


def abandon(folder: Path) -> None:
    (folder / backups.NAME).unlink()


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, "event_store.sessions.gz cannot be restored"),
        (drop_a_table, "has no table"),
        (come_from_a_later_version, "a later version"),
        (spoil, "is invalid"),
        (abandon, "there is no dump"),
    ],
)
def test_a_dump_that_is_damaged_or_from_a_later_version_changes_nothing(
    stores: Callable[[], Store], dumped: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(dumped)
    with closing(connect(stores().url)) as empty:
        before = rows_of(empty)
        with pytest.raises(ProgressError, match=words):
            dumps.load(empty, Folder(dumped.parent), NO_LEDGER, nobody)
        assert rows_of(empty) == before


def test_an_interrupted_dump_leaves_nothing_behind(filled: Connection, tmp_path: Path) -> None:
    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dumps.run(filled, Folder(tmp_path), interrupt)
    assert not list(tmp_path.iterdir())
