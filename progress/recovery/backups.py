"""Backups of the read models: every table of the live schema, in one snapshot."""

import contextlib
import functools
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connect, Connection
from progress.adapters.storage.outputs import HashedOutput, Rows
from progress.adapters.storage.storage import PART, Output, Storage, encode_json
from progress.archive.log_rows import Checkpoint as ArchivedCheckpoint
from progress.archive.manifests import Progress
from progress.errors import ProgressError
from progress.projections import schema

_FILE = "recovery/backups"
_GZIP_LEVEL = 1  # the fastest level, which keeps up with the network
_GZIP_WBITS = 31
_MAX_MANIFEST = 8 * PART  # Bytes; a manifest has a line for each poisoned event.
NAME = "manifest.json"
FORMAT = 1  # the version of the files' format


class Table(msgspec.Struct, frozen=True):
    """The file of a table: its rows as COPY writes them, compressed by gzip."""

    name: str
    rows: int
    bytes: int
    sha256: str


class Checkpoint(msgspec.Struct, frozen=True):
    """The last folded event of a shard; `event_id` is None if no event was folded."""

    shard: int
    position: int
    event_id: str | None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of a backup, and the log that it was made from."""

    format: int = FORMAT
    taken_at: datetime
    schema: str
    fingerprint: str
    head: int  # The log's last position.
    version: int  # The highest version of the learners' rows.
    checkpoints: list[Checkpoint]
    quarantined: list[int]  # positions of poisoned events, which the folds skipped
    tables: list[Table]


def run(connect: Connect, storage: Storage, on_progress: Progress) -> tuple[str, Manifest]:
    """Write a backup into a new folder of the storage; return the folder's name and the manifest.

    Any role that can read the read models and the log can take a backup. The manifest is written
    last, and a folder without a manifest is not a backup. An interrupted run therefore leaves
    nothing that could be restored.
    """
    taken_at = datetime.now(UTC)
    name = f"{name_folder(taken_at)}-{schema.fingerprint()}"
    with contextlib.closing(connect()) as connection, contextlib.ExitStack() as on_failure:
        _lock(connection)
        _remove_incomplete(storage)
        on_failure.callback(storage.remove, name)
        database.run(connection, _FILE, "begin")
        backup = _write_tables(connection, storage, name, taken_at, on_progress)
        connection.run("COMMIT")
        storage.write(f"{name}/{NAME}", encode_json(backup))
        on_failure.pop_all()
        database.run(
            connection, "projections/rebuild", "unlock_backup", schema=schema.schema_name()
        )
    return name, backup


def find_newest(storage: Storage) -> tuple[str, Manifest]:
    """Return the newest complete backup made with the current folds, or raise ProgressError."""
    complete = find_complete(storage)
    matching = [name for name in complete if name.endswith(f"-{schema.fingerprint()}")]
    if not complete:
        raise ProgressError(
            "no backup was made in this folder: name the folder that `progress backup` wrote to, "
            "or run `progress rebuild`"
        )
    if not matching:
        raise ProgressError(
            f"of {len(complete)} backups, none was made with the current folds "
            f"{schema.fingerprint()}: run `progress rebuild`"
        )
    name = max(matching)
    return name, decode(_read_manifest(storage.reading(f"{name}/{NAME}")))


def name_folder(taken_at: datetime) -> str:
    """Return a name that sorts by time."""
    return f"{taken_at:%Y%m%dT%H%M%S.%fZ}"


def find_complete(storage: Storage) -> list[str]:
    """Return the folders that have a manifest."""
    return [name for name in storage.folders() if storage.has(f"{name}/{NAME}")]


def find_missing(
    connection: Connection, checkpoints: Sequence[Checkpoint | ArchivedCheckpoint]
) -> list[int]:
    """Return, in ascending order, the shards whose checkpoint is at an event that the log lacks."""
    values = {
        "shards": [checkpoint.shard for checkpoint in checkpoints],
        "positions": [checkpoint.position for checkpoint in checkpoints],
        "event_ids": [checkpoint.event_id for checkpoint in checkpoints],
    }
    return [shard for (shard,) in database.run(connection, _FILE, "missing", **values)]


def _read_manifest(parts: Iterator[bytes]) -> bytes:
    """Return the whole file; raise ProgressError if it is longer than a manifest can be."""
    content = bytearray()
    for part in parts:
        content += part
        if len(content) > _MAX_MANIFEST:
            raise ProgressError(f"{NAME} is too long for a manifest; take another backup")
    return bytes(content)


def _lock(connection: Connection) -> None:
    if not schema.exists(connection, schema.schema_name()):
        raise ProgressError("there are no read models: run `progress migrate`")
    if not database.run(connection, _FILE, "lock", schema=schema.schema_name())[0][0]:
        raise ProgressError("another backup, or a rebuild's swap, is running: wait until it ends")
    schema.set_search_path(connection)


def _remove_incomplete(storage: Storage) -> None:
    """Remove the folders of killed backups; the lock ensures that no other backup is running."""
    for name in storage.folders():
        is_matching = name.endswith(f"-{schema.fingerprint()}")
        if is_matching and not storage.has(f"{name}/{NAME}"):
            storage.remove(name)


def _write_tables(
    connection: Connection, storage: Storage, name: str, taken_at: datetime, on_progress: Progress
) -> Manifest:
    checkpoints = [Checkpoint(*row) for row in database.run(connection, _FILE, "checkpoints")]
    head, version = database.run(connection, _FILE, "log")[0]
    tables = database.run(connection, _FILE, "tables", schema=schema.schema_name())
    written = write_tables(connection, storage, name, tables, on_progress)
    return Manifest(
        taken_at=taken_at,
        schema=schema.schema_name(),
        fingerprint=schema.fingerprint(),
        head=head,
        version=version,
        checkpoints=checkpoints,
        quarantined=quarantined(connection, checkpoints),
        tables=written,
    )


def write_tables(
    connection: Connection,
    storage: Storage,
    folder: str,
    tables: list[list[Any]],
    on_progress: Progress,
) -> list[Table]:
    """Write a file for each table, given by its name, estimated rows and COPY statement."""
    done, estimate = 0, sum(rows for _, rows, _ in tables)
    written: list[Table] = []
    for table, _, copy_out in tables:
        with storage.writing(f"{folder}/{table}.gz") as output:
            file = HashedOutput(output)
            gzip = _Gzip(file)
            rows = Rows(gzip, functools.partial(_report, on_progress, done, estimate))
            connection.run(copy_out, stream=rows)
            rows.flush()
            gzip.close()
        written.append(Table(table, rows.lines, file.bytes, file.digest.hexdigest()))
        done += rows.lines
    on_progress(done, done)
    return written


def _report(on_progress: Progress, done: int, estimate: int, rows: int) -> None:
    on_progress(done + rows, max(estimate, done + rows))


def quarantined(connection: Connection, checkpoints: list[Checkpoint]) -> list[int]:
    """Return the positions of the poisoned events up to each shard's checkpoint."""
    return [
        position
        for (position,) in database.run(
            connection,
            _FILE,
            "quarantined",
            shards=[checkpoint.shard for checkpoint in checkpoints],
            positions=[checkpoint.position for checkpoint in checkpoints],
        )
    ]


class _Gzip:
    """An output that compresses the data."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._compressor = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WBITS)

    def write(self, data: bytes) -> None:
        self._output.write(self._compressor.compress(data))

    def close(self) -> None:
        """Write what the compressor still holds, and the end of the file."""
        self._output.write(self._compressor.flush())


def decompress(data: Iterator[bytes], digest: Any) -> Iterator[bytes]:
    """Yield the rows in parts, and update `digest` with the compressed data.

    Raise zlib.error if the data is damaged.
    """
    gzip = zlib.decompressobj(wbits=_GZIP_WBITS)
    for part in data:
        digest.update(part)
        while part and not gzip.eof:
            # Limit the size of a part, because a megabyte may decompress to a gigabyte.
            if rows := gzip.decompress(part, PART):
                yield rows
            part = gzip.unconsumed_tail  # noqa: PLW2901
    while not gzip.eof and (rows := gzip.decompress(b"", PART)):
        yield rows
    if not gzip.eof:
        raise zlib.error("the data ends early")


def load_table(
    connection: Connection, data: Iterator[bytes], table: Table, copy_in: str, advice: str
) -> None:
    """Load the file of a table; raise ProgressError if its rows differ from the manifest."""
    rows = _TableRows(data)
    with database.translate_errors(
        lambda failure: _cannot_load(table, failure.message, advice) if failure.is_refusal else None
    ):
        connection.run(copy_in, stream=rows.parts())
    if reason := rows.find_fault(table, connection.row_count):
        raise _cannot_load(table, reason, advice)


def _cannot_load(table: Table, reason: object, advice: str) -> ProgressError:
    return ProgressError(f"{table.name}.gz cannot be restored ({reason}): {advice}")


class _TableRows:
    """The rows of a table. If reading them fails, `find_fault` returns the error after the COPY."""

    def __init__(self, data: Iterator[bytes]) -> None:
        self._data, self._digest = data, hashlib.sha256()
        self._error: Exception | None = None

    def parts(self) -> Iterator[bytes]:
        """Yield the rows up to the first error."""
        try:
            yield from decompress(self._data, self._digest)
        except (zlib.error, ProgressError) as error:
            self._error = error

    def find_fault(self, table: Table, rows: int) -> object:
        """Return how the rows differ from the manifest; None if they do not."""
        if self._error is None and self._digest.hexdigest() == table.sha256 and rows == table.rows:
            return None
        return self._error or "its checksum or row count is wrong"


def decode(data: bytes) -> Manifest:
    """Decode a manifest; raise ProgressError if it is invalid or has another format."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise ProgressError(f"{NAME} is invalid: {error}; use another backup") from None
    if manifest.format != FORMAT:
        raise ProgressError(
            f"the backup has format {manifest.format}, but this code reads {FORMAT}: "
            "run `progress rebuild`"
        )
    return manifest
