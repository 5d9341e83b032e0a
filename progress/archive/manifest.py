"""The manifests of the archive: one of the whole archive, and one of each range of positions."""

import hashlib
from datetime import datetime
from typing import TypeVar

import msgspec

from progress.errors import ArchiveDamaged, ProgressError

NAME = "manifest.json"
FORMAT = 1  # the version of the files' and the manifests' format
FOLDER = "ranges"
REBUILDS = "rebuilds"  # a rebuild from the archive keeps its temporary files in this folder

_T = TypeVar("_T")


class Log(msgspec.Struct, frozen=True):
    """The log that the archive copies; the id and the time are those of the event at position 1."""

    id: str
    recorded_at: datetime


class Checkpoint(msgspec.Struct, frozen=True):
    """The last archived event of a shard."""

    shard: int
    position: int
    event_id: str
    recorded_at: datetime


class RangeEntry(msgspec.Struct, frozen=True):
    """A range of positions, and the hash of the range's manifest."""

    first: int
    last: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of the archive; `upto` is the last position of the last range."""

    format: int = FORMAT
    log: Log
    buckets: int
    upto: int
    ranges: list[RangeEntry]
    checkpoints: list[Checkpoint]


class File(msgspec.Struct, frozen=True):
    """A file of a range; `bucket` is None for the streams that belong to no learner.

    `first` and `last` are positions. The SQL block `sums` in sql/archive/log.sql computes `sums`.
    """

    name: str
    bucket: int | None
    rows: int
    bytes: int
    sha256: str
    first: int
    last: int
    sums: tuple[int, int]


class ErasedRow(msgspec.Struct, frozen=True, array_like=True):
    """An event of an erased learner, which is in none of the range's files.

    The id and the version are None if the event was not yet emptied when the range was written,
    because a learner's event gets a new id and a new version when it is emptied. The stream is
    given only for an emptied event that stayed in its own stream. All other emptied events are in
    their shard's stream of erased events.
    """

    position: int
    shard: int
    recorded_at: datetime
    event_id: str | None
    stream_version: int | None
    stream_id: str | None = None


class RangeManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a range; the times are those of the first and of the last archived event."""

    first: int
    last: int
    events: int
    recorded_from: datetime | None
    recorded_to: datetime | None
    files: list[File]
    erased: list[ErasedRow] = []


def folder(first: int, last: int) -> str:
    """Return the folder of a range."""
    return f"{FOLDER}/{first:020}-{last:020}"


def file_name(bucket: int | None, sha256: str) -> str:
    """Return the name of a file. It contains the hash, so that new content gets a new name."""
    prefix = "others" if bucket is None else f"{bucket:03}"
    return f"{prefix}-{sha256[:12]}.parquet"


def encode(manifest: Manifest | RangeManifest) -> bytes:
    """Encode a manifest as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest))


def digest(data: bytes) -> str:
    """Return the hash of an encoded manifest."""
    return hashlib.sha256(data).hexdigest()


def decode(data: bytes) -> Manifest:
    """Decode the archive's manifest; raise ProgressError if it is invalid or has a newer format."""
    version = _decode(data, _Format, NAME).format
    if version != FORMAT:
        raise ProgressError(
            f"the archive has format {version}, but this code reads {FORMAT}: use newer code"
        )
    return _decode(data, Manifest, NAME)


def decode_range(data: bytes, path: str) -> RangeManifest:
    """Decode the manifest of a range; raise ArchiveDamaged if it is invalid."""
    return _decode(data, RangeManifest, path)


class _Format(msgspec.Struct):
    format: int


def _decode(data: bytes, type_: type[_T], path: str) -> _T:
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArchiveDamaged(f"{path} of the archive is damaged: {error}") from None
