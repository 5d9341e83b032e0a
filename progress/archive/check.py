"""Checks of the archive: its files exist, and their rows equal the rows of the log."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import files, log_rows, manifests, ranges
from progress.archive.files import Sums, Workspace
from progress.archive.log_rows import Positions
from progress.archive.manifests import ArchiveManifest, File, Progress, RangeEntry, RangeManifest
from progress.errors import ArchiveDamaged


class Finding(msgspec.Struct, frozen=True):
    """A defect: the file, and what is wrong with it."""

    path: str
    problem: str


class ArchiveFindings(NamedTuple):
    """The result of a check: the manifest, the numbers of files and events, and the defects."""

    manifest: ArchiveManifest
    files: int
    events: int
    findings: list[Finding]


def run(
    storage: Storage, on_progress: Progress, connection: Connection | None = None
) -> ArchiveFindings:
    """Check that every file exists and has the size that its manifest gives.

    With a connection to the log, also check the content of each file.
    """
    published = manifests.require(storage).manifest
    if connection:
        manifests.check_log(connection, published)
    sizes = {file.path: file.bytes for file in storage.list_tree(manifests.FOLDER)}
    contents, findings = _read_ranges(storage, published)
    for done, one in enumerate(contents):
        on_progress(done, len(contents))
        missing = find_missing(one, sizes)
        findings += missing
        if connection:
            lost = {finding.path for finding in missing}
            findings += _check_content(connection, storage, one, lost, published.buckets)
    on_progress(len(contents), len(contents))
    return ArchiveFindings(
        published,
        files=sum(len(one.files) for one in contents),
        events=sum(one.events for one in contents),
        findings=findings,
    )


def run_deep(connection: Connection, storage: Storage, on_progress: Progress) -> ArchiveFindings:
    """Make the checks of `run`, check the files' hashes, and compare the rows with the log's.

    For each bucket of a range, the number of rows and two sums of the rows' hashes are compared.

    Raise ArchiveRunning if another run works on the archive, and ProgressError if the archive is
    a copy of another log.
    """
    with log_rows.hold_lock(connection):
        return run(storage, on_progress, connection)


def find_missing(contents: RangeManifest, sizes: dict[str, int]) -> list[Finding]:
    """Return a finding for each of the range's files that is missing or has the wrong size."""
    findings = []
    for file in contents.files:
        path = manifests.file_path(contents, file.name)
        if path not in sizes:
            findings.append(Finding(path, "is missing"))
        elif sizes[path] != file.bytes:
            found = f"has {sizes[path]:,} bytes, but the manifest says {file.bytes:,}"
            findings.append(Finding(path, found))
    return findings


def _read_ranges(
    storage: Storage, published: ArchiveManifest
) -> tuple[list[RangeManifest], list[Finding]]:
    """Return the ranges' manifests, and a finding for each manifest that cannot be read."""
    contents: list[RangeManifest] = []
    findings = list(_find_gaps(published))
    for entry in published.ranges:
        try:
            contents.append(manifests.read_range(storage, entry))
        except ArchiveDamaged:
            path = f"{manifests.folder(entry.first, entry.last)}/{manifests.NAME}"
            findings.append(Finding(path, "is missing or damaged"))
    return contents, findings


def _find_gaps(published: ArchiveManifest) -> Iterator[Finding]:
    following = 1
    for entry in [*published.ranges, RangeEntry(published.upto + 1, published.upto, "")]:
        if entry.first != following:
            problem = f"has a gap or overlap: position {entry.first:,} follows {following - 1:,}"
            yield Finding(manifests.NAME, problem)
        following = entry.last + 1


def _check_content(
    connection: Connection,
    storage: Storage,
    contents: RangeManifest,
    lost: set[str],
    buckets: int,
) -> Iterator[Finding]:
    """Yield the defects of a range's files; skip the files in `lost`."""
    differing = ranges.differing_buckets(connection, contents, buckets)
    erased: list[int] | None = None
    with files.open_workspace() as workspace:
        for file in contents.files:
            path = manifests.file_path(contents, file.name)
            if path in lost:
                continue
            if problem := _check_file(storage, workspace, path, file):
                yield Finding(path, problem)
            elif file.bucket in differing:
                if erased is None:
                    positions = Positions(contents.first, contents.last)
                    erased = [row.position for row in log_rows.list_erased(connection, positions)]
                held = workspace.count_positions(workspace.folder / "checked.parquet", erased)
                problem = f"holds {held:,} erased rows: the erasure has not ended"
                yield Finding(path, problem if held else "has other rows than the log")
    archived = {file.bucket for file in contents.files}
    for bucket in differing:
        if bucket not in archived:
            path = f"{manifests.folder(contents.first, contents.last)}/{manifests.NAME}"
            name = "others" if bucket is None else str(bucket)
            yield Finding(
                path, f"names no file of bucket {name}, but the log has events of this bucket"
            )


def _check_file(storage: Storage, workspace: Workspace, path: str, file: File) -> str | None:
    """Copy the file into the workspace; return what is wrong with it."""
    local = workspace.folder / "checked.parquet"
    if files.download(storage, path, local) != file.sha256:
        return "was changed: its hash is not the hash in the manifest"
    found = workspace.measure([local])[local]
    if (found.sums, found.first, found.last) != (
        Sums(file.rows, *file.sums),
        file.first,
        file.last,
    ):
        return "has other rows than the manifest says"
    return None
