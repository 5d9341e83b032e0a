"""The catalogue: read the manifests, and publish new ones.

Each range of positions has a manifest. The archive's manifest contains the hash of every range's
manifest. A new manifest of a range is first written to a temporary path. Then the archive's
manifest is replaced by one that contains the new hash. Only after that, the range's new manifest is
moved to its final path. Even after an interruption, a manifest with the right hash is therefore at
one of the paths.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from progress.adapters.storage.storage import Storage
from progress.archive import files, manifest
from progress.archive.manifest import File, Manifest, RangeEntry, RangeManifest
from progress.errors import ArchiveDamaged, ProgressError


class Published(NamedTuple):
    """The archive's manifest; `generation` identifies the version of the file that contains it."""

    manifest: Manifest
    generation: str


def read(storage: Storage) -> Published | None:
    """Return the archive's manifest; None if there is no archive yet."""
    content = storage.read(manifest.NAME)
    if content is None:
        return None
    return Published(manifest.decode(content.data), content.generation)


def require(storage: Storage) -> Published:
    """Return the archive's manifest; raise ProgressError if there is no archive yet."""
    published = read(storage)
    if published is None:
        raise ProgressError("there is no archive yet: run `progress archive`")
    return published


def publish(storage: Storage, new: Manifest, over: Published | None) -> Published:
    """Replace the archive's manifest, then the manifests of the changed ranges.

    Return the archive's new manifest. Raise ProgressError if another writer has changed the
    archive's manifest since `over` was read.
    """
    data = manifest.encode(new)
    generation = storage.replace(manifest.NAME, data, over.generation if over else None)
    settle(storage, new)
    return Published(new, generation)


def settle(storage: Storage, published: Manifest) -> None:
    """Move the new manifests of changed ranges from their temporary paths to the final paths."""
    for entry in published.ranges:
        pending = _pending_path(entry)
        if storage.has(pending):
            data = b"".join(storage.reading(pending))
            if manifest.digest(data) == entry.sha256:
                _write(storage, _path(entry.first, entry.last), data)
            storage.purge(pending)


def read_range(storage: Storage, entry: RangeEntry) -> RangeManifest:
    """Return the manifest of a range; raise ArchiveDamaged if it is missing or damaged."""
    path = _path(entry.first, entry.last)
    for candidate in (path, _pending_path(entry)):
        content = storage.read(candidate)
        if content and manifest.digest(content.data) == entry.sha256:
            return manifest.decode_range(content.data, candidate)
    raise damaged(path)


def read_ranges(storage: Storage, published: Manifest) -> list[RangeManifest]:
    """Return the manifests of all ranges, in order."""
    return [read_range(storage, entry) for entry in published.ranges]


def put_range(storage: Storage, contents: RangeManifest) -> RangeEntry:
    """Write the manifest of a range; return the range's entry for the archive's manifest.

    A published manifest of the same range remains until `publish` replaces it.
    """
    data = manifest.encode(contents)
    entry = RangeEntry(contents.first, contents.last, manifest.digest(data))
    _write(storage, _pending_path(entry), data)
    return entry


def list_named(storage: Storage, published: Manifest) -> set[str]:
    """Return the paths of the ranges' manifests, and of all files that these manifests name."""
    named: set[str] = set()
    for entry, contents in zip(published.ranges, read_ranges(storage, published), strict=True):
        named |= {_path(entry.first, entry.last), _pending_path(entry)}
        named |= {file_path(contents, file.name) for file in contents.files}
    return named


def file_path(contents: RangeManifest, name: str) -> str:
    """Return the path of a range's file."""
    return f"{manifest.folder(contents.first, contents.last)}/{name}"


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
        if not storage.has(path) or files.hash_stored(storage, path) != file.sha256:
            raise damaged(path)


def _path(first: int, last: int) -> str:
    return f"{manifest.folder(first, last)}/{manifest.NAME}"


def _pending_path(entry: RangeEntry) -> str:
    return f"{manifest.folder(entry.first, entry.last)}/manifest-{entry.sha256[:12]}.json"


def _write(storage: Storage, path: str, data: bytes) -> None:
    with storage.writing(path) as output:
        output.write(data)
