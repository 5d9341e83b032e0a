"""A dump contains every row of the log; an empty database that loads it continues the log."""

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from progress.adapters.postgres import logins
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.logins import Login
from progress.adapters.storage.storage import Folder
from progress.errors import ProgressError
from progress.projections import batch, rebuild, schema
from progress.recovery import backups, checks, dumps
from tests.conftest import Store
from tests.support import cli, cloud_storage, sample_events
from tests.support.backup_fixtures import BLOCKS, nobody, populated
from tests.support.stage import append, connect

__all__ = ["populated"]


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
        assert dumps.load(empty, folder, nobody, older)[0] == older
        assert rows_of(empty) == before
    other = stores()
    with closing(connect(other.url)) as empty:
        assert dumps.load(empty, folder, nobody) == (newer, manifest)
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
        assert rows_of(loaded) == rows_of(filled)
    again = cli.progress(empty.url, "load", "gs://b/dumps", "--name", name)
    cli.expect_failure(again, "the log is not empty")


def test_a_backup_with_the_log_dumps_it_once_a_day(
    store: Store, populated: Connection, tmp_path: Path
) -> None:
    for _ in range(2):
        cli.expect_success(cli.progress(store.url, "backup", str(tmp_path), "--with-log"))
    folder = Folder(tmp_path)
    (dump,) = (tmp_path / "log").iterdir()
    assert backups.find_newest(folder)[0] == max(name for name in folder.folders() if name != "log")
    made = datetime.strptime(dump.name, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    due = [dumps.is_due(Folder(tmp_path / "log"), made + timedelta(hours=h)) for h in (6, 18, 24)]
    assert due == [False, False, True]


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


def age(folder: Path) -> None:
    edit(folder, lambda manifest: manifest.update(migration="0003_analyst_views.sql"))


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
        (age, "use the release that made the dump"),
        (spoil, "is invalid"),
        (abandon, "there is no dump"),
    ],
)
def test_a_dump_that_is_damaged_or_from_another_version_changes_nothing(
    stores: Callable[[], Store], dumped: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(dumped)
    with closing(connect(stores().url)) as empty:
        before = rows_of(empty)
        with pytest.raises(ProgressError, match=words):
            dumps.load(empty, Folder(dumped.parent), nobody)
        assert rows_of(empty) == before


def test_an_interrupted_dump_leaves_nothing_behind(filled: Connection, tmp_path: Path) -> None:
    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dumps.run(filled, Folder(tmp_path), interrupt)
    assert not list(tmp_path.iterdir())
