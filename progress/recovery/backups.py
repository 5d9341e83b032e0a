"""Backups of the read models: every table of the live schema, as it stood at one moment."""

import contextlib
import functools
import hashlib
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.errors import ProgressError
from progress.projections import schema
from progress.recovery import manifest
from progress.recovery.manifest import Checkpoint, Manifest, Table
from progress.recovery.storage import PART, Output, Storage

Connect = Callable[[], Connection]
Progress = Callable[[int, int], None]

_FAST = 1  # of gzip's levels: the network is no faster than this
_GZIP = 31
_JOINED = 1 << 16  # bytes of rows that are packed together
_LONGEST_MANIFEST = 8 * PART  # with a line for each event that was set aside
_OFTEN = 10_000  # rows between two words about how far it is


def run(connect: Connect, storage: Storage, on_progress: Progress) -> tuple[str, Manifest]:
    """Write a backup into a new folder of the storage; the folder's name, and what is in it.

    Any role that reads the read models and the log may. Without its manifest, the last of its
    files, a backup is none: whatever is interrupted leaves nothing that could be restored.
    """
    taken_at = datetime.now(UTC)
    name = f"{taken_at:%Y%m%dT%H%M%S.%fZ}-{schema.fingerprint()}"
    with contextlib.closing(connect()) as connection, contextlib.ExitStack() as undone:
        _lock(connection)
        _tidy(storage)
        undone.callback(storage.remove, name)
        connection.run(_block("begin"))
        made = _written(connection, storage, name, taken_at, on_progress)
        connection.run("COMMIT")
        with storage.writing(f"{name}/{manifest.NAME}") as output:
            output.write(manifest.written(made))
        undone.pop_all()
        connection.run(blocks("projections/rebuild")["unlock_backup"], schema=schema.schema_name())
    return name, made


def newest(storage: Storage) -> tuple[str, Manifest]:
    """The newest whole backup of these folds. ProgressError where there is none."""
    whole = [each for each in storage.folders() if storage.has(f"{each}/{manifest.NAME}")]
    ours = [each for each in whole if each.endswith(f"-{schema.fingerprint()}")]
    if not ours:
        others = f"{len(whole)} of other folds" if whole else "none"
        raise ProgressError(
            f"there is no backup of the folds {schema.fingerprint()} ({others}): "
            "run `progress rebuild`"
        )
    name = max(ours)
    return name, manifest.read(_small(storage.reading(f"{name}/{manifest.NAME}")))


def _small(parts: Iterator[bytes]) -> bytes:
    """All of a file that is no longer than a manifest can be; ProgressError where it is."""
    found = bytearray()
    for part in parts:
        found += part
        if len(found) > _LONGEST_MANIFEST:
            raise ProgressError(f"{manifest.NAME} is too long to be one; take another backup")
    return bytes(found)


def _lock(connection: Connection) -> None:
    if not schema.exists(connection, schema.schema_name()):
        raise ProgressError("the read models are not there: run `progress migrate`")
    if not connection.run(_block("lock"), schema=schema.schema_name())[0][0]:
        raise ProgressError("another backup, or a rebuild's swap, is under way: wait for its end")
    schema.set_search_path(connection)


def _tidy(storage: Storage) -> None:
    """Remove what one that was killed has left; the lock says that no other is at it."""
    for left in storage.folders():
        ours = left.endswith(f"-{schema.fingerprint()}")
        if ours and not storage.has(f"{left}/{manifest.NAME}"):
            storage.remove(left)


def _written(
    connection: Connection, storage: Storage, name: str, taken_at: datetime, said: Progress
) -> Manifest:
    checkpoints = [Checkpoint(*row) for row in _asked(connection, "checkpoints")]
    head, version = _asked(connection, "log")[0]
    tables = _asked(connection, "tables", schema=schema.schema_name())
    done, about = 0, sum(rows for _, rows, _ in tables)
    made: list[Table] = []
    for table, _, copy_out in tables:
        with storage.writing(f"{name}/{table}.gz") as output:
            packed = Packed(output, functools.partial(_say, said, done, about))
            connection.run(copy_out, stream=packed)
            packed.close()
        made.append(Table(table, packed.rows, packed.bytes, packed.digest.hexdigest()))
        done += packed.rows
    said(done, done)
    return Manifest(
        taken_at=taken_at,
        schema=schema.schema_name(),
        fingerprint=schema.fingerprint(),
        head=head,
        version=version,
        checkpoints=checkpoints,
        set_aside=set_aside(connection, checkpoints),
        tables=made,
    )


def _say(said: Progress, before: int, about: int, rows: int) -> None:
    said(before + rows, max(about, before + rows))


def set_aside(connection: Connection, checkpoints: list[Checkpoint]) -> list[int]:
    """The positions up to these checkpoints that no fold counts now."""
    return [
        position
        for (position,) in _asked(
            connection,
            "set aside",
            shards=[each.shard for each in checkpoints],
            positions=[each.position for each in checkpoints],
        )
    ]


class Packed:
    """Takes a table's rows, one a call, and passes them on by gzip; `digest` is of those bytes."""

    def __init__(self, output: Output, said: Callable[[int], None]) -> None:
        self.rows = self.bytes = 0
        self.digest = hashlib.sha256()
        self._output, self._said = output, said
        self._pack, self._waiting = zlib.compressobj(_FAST, wbits=_GZIP), bytearray()

    def write(self, row: bytes) -> None:
        self._waiting += row
        self.rows += 1
        if len(self._waiting) >= _JOINED:
            self._pass(self._pack.compress(self._waiting))
            self._waiting.clear()
        if self.rows % _OFTEN == 0:
            self._said(self.rows)

    def close(self) -> None:
        """Pass the rest on."""
        self._pass(self._pack.compress(self._waiting) + self._pack.flush())

    def _pass(self, data: bytes) -> None:
        if data:
            self.digest.update(data)
            self.bytes += len(data)
            self._output.write(data)


def unpacked(data: Iterator[bytes], digest: Any) -> Iterator[bytes]:
    """The rows again, in parts; what is read goes through `digest`. zlib.error where it is none."""
    pack = zlib.decompressobj(wbits=_GZIP)
    for part in data:
        digest.update(part)
        while part and not pack.eof:
            # Bounded: a megabyte may hold a gigabyte of rows.
            if rows := pack.decompress(part, PART):
                yield rows
            part = pack.unconsumed_tail  # noqa: PLW2901
    while not pack.eof and (rows := pack.decompress(b"", PART)):
        yield rows
    if not pack.eof:
        raise zlib.error("it ends early")


def _asked(connection: Connection, block: str, **values: object) -> list[list[Any]]:
    return connection.run(_block(block), **values) or []


def _block(name: str) -> str:
    return blocks("recovery/backups")[name]
