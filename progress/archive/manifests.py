"""The catalogue: find the archive, read its manifests, publish new ones, remove unnamed files.

Each range of positions has a manifest. The archive's manifest contains the hash of every range's
manifest. A new manifest of a range is first written to a temporary path. Then the archive's
manifest is replaced by one that contains the new hash. Only after that, the range's new manifest is
moved to its final path. Even after an interruption, a manifest with the right hash is therefore at
one of the paths.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage, encode_json
from progress.archive import files, log_rows
from progress.archive.log_rows import Checkpoint, ErasedRow, Log
from progress.errors import ArchiveDamaged, ProgressError
from progress.settings import Settings

NAME = "manifest.json"
FORMAT = 1  # the version of the files' and the manifests' format
FOLDER = "ranges"
REBUILDS = "rebuilds"  # a rebuild from the archive keeps its temporary files in this folder

Progress = Callable[[int, int], None]  # gets the number that is done, and the total

_MAX_AGE = timedelta(days=1)  # every operation publishes its files in less time

_T = TypeVar("_T")


class RangeEntry(msgspec.Struct, frozen=True):
    """A range of positions, and the hash of the range's manifest."""

    first: int
    last: int
    sha256: str


class ArchiveManifest(msgspec.Struct, frozen=True, kw_only=True):
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


class RangeManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a range; the times are those of the first and of the last archived event."""

    first: int
    last: int
    events: int
    recorded_from: datetime | None
    recorded_to: datetime | None
    files: list[File]
    erased: list[ErasedRow] = []


class Published(NamedTuple):
    """The archive's manifest; `generation` identifies the version of the file that contains it."""

    manifest: ArchiveManifest
    generation: str


def folder(first: int, last: int) -> str:
    return f"{FOLDER}/{first:020}-{last:020}"


def file_name(bucket: int | None, sha256: str) -> str:
    """Return the name of a file. It contains the hash, so that new content gets a new name."""
    prefix = "others" if bucket is None else f"{bucket:03}"
    return f"{prefix}-{sha256[:12]}.parquet"


def read(storage: Storage) -> Published | None:
    """Return the archive's manifest; None if there is no archive yet."""
    content = storage.read(NAME)
    if content is None:
        return None
    return Published(decode(content.data), content.generation)


def require(storage: Storage) -> Published:
    """Return the archive's manifest; raise ProgressError if there is no archive yet."""
    published = read(storage)
    if published is None:
        raise ProgressError("there is no archive yet: run `progress archive --now`")
    return published


def replace_manifest(storage: Storage, new: ArchiveManifest, over: Published | None) -> Published:
    """Replace the archive's manifest, then the manifests of the changed ranges.

    Return the archive's new manifest. Raise ProgressError if another writer has changed the
    archive's manifest since `over` was read.
    """
    data = encode_json(new)
    generation = storage.replace(NAME, data, over.generation if over else None)
    stored = storage.read(NAME)
    if not stored or stored.data != data:  # the caller will remove the files of old ranges
        raise damaged(NAME)
    settle(storage, new)
    return Published(new, generation)


def settle(storage: Storage, published: ArchiveManifest) -> None:
    """Move the new manifests of changed ranges from their temporary paths to the final paths."""
    for entry in published.ranges:
        pending = _pending_path(entry)
        if content := storage.read(pending):
            if digest(content.data) == entry.sha256:
                storage.write(_path(entry.first, entry.last), content.data)
            storage.purge(pending)


def read_range(storage: Storage, entry: RangeEntry) -> RangeManifest:
    """Return the manifest of a range; raise ArchiveDamaged if it is missing or damaged."""
    path = _path(entry.first, entry.last)
    for candidate in (path, _pending_path(entry)):
        content = storage.read(candidate)
        if content and digest(content.data) == entry.sha256:
            return parse(content.data, RangeManifest, candidate)
    raise damaged(path)


def read_ranges(storage: Storage, published: ArchiveManifest) -> list[RangeManifest]:
    return [read_range(storage, entry) for entry in published.ranges]


def put_range(storage: Storage, contents: RangeManifest) -> RangeEntry:
    """Write the manifest of a range; return the range's entry for the archive's manifest.

    A published manifest of the same range remains until `publish` replaces it. Raise ArchiveDamaged
    if the new one cannot be read back.
    """
    data = encode_json(contents)
    entry = RangeEntry(contents.first, contents.last, digest(data))
    storage.write(_pending_path(entry), data)
    read_range(storage, entry)
    return entry


def list_named(storage: Storage, published: ArchiveManifest) -> set[str]:
    """Return the paths of the ranges' manifests, and of all files that these manifests name."""
    named: set[str] = set()
    for entry, contents in zip(published.ranges, read_ranges(storage, published), strict=True):
        named |= {_path(entry.first, entry.last), _pending_path(entry)}
        named |= {file_path(contents, file.name) for file in contents.files}
    return named


def file_path(contents: RangeManifest, name: str) -> str:
    return f"{folder(contents.first, contents.last)}/{name}"


def fetch(storage: Storage, contents: RangeManifest, file: File, target: Path) -> None:
    """Copy a range's file to this machine; raise ArchiveDamaged if it is missing or damaged."""
    path = file_path(contents, file.name)
    if not storage.has(path) or files.download(storage, path, target) != file.sha256:
        raise damaged(path)


def fetch_all(
    storage: Storage, parts: Iterable[tuple[RangeManifest, File]], folder: Path
) -> list[Path]:
    """Copy files of several ranges into the folder, and return their paths in the same order."""
    paths = []
    for contents, file in parts:
        paths.append(folder / f"{contents.first}-{file.name}")
        fetch(storage, contents, file, paths[-1])
    return paths


def damaged(path: str) -> ArchiveDamaged:
    """Return the error that reports a file as missing or damaged."""
    return ArchiveDamaged(
        f"{path} of the archive is missing or damaged: remove this file if it exists, and run "
        "`progress archive`"
    )


def check_stored(storage: Storage, contents: RangeManifest) -> None:
    """Read a range's files back; raise ArchiveDamaged if one is missing or has another hash."""
    for file in contents.files:
        path = file_path(contents, file.name)
        if not storage.has(path) or files.download(storage, path, Path(os.devnull)) != file.sha256:
            raise damaged(path)


def _path(first: int, last: int) -> str:
    return f"{folder(first, last)}/{NAME}"


def _pending_path(entry: RangeEntry) -> str:
    return f"{folder(entry.first, entry.last)}/manifest-{entry.sha256[:12]}.json"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def decode(data: bytes) -> ArchiveManifest:
    """Decode the archive's manifest; raise ProgressError if it is invalid or has a newer format."""
    version = parse(data, _Format, NAME).format
    if version != FORMAT:
        raise ProgressError(
            f"the archive has format {version}, but this code reads {FORMAT}: use newer code"
        )
    return parse(data, ArchiveManifest, NAME)


class _Format(msgspec.Struct):
    format: int


def parse(data: bytes, type_: type[_T], path: str) -> _T:
    """Decode a JSON file of the archive; raise ArchiveDamaged if it is invalid."""
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArchiveDamaged(f"{path} of the archive is damaged: {error}") from None


def recorded_times(
    connection: Connection, archived: Sequence[File]
) -> tuple[datetime | None, datetime | None]:
    """Return the times at which the first and the last event in the files were recorded."""
    if not archived:
        return None, None
    ends = [min(file.first for file in archived), max(file.last for file in archived)]
    times = log_rows.recorded_times(connection, ends)
    return times[ends[0]], times[ends[1]]


def open_published(connection: Connection, storage: Storage) -> Published | None:
    """Return the archive of this log; None if there is no archive yet.

    Raise ProgressError if the archive is a copy of another log.
    """
    current = read(storage)
    if current:
        check_log(connection, current.manifest)
        settle(storage, current.manifest)
    return current


def check_log(connection: Connection, archived: ArchiveManifest) -> None:
    """Raise ProgressError if the archive is not a copy of this log."""
    found = log_rows.identify(connection)
    is_same = found is not None and found[0].recorded_at == archived.log.recorded_at
    # Do not compare the id of an emptied event: this id is new, but the manifest may still have
    # the old one.
    if found and not found[1]:
        is_same = is_same and found[0].id == archived.log.id
    is_same = is_same and log_rows.find_end(connection) >= archived.upto
    # A log that was restored to an earlier time may hold other events at the archived positions.
    if not is_same or log_rows.are_changed(connection, archived.checkpoints):
        raise ProgressError("the archive is a copy of another log: use another bucket or folder")


def publish(
    connection: Connection,
    storage: Storage,
    current: Published | None,
    entries: list[RangeEntry],
    buckets: int,
) -> Published:
    """Publish a manifest that adds `entries`, and omits the old ranges that overlap them."""
    published = current.manifest.ranges if current else []
    new = {(entry.first, entry.last) for entry in entries}
    kept = [old for old in published if not any(a <= old.last and old.first <= b for a, b in new)]
    every = sorted([*kept, *entries], key=lambda entry: entry.first)
    upto = every[-1].last
    identity = log_rows.identify(connection)
    if identity is None:
        raise ProgressError("the log is empty")
    return replace_manifest(
        storage,
        ArchiveManifest(
            log=identity[0],
            buckets=current.manifest.buckets if current else buckets,
            upto=upto,
            ranges=every,
            checkpoints=log_rows.read_checkpoints(connection, upto),
        ),
        current,
    )


def remove_old(storage: Storage, published: ArchiveManifest) -> None:
    """Remove files that no manifest names and that are over a day old.

    The caller holds the archive's lock. A rebuild from the archive holds the same lock while it
    runs. No rebuild is therefore running now, and the folder of rebuilds holds only files that
    killed rebuilds have left.
    """
    oldest = datetime.now(UTC) - _MAX_AGE
    named = list_named(storage, published)
    for folder in (FOLDER, REBUILDS):
        for file in list(storage.list_tree(folder)):
            if file.path not in named and file.written_at < oldest:
                storage.purge(file.path)


def remove_all(storage: Storage, published: ArchiveManifest | None) -> None:
    """Remove all generations of every file that no manifest names.

    The caller holds the archive's lock. The removed files may belong to an operation that was
    interrupted before it published them. When this operation continues, it writes them again.
    """
    purge_unnamed(storage, FOLDER, list_named(storage, published) if published else set())


def purge_unnamed(storage: Storage, folder: str, named: set[str]) -> None:
    """Remove all generations of the folder's files, except those at the paths `named`."""
    for file in list(storage.list_tree(folder, former=True)):
        if file.path not in named:
            storage.purge(file.path)


def location(settings: Settings) -> str:
    """Return the archive's location: the bucket, or a folder on this machine."""
    bucket = settings.archive_bucket
    if not bucket:
        return f"{settings.progress_data_dir}/archive"
    return bucket if bucket.startswith("gs://") else f"gs://{bucket}"


def open_archive(settings: Settings) -> Storage:
    """Open the archive's storage; raise ProgressError if its location is invalid."""
    return storage.open_storage(location(settings))
