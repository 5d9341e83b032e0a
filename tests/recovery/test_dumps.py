"""A dump contains every row of the log; an empty database that loads it continues the log."""

import asyncio
import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pg8000.native import DatabaseError

from progress import settings
from progress.adapters import local_schedule, storage
from progress.adapters.postgres import logins
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.roles import Login
from progress.adapters.postgres.statements import blocks
from progress.adapters.storage.storage import PART, Folder, Output, Storage, encode_json
from progress.cli import doctor
from progress.errors import ProgressError
from progress.operations import erasure_steps
from progress.projections import batch, rebuild, schema
from progress.recovery import checks, drill, dumps, table_files
from progress.serve import batch_schedule, data_folder, readiness
from progress.serve.data_folder import StackState
from progress.serve.processes import Process
from tests.conftest import Store
from tests.support import cli, cloud_storage, sample_events
from tests.support.postgres_servers import Server, connect_plainly, url_of
from tests.support.recovery_fixtures import (
    BLOCKS,
    every_row,
    fill_further,
    folded_learners,
    nobody,
    populated,
)
from tests.support.stage import append, connect

__all__ = ["folded_learners", "populated"]

_END_WAITING = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'"""
NO_LEDGER = Folder(Path(os.devnull))


rows_of = partial(every_row, block="every row of the log")


@pytest.fixture
def filled(populated: Connection) -> Connection:
    """A store with rows of all kinds, also dead letters, pending events and an erasure."""
    fill_further(populated, "u1")
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
    as_backup = create_dumper(store, filled)
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


def create_dumper(store: Store, owner: Connection) -> str:
    """Return the URL of a login that has the rights of the scheduled run."""
    login = f"dumper_{owner.run('SELECT current_database()')[0][0]}"
    logins.apply(owner, [Login("progress_backup", login, "secret")])
    return store.url.replace("//postgres@", f"//{login}@")


def test_the_backup_role_reads_what_a_dump_has_and_nothing_else(
    store: Store, populated: Connection
) -> None:
    with closing(connect(create_dumper(store, populated))) as dumper:
        for table, query in dumper.run(BLOCKS["every row of the log"], schema="any"):
            assert dumper.run(query) is not None, table
        for refused in (
            f"SELECT FROM {schema.schema_name()}.user_progress",
            "SELECT FROM event_store.snapshots",
            "DELETE FROM event_store.events",
            "SELECT event_store.erasure_digest('u1')",
            "SELECT operations.cancel(gen_random_uuid(), 'ada')",
        ):
            with pytest.raises(DatabaseError, match="permission denied"):
                dumper.run(refused)
    for other in ("ingest", "batch", "query"):
        with (
            closing(connect(url_of(store.url, other))) as function,
            pytest.raises(DatabaseError, match="permission denied"),
        ):
            function.run("SELECT FROM event_store.erasure_key")


def test_a_daily_run_dumps_twenty_hours_after_the_last_one_and_after_a_clock_that_was_ahead(
    store: Store, stores: Callable[[], Store], populated: Connection, tmp_path: Path
) -> None:
    def run_daily(url: str = store.url) -> list[str]:
        said = cli.expect_success(cli.progress(url, "dump", "--daily", DUMP_TO=str(tmp_path)))
        assert all(json.loads(line)["severity"] == "INFO" for line in said.splitlines())
        return folder.folders()

    folder = Folder(tmp_path)
    assert run_daily(stores().url) == []  # nothing is recorded there: the database may be lost
    assert run_daily() == ["000001"]
    assert run_daily() == ["000001"]
    made = dumps.read(folder, "000001").taken_at
    due = [dumps.is_due(folder, made + timedelta(hours=h)) for h in (-1, 0, 19, 20)]
    assert due == [True, False, False, True]  # -1: the dump's clock was ahead
    edit(tmp_path / "000001", lambda manifest: manifest.update(taken_at="2999-01-01T00:00:00Z"))
    assert run_daily() == ["000001", "000002"]
    refused = cli.progress(store.url, "dump")
    cli.expect_failure(refused, "DUMP_TO is not set: name a folder, or gs://bucket/prefix")


def test_a_daily_run_whose_database_ends_writes_a_line_like_the_others(
    store: Store, populated: Connection, tmp_path: Path
) -> None:
    with closing(store.connect()) as other, ThreadPoolExecutor(1) as pool:
        other.run("BEGIN")
        other.run("LOCK event_store.dead_letters")
        run = pool.submit(cli.progress, store.url, "dump", "--daily", DUMP_TO=str(tmp_path))
        readiness.wait(lambda: populated.run(_END_WAITING), "the dump")
        ended = run.result()
    assert (ended.returncode, ended.stderr) == (1, "")
    (said,) = (json.loads(line)["message"] for line in ended.stdout.splitlines())
    assert "no dump was made or copied: the database did not respond" in said


def test_a_failed_copy_fails_the_daily_run_needs_a_person_and_is_continued_by_the_next_run(
    store: Store,
    populated: Connection,
    bucket: cloud_storage.Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other place lets nobody read, replace or delete what is there."""
    places = {"DUMP_TO": str(tmp_path), "DUMP_COPY_TO": "gs://copies/ours"}
    for name, value in {**places, "DATABASE_URL": store.url}.items():
        monkeypatch.setenv(name, value)
    populated.run(BLOCKS["let the log be changed"])
    populated.run(BLOCKS["record earlier"], hours=31, after=0)

    def run_daily() -> tuple[int, str]:
        ended = cli.progress(store.url, "dump", "--daily", **places)
        return ended.returncode, ended.stdout

    def find() -> list[str]:
        settings.current.cache_clear()
        return [finding.found for finding in doctor.PARTS["dumps"]()[1]]

    bucket.create_only = "ours/"
    bucket.outage_status, bucket.outages = 403, [{}]
    code, said = run_daily()
    assert (code, "no dump was made or copied: gs://copies/ours" in said) == (1, True)
    assert find() == ["no dump was copied to gs://copies/ours for over a day"]
    assert "is copied to gs://copies/ours" in run_daily()[1]
    assert find() == []
    copied = dict(bucket.objects)
    files = {f"ours/{file.path}": file.path for file in Folder(tmp_path).list_tree("000001")}
    assert copied == {path: (tmp_path / files[path]).read_bytes() for path in copied}
    assert [*copied][-1] == f"ours/000001/{dumps.NAME}"
    for lost in [*copied][-2:]:  # a run was killed
        bucket.remove(lost)
    assert "is copied" in run_daily()[1]
    assert bucket.objects == copied
    assert run_daily() == (0, "")
    said = cli.expect_success(cli.progress(store.url, "dump", **places))
    assert said.endswith("It is copied to gs://copies/ours.\n")
    bucket.store(next(reversed(files)), b"another dump with the same number")
    (tmp_path / "000002" / dumps.NAME).unlink()
    assert "is there of another dump: name an empty prefix" in run_daily()[1]


def test_no_dump_is_made_while_the_schedule_is_paused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restore is under way: a dump of half a log would be the newest."""
    pause = local_schedule.pause_file(tmp_path)
    pauses = iter((pause.exists, pause.unlink))

    async def sleep(_: float) -> None:
        next(pauses)()

    async def dump() -> bool:
        assert not pause.exists()
        raise KeyError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    pause.touch()
    with pytest.raises(KeyError):
        asyncio.run(batch_schedule.keep_dumps(data_folder.at(str(tmp_path)), dump))


def test_seven_dumps_are_kept_and_the_first_of_each_month_for_a_year(tmp_path: Path) -> None:
    folder, begin = Folder(tmp_path), datetime(2026, 1, 15, 6, tzinfo=UTC)
    for day in range(400):
        at = begin + timedelta(days=day)
        keep(folder, number=day + 1, taken_at=at)
        if day == 200:
            (tmp_path / "000150" / "unfinished").mkdir(parents=True)
        dumps.remove_old(folder)
        kept = [dumps.read(folder, name).taken_at for name in folder.folders()]
        assert at - kept[0] <= erasure_steps._DUMPS_KEPT
    newest = [at - timedelta(days=n) for n in range(7)]
    months = [datetime(2026, month, 1, 6, tzinfo=UTC) for month in range(3, 13)]
    months += [datetime(2027, month, 1, 6, tzinfo=UTC) for month in (1, 2)]
    assert kept == sorted({*newest, *months})
    keep(folder, number=401, taken_at=datetime(2999, 1, 1, tzinfo=UTC))  # a clock that is ahead
    assert dumps.remove_old(folder) == ["000394", "000046"]


def test_what_0_3_has_written_beside_the_dumps_is_ignored_and_old_dumps_leave_a_bucket(
    bucket: cloud_storage.Bucket,
) -> None:
    folder = storage.open_storage("gs://b/log")
    folder.write(f"20261120T000000.000000Z-abc/{dumps.NAME}", b"{}")  # of the read models
    assert dumps.find_newest(folder) is None
    for number in range(1, 10):
        keep(folder, number=number, taken_at=datetime(2026, 1, number, tzinfo=UTC))
        folder.write(f"{number:06}/rows.gz", b"rows")
    assert sorted(dumps.remove_old(folder)) == ["000002"]
    assert [name for name in bucket.objects if "/000002/" in name] == []


def keep(folder: Storage, *, number: int, taken_at: datetime) -> None:
    made = dumps.DumpManifest(
        taken_at=taken_at, number=number, migration="", head=number, tables=[], sequences=[]
    )
    folder.write(f"{number:06}/{dumps.NAME}", encode_json(made))


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
    (tmp_path / "20300101T000000.000000Z" / dumps.NAME).write_text("{}")
    name, dump = dumps.run(populated, folder, nobody)
    assert (name, dump.number) == ("000003", 3)
    with pytest.raises(ProgressError, match="remove the folder, or name another dump"):
        newest(folder)


def newest(folder: Folder) -> str:
    found = dumps.find_newest(folder)
    assert found
    return found[0]


def test_an_interrupted_dump_leaves_nothing_and_of_two_at_once_each_has_a_number(
    populated: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        dumps.run(populated, Folder(tmp_path), lambda *_: signal.raise_signal(signal.SIGINT))
    assert not list(tmp_path.iterdir())
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
    stopped, addresses = Process(2**22, 0), {"project_url": "http://x"}
    state = StackState(supervisor=stopped, phase="ready", addresses=addresses)
    data_folder.at(str(tmp_path)).write(state)
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
    name, _ = dumps.run(filled, Folder(tmp_path), nobody)
    return tmp_path / name


def change(rows: bytes) -> bytes:
    """Change one character of a session's id; the file is valid and has as many rows as before."""
    return gzip.compress(bytes([(text := gzip.decompress(rows))[0] ^ 1]) + text[1:])


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / dumps.NAME).read_text())
    change(manifest)
    (folder / dumps.NAME).write_text(json.dumps(manifest))


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-20]), "sessions.gz cannot be restored"),
        (lambda file: file.write_bytes(change(file.read_bytes())), "gz cannot be restored"),
        (pipe, r"event_store.sessions\.gz"),
        (Path.unlink, r"sessions\.gz cannot be restored \(the file is missing\)"),
        (lambda file: edit(file.parent, lambda dump: dump["tables"].pop()), "has no table"),
        (
            lambda file: edit(file.parent, lambda dump: dump.update(migration="9999_later.sql")),
            "a later version",
        ),
        (lambda file: (file.parent / dumps.NAME).write_text("{}"), "is invalid"),
        (lambda file: (file.parent / dumps.NAME).unlink(), "there is no dump"),
    ],
)
def test_a_dump_that_is_damaged_or_from_a_later_version_changes_nothing(
    stores: Callable[[], Store], dumped: Path, damage: Callable[[Path], object], words: str
) -> None:
    damage(dumped / "event_store.sessions.gz")
    with closing(connect(stores().url)) as empty:
        before = rows_of(empty)
        with pytest.raises(ProgressError, match=words):
            dumps.load(empty, Folder(dumped.parent), NO_LEDGER, nobody)
        assert rows_of(empty) == before


def test_a_dump_is_a_consistent_snapshot_while_events_are_recorded(
    store: Store, stores: Callable[[], Store], populated: Connection, tmp_path: Path
) -> None:
    numbers = iter(range(9, 99))

    class Slow(Folder):
        """Before a table is written, a new lesson is recorded."""

        @contextmanager
        def writing(self, path: str) -> Iterator[Output]:
            with closing(connect(store.url)) as writer:
                append(writer, sample_events.lesson("u1", next(numbers)))
            with super().writing(path) as output:
                yield output

    head = dumps.run(populated, Slow(tmp_path), nobody)[1].head
    assert head < dumps.read_head(populated)
    with closing(connect(stores().url)) as empty:
        dumps.load(empty, Folder(tmp_path), NO_LEDGER, nobody)
        assert checks.run(empty).events == head


@example(bytes(5_000), 2_000, 100)
@given(st.binary(max_size=5_000), st.integers(1, 2_000), st.integers(1, 100))
def test_rows_are_decompressed_in_small_parts(data: bytes, times: int, size: int) -> None:
    packed = gzip.compress(data * times)
    sent = [packed[at : at + size * 100] for at in range(0, len(packed), size * 100)]
    parts = list(table_files.decompress(iter(sent), hashlib.sha256()))
    assert b"".join(parts) == data * times
    assert max(map(len, parts), default=0) <= PART


def test_a_drill_restores_the_last_whole_dump_beside_the_database_and_names_what_is_wrong(
    store: Store, filled: Connection, tmp_path: Path
) -> None:
    databases = "SELECT datname FROM pg_database ORDER BY datname"
    before = filled.run(databases)
    said = cli.expect_success(cli.progress(store.url, "drill"))
    assert "The dump 000001, 0.0 hours old, up to position" in said
    folder = Folder(tmp_path)
    for _ in range(3):
        dumps.run(filled, folder, nobody)
    append(filled, sample_events.lesson("u2", 8))
    (tmp_path / "000003" / dumps.NAME).unlink()  # killed, or not yet complete
    oldest = tmp_path / "000001" / dumps.NAME
    manifest = oldest.read_bytes()
    oldest.write_text("{}")
    assert [*dumps.find_whole(folder)[1]] == ["000003"], "an older one is not newer"
    oldest.write_bytes(manifest)
    options = {"DUMP_TO": str(tmp_path)}
    said = cli.expect_success(cli.progress(store.url, "drill", **options))
    assert "The dump 000002, " in said
    assert "The newer dump 000003 is not whole: 000003/manifest.json is missing: " in said
    (tmp_path / "000002" / "event_store.sessions.gz").unlink()
    refused = cli.progress(store.url, "drill", **options)
    assert "The dump 000001, " in refused.stdout
    cli.expect_failure(refused, "event_store.sessions.gz cannot be restored (the file is missing)")
    shutil.rmtree(tmp_path / "000001")
    cli.expect_failure(cli.progress(store.url, "drill", **options), "no dump is whole: 000003/")
    filled.run(BLOCKS["lose an event"])
    name, _ = dumps.run(filled, folder, nobody)
    shutil.copytree(tmp_path / name, tmp_path / "000009")
    (tmp_path / "000009" / "event_store.sessions.gz").unlink()
    filled.run(BLOCKS["record it at another time"])
    lost, *_, newer, found = drill.run(store.url, folder, NO_LEDGER, nobody).findings
    assert "missing" in lost.found
    assert newer.found.startswith("the newer dump 000009 is not whole")
    assert "the copy differs from the live log" in found.found
    assert filled.run(databases) == before
