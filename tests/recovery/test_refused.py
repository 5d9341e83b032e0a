"""A restore rejects a backup that does not match the log, the folds or the backup's manifest."""

import gzip
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import PART, Folder
from progress.errors import CheckpointError, ProgressError
from progress.event_store import dead_letters
from progress.projections import batch, rebuild, schema
from progress.projections import replay as letter_replay
from progress.recovery import backups, checks, restore
from tests.conftest import Store
from tests.support import cli, model_rows, sample_events
from tests.support.backup_fixtures import BLOCKS, every_row, kept, nobody, populated
from tests.support.parameters import first_in_gate
from tests.support.stage import append

__all__ = ["kept", "populated"]

pytestmark = pytest.mark.timeout(300)  # commands are slow on a busy machine


def test_a_backup_made_with_other_folds_is_rejected(
    store: Store, kept: Folder, tmp_path: Path
) -> None:
    (folder,) = (tmp_path / "backups").iterdir()
    folder.rename(folder.with_name(folder.name.replace(schema.fingerprint(), "0123456789ab")))
    with pytest.raises(ProgressError, match=r"of 1 backups, none was made.*progress rebuild"):
        restore.run(store.connect, kept, nobody)
    answer = cli.progress(store.url, "restore", str(tmp_path / "nowhere"))
    cli.expect_failure(answer, "no backup was made", "progress rebuild")


def lose_the_end(connection: Connection) -> None:
    connection.run(BLOCKS["lose the end"], head=checks.run(connection).head - 30)


def lose_the_end_and_go_on(connection: Connection) -> None:
    lose_the_end(connection)
    append(connection, [event for n in range(20, 30) for event in sample_events.lesson("u1", n)])


def set_aside(connection: Connection) -> None:
    connection.run("SELECT event_store.set_aside(5, 'x')")


@pytest.mark.parametrize(
    ("happened", "words"),
    [
        (lose_the_end, "covers the log up to"),
        (lose_the_end_and_go_on, "was made from another log"),
        (set_aside, "were poisoned"),
    ],
)
def test_a_backup_that_does_not_match_the_log_is_rejected(
    store: Store,
    populated: Connection,
    kept: Folder,
    happened: Callable[[Connection], None],
    words: str,
) -> None:
    happened(populated)
    before = every_row(populated)
    with pytest.raises(CheckpointError, match=f"{words}.*progress rebuild"):
        restore.run(store.connect, kept, nobody)
    assert every_row(populated) == before


def test_an_event_that_was_replayed_after_the_backup_is_not_lost(
    store: Store, populated: Connection, tmp_path: Path
) -> None:
    sample_events.poison(populated, "u1")
    rebuild.run(store.connect)
    kept = Folder(tmp_path)
    backups.run(store.connect, kept, nobody)
    restore.run(store.connect, kept, nobody)  # the backup lacks the poisoned event
    model_rows.read(populated, "mend")

    def replay(_done: int, _total: int) -> None:
        for letter in dead_letters.list_letters(populated):
            assert letter_replay.replay(populated, letter.letter_id) is None

    restore.run(store.connect, kept, replay)  # the swap folds the replayed event
    batch.run(populated)
    assert not sample_events.find_differences(populated)
    with pytest.raises(CheckpointError, match="replayed"):
        restore.run(store.connect, kept, nobody)
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
    store: Store,
    populated: Connection,
    kept: Folder,
    tmp_path: Path,
    damage: Callable[[Path], None],
) -> None:
    (folder,) = (tmp_path / "backups").iterdir()
    damage(folder / "item_days.gz")
    before = every_row(populated)
    with pytest.raises(ProgressError, match=r"item_days\.gz"):
        restore.run(store.connect, kept, nobody)
    assert every_row(populated) == before
    assert model_rows.read_value(populated, "schemas") == 1


@pytest.mark.parametrize(
    "name", first_in_gate(["../../secret", "/etc/passwd", "item_days; DROP TABLE x", ""])
)
def test_a_backup_with_an_unknown_table_is_rejected(
    store: Store, populated: Connection, kept: Folder, tmp_path: Path, name: str
) -> None:
    (file,) = (tmp_path / "backups").glob("*/manifest.json")
    original = backups.decode(file.read_bytes())
    others = [*original.tables, msgspec.structs.replace(original.tables[0], name=name)]
    file.write_bytes(backups.encode(msgspec.structs.replace(original, tables=others)))
    before = every_row(populated)
    with pytest.raises(ProgressError, match="have no table"):
        restore.run(store.connect, kept, nobody)
    assert every_row(populated) == before


def test_a_manifest_that_is_too_long_is_rejected(
    store: Store, kept: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "_MAX_MANIFEST", 1_000)
    with pytest.raises(ProgressError, match=r"manifest\.json is too long"):
        restore.run(store.connect, kept, nobody)


@example(bytes(5_000), 2_000, 100)
@given(st.binary(max_size=5_000), st.integers(1, 2_000), st.integers(1, 100))
def test_rows_are_decompressed_in_small_parts(data: bytes, times: int, size: int) -> None:
    packed = gzip.compress(data * times)
    sent = [packed[at : at + size * 100] for at in range(0, len(packed), size * 100)]
    parts = list(backups.decompress(iter(sent), hashlib.sha256()))
    assert b"".join(parts) == data * times
    assert max(map(len, parts), default=0) <= PART


def test_a_backup_that_lacks_a_table_is_rejected(
    store: Store, populated: Connection, kept: Folder, tmp_path: Path
) -> None:
    (file,) = (tmp_path / "backups").glob("*/manifest.json")
    original = backups.decode(file.read_bytes())
    fewer = [table for table in original.tables if table.name != "item_days"]
    file.write_bytes(backups.encode(msgspec.structs.replace(original, tables=fewer)))
    before = every_row(populated)
    with pytest.raises(ProgressError, match="no table item_days"):
        restore.run(store.connect, kept, nobody)
    assert every_row(populated) == before
    assert model_rows.read_value(populated, "schemas") == 1
