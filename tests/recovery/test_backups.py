"""A backup of the read models is complete or absent; a restore also folds all later events.

A restore rejects a backup that does not match the log, the folds or the backup's manifest.
"""

import contextlib
import gzip
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import PART, Folder, Output, encode_json
from progress.errors import CheckpointError, ProgressError
from progress.event_store import dead_letters
from progress.local import readiness
from progress.projections import batch, rebuild, schema
from progress.projections import replay as letter_replay
from progress.projections.projector import Projector
from progress.recovery import backups, checks, restore
from tests.conftest import Store
from tests.support import cli, cloud_storage, model_rows, sample_events
from tests.support.backup_fixtures import BLOCKS, USERS, every_row, nobody, populated
from tests.support.postgres_servers import url_of
from tests.support.stage import append, connect

__all__ = ["populated"]


Report = Callable[[int, int], None]

pytestmark = pytest.mark.timeout(300)  # commands are slow on a busy machine


@dataclass(frozen=True)
class Kept:
    """A populated store, and a folder with backups of its read models."""

    store: Store
    connection: Connection
    folder: Folder
    path: Path

    def backup(self, report: Report = nobody) -> tuple[str, backups.Manifest]:
        return backups.run(self.store.connect, self.folder, report)

    def restore(self, report: Report = nobody) -> int:
        """Restore the newest backup; return the number of folded events."""
        return restore.run(self.store.connect, self.folder, report)[1]

    def expect_rejection(self, words: str, error: type[ProgressError] = ProgressError) -> None:
        """Assert that a restore fails with this message and changes nothing."""
        before = every_row(self.connection)
        with pytest.raises(error, match=words):
            self.restore()
        assert every_row(self.connection) == before
        assert model_rows.read_value(self.connection, "schemas") == 1

    def read_manifest(self) -> backups.Manifest:
        return backups.decode(self._manifest_file.read_bytes())

    def change_manifest(self, **changes: Any) -> None:
        changed = msgspec.structs.replace(self.read_manifest(), **changes)
        self._manifest_file.write_bytes(encode_json(changed))

    @property
    def _manifest_file(self) -> Path:
        (file,) = self.path.glob("*/manifest.json")
        return file


@pytest.fixture
def kept(store: Store, populated: Connection, tmp_path: Path) -> Kept:
    """A populated store with one backup."""
    made = Kept(store, populated, Folder(tmp_path / "backups"), tmp_path / "backups")
    made.backup()
    return made


def spoil(connection: Connection) -> None:
    """Damage rows, as a defective fold would."""
    connection.run("UPDATE user_progress SET answers = answers + 1")


@pytest.mark.every_postgres
def test_every_row_is_restored_and_later_events_are_folded(
    populated: Connection, kept: Kept
) -> None:
    before = every_row(populated)
    assert len(before) > 10
    spoil(populated)
    assert every_row(populated) != before
    assert kept.restore() == 0
    assert every_row(populated) == before
    assert populated.run(BLOCKS["without a snapshot"]) == [[len(USERS)]]

    # Pretend that the backup comes from another server, whose rows had higher versions.
    kept.change_manifest(version=2**40)
    ((_, newest),) = populated.run(BLOCKS["versions"])
    since = sample_events.lesson("u1", 9)
    append(populated, since)
    assert kept.restore() == len(since)
    assert populated.run(BLOCKS["versions"])[0][0] > newest
    assert not checks.run(populated).findings
    assert not sample_events.find_differences(populated)
    assert model_rows.read_value(populated, "schemas") == 1
    # Later events are folded as usual.
    append(populated, sample_events.lesson("u2", 9))
    batch.run(populated)
    assert not sample_events.find_differences(populated)


def test_a_restored_schema_has_all_keys(populated: Connection, kept: Kept) -> None:
    before = model_rows.read(populated, "keys")
    kept.restore()
    assert model_rows.read(populated, "keys") == before


@pytest.mark.exhaustive
def test_backup_and_restore_print_their_result(
    store: Store, populated: Connection, tmp_path: Path
) -> None:
    folder_path = str(tmp_path / "here")
    output = cli.expect_success(cli.progress(store.url, "backup", folder_path))
    assert "backing up" in output
    (folder,) = Path(folder_path).iterdir()
    manifest_json = json.loads((folder / "manifest.json").read_text())
    assert folder.name in output
    assert manifest_json["fingerprint"] == schema.fingerprint()
    assert {table["name"] for table in manifest_json["tables"]} >= {"user_progress", "checkpoints"}
    spoil(populated)
    assert "are restored" in cli.expect_success(cli.progress(store.url, "restore", folder_path))
    assert not sample_events.find_differences(populated)


@pytest.mark.exhaustive
def test_the_query_role_may_back_up_and_the_project_role_may_restore(
    store: Store, populated: Connection, tmp_path: Path
) -> None:
    backup_folder = Folder(tmp_path)
    backups.run(lambda: database.connect(url_of(store.url, "query")), backup_folder, nobody)
    spoil(populated)
    restore.run(lambda: database.connect(url_of(store.url, "project")), backup_folder, nobody)
    assert not sample_events.find_differences(populated)
    refused = cli.progress(url_of(store.url, "query"), "restore", str(tmp_path))
    cli.expect_failure(refused, "permission denied", "connect as the owner")


def test_the_newest_complete_backup_made_with_the_current_folds_is_restored(
    populated: Connection, kept: Kept
) -> None:
    first, _ = backups.find_newest(kept.folder)
    append(populated, sample_events.lesson("u1", 9))
    batch.run(populated)
    second, _ = kept.backup()
    assert backups.find_newest(kept.folder)[0] == second
    (kept.path / second / backups.NAME).unlink()
    assert backups.find_newest(kept.folder)[0] == first
    third, _ = kept.backup()
    assert kept.folder.folders() == [first, third]  # the incomplete backup is deleted


@pytest.mark.exhaustive
def test_a_backup_may_start_as_soon_as_the_previous_backup_ends(
    store: Store, populated: Connection, kept: Kept
) -> None:
    for _ in range(5):
        kept.backup()
        rebuild.run(store.connect)
        kept.backup()
        kept.restore()


def interrupt(_done: int, _total: int) -> None:
    raise KeyboardInterrupt


@pytest.mark.exhaustive
def test_an_interrupted_backup_or_restore_leaves_nothing_behind(
    populated: Connection, kept: Kept
) -> None:
    before, folders = every_row(populated), kept.folder.folders()
    with pytest.raises(KeyboardInterrupt):
        kept.backup(interrupt)
    assert kept.folder.folders() == folders
    with pytest.raises(KeyboardInterrupt):
        kept.restore(interrupt)
    assert model_rows.read_value(populated, "schemas") == 1
    assert every_row(populated) == before
    kept.restore()
    assert every_row(populated) == before


def test_a_backup_is_a_consistent_snapshot_while_events_are_folded(
    store: Store, populated: Connection, tmp_path: Path
) -> None:
    writer = connect(store.url)
    projector = Projector(writer)
    numbers = iter(range(9, 99))

    class Slow(Folder):
        """A backup folder; before a table is written to the folder, a new lesson is folded."""

        @contextlib.contextmanager
        def writing(self, path: str) -> Iterator[Output]:
            append(writer, sample_events.lesson("u1", next(numbers)))
            projector.catch_up_all()
            with super().writing(path) as output:
                yield output

    head = checks.run(populated).head
    _, made = backups.run(store.connect, Slow(tmp_path), nobody)
    assert made.head == head < checks.run(populated).head
    writer.close()
    restore.run(store.connect, Folder(tmp_path), nobody)
    assert not sample_events.find_differences(populated)


def test_the_swap_of_a_rebuild_waits_for_a_running_backup(
    store: Store, populated: Connection, tmp_path: Path
) -> None:
    with contextlib.closing(store.connect("backup")) as another:
        held = statements.blocks("recovery/backups")["lock"]
        assert another.run(held, schema=schema.schema_name()) == [[True]]
        with pytest.raises(ProgressError, match="is running"):
            backups.run(store.connect, Folder(tmp_path), nobody)

        with ThreadPoolExecutor(1) as pool:
            building = pool.submit(rebuild.run, lambda: store.connect("rebuild"))
            readiness.wait(
                lambda: bool(populated.run(BLOCKS["waits"], application="rebuild")[0][0]),
                "the swap",
                seconds=90,
            )
            assert not building.done()
            another.run("SELECT pg_advisory_unlock_all()")
            assert building.result() > 0


@pytest.mark.exhaustive
def test_a_backup_is_stored_in_and_restored_from_a_bucket(
    store: Store, populated: Connection, bucket: cloud_storage.Bucket
) -> None:
    for _ in range(2):  # the list of two backups has two pages
        cli.expect_success(cli.progress(store.url, "backup", "gs://b/read-models"))
    assert len([name for name in bucket.objects if name.endswith("/manifest.json")]) == 2
    assert list(bucket.objects)[-1].endswith("/manifest.json")
    assert all(name.startswith("read-models/") for name in bucket.objects)
    spoil(populated)
    cli.expect_success(cli.progress(store.url, "restore", "gs://b/read-models"))
    assert not sample_events.find_differences(populated)


@pytest.mark.exhaustive
def test_an_error_from_cloud_storage_is_reported_in_one_line(
    store: Store, populated: Connection, bucket: cloud_storage.Bucket
) -> None:
    bucket.refusals = [403]
    answer = cli.progress(store.url, "backup", "gs://b/p")
    cli.expect_failure(answer, "gs://b/p: HTTP 403")
    away = cli.progress(store.url, "backup", "gs://b/p", STORAGE_EMULATOR_HOST="http://127.0.0.1:9")
    cli.expect_failure(away, "does not respond")


def test_a_backup_made_with_other_folds_is_rejected(
    store: Store, kept: Kept, tmp_path: Path
) -> None:
    (folder,) = kept.path.iterdir()
    folder.rename(folder.with_name(folder.name.replace(schema.fingerprint(), "0123456789ab")))
    kept.expect_rejection(r"of 1 backups, none was made.*progress rebuild")
    answer = cli.progress(store.url, "restore", str(tmp_path / "nowhere"))
    cli.expect_failure(answer, "no backup was made", "progress rebuild")


def lose_the_end(connection: Connection) -> None:
    connection.run(BLOCKS["lose the end"], head=checks.run(connection).head - 30)


def lose_the_end_and_go_on(connection: Connection) -> None:
    lose_the_end(connection)
    append(connection, [event for n in range(20, 30) for event in sample_events.lesson("u1", n)])


def quarantined(connection: Connection) -> None:
    connection.run("SELECT event_store.mark_poisoned(schema_fingerprint(), 5, 'x')")


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("happened", "words"),
    [
        (lose_the_end, "covers the log up to"),
        (lose_the_end_and_go_on, "was made from another log"),
        (quarantined, "were poisoned"),
    ],
)
def test_a_backup_that_does_not_match_the_log_is_rejected(
    populated: Connection, kept: Kept, happened: Callable[[Connection], None], words: str
) -> None:
    happened(populated)
    kept.expect_rejection(f"{words}.*progress rebuild", CheckpointError)


@pytest.mark.exhaustive
def test_an_event_that_was_replayed_after_the_backup_is_not_lost(
    store: Store, populated: Connection, kept: Kept
) -> None:
    sample_events.poison(populated, "u1")
    rebuild.run(store.connect)
    kept.backup()
    kept.restore()  # the backup lacks the poisoned event
    model_rows.read(populated, "mend")

    def replay(_done: int, _total: int) -> None:
        for letter in dead_letters.list_letters(populated):
            assert letter_replay.replay(populated, letter.letter_id) is None

    kept.restore(replay)  # the swap folds the replayed event
    batch.run(populated)
    assert not sample_events.find_differences(populated)
    kept.expect_rejection("replayed", CheckpointError)
    assert not sample_events.find_differences(populated)


def change(file: Path) -> None:
    """Change one character; the file stays valid and has as many rows as before."""
    rows = bytearray(gzip.decompress(file.read_bytes()))
    rows[0] ^= 1  # this byte is in a learner's name
    file.write_bytes(gzip.compress(rows))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def link(to: str) -> Callable[[Path], None]:
    def linked(file: Path) -> None:
        file.unlink()
        file.symlink_to(to)

    return linked


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "damage", [change, cut, Path.unlink, pipe, link("/dev/zero"), link("/etc/passwd"), link(".")]
)
def test_a_restore_from_a_damaged_backup_changes_nothing(
    kept: Kept, damage: Callable[[Path], None]
) -> None:
    (folder,) = kept.path.iterdir()
    damage(folder / "item_days.gz")
    kept.expect_rejection(r"item_days\.gz")


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "item_days; DROP TABLE x", ""])
def test_a_backup_with_an_unknown_table_is_rejected(
    populated: Connection, kept: Kept, name: str
) -> None:
    first, *others = kept.read_manifest().tables
    kept.change_manifest(tables=[first, *others, msgspec.structs.replace(first, name=name)])
    kept.expect_rejection("have no table")


def test_a_manifest_that_is_too_long_is_rejected(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "_MAX_MANIFEST", 1_000)
    kept.expect_rejection(r"manifest\.json is too long")


@example(bytes(5_000), 2_000, 100)
@given(st.binary(max_size=5_000), st.integers(1, 2_000), st.integers(1, 100))
def test_rows_are_decompressed_in_small_parts(data: bytes, times: int, size: int) -> None:
    packed = gzip.compress(data * times)
    sent = [packed[at : at + size * 100] for at in range(0, len(packed), size * 100)]
    parts = list(backups.decompress(iter(sent), hashlib.sha256()))
    assert b"".join(parts) == data * times
    assert max(map(len, parts), default=0) <= PART


@pytest.mark.exhaustive
def test_a_backup_that_lacks_a_table_is_rejected(populated: Connection, kept: Kept) -> None:
    tables = kept.read_manifest().tables
    kept.change_manifest(tables=[table for table in tables if table.name != "item_days"])
    kept.expect_rejection("no table item_days")
