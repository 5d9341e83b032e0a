"""Checks of the archive: its files exist, and their rows equal the rows of the log."""

from collections.abc import Iterator
from pathlib import Path

from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import catalogue, files, log_rows, runs
from progress.archive.catalogue import Catalogue, File, Finding, Progress, Range
from progress.archive.files import LocalFile, Workspace
from progress.archive.log_rows import ERASED
from progress.errors import ProgressError


def run(storage: Storage, on_progress: Progress, connection: Connection | None = None) -> Catalogue:
    """Check that the archive has every position, and every file its size.

    With a connection to the log, also check the content of each file.
    """
    found = catalogue.read(storage)
    if not found.ranges and not found.findings:
        raise ProgressError("there is no archive yet: run `progress archive --now`")
    findings = list(found.findings)
    if connection:
        catalogue.check_log(connection, storage, found)
        findings += [
            Finding(
                path, "belongs to a range without `others`: its run ended, or that file is lost"
            )
            for path in [*found.unfinished][:1]
        ]
    for done, one in enumerate(found.ranges):
        on_progress(done, len(found.ranges))
        if connection and one.files:
            findings += _check_content(connection, storage, one)
    on_progress(len(found.ranges), len(found.ranges))
    return found._replace(findings=findings)


def run_deep(connection: Connection, storage: Storage, on_progress: Progress) -> Catalogue:
    """Make the checks of `run`, check the files' hashes, and compare the rows with the log's.

    For each bucket of a range, the number of rows and two sums of the rows' hashes are compared.

    Raise ArchiveRunning if another run works on the archive, and ProgressError if the archive is
    a copy of another log.
    """
    with log_rows.hold_lock(connection):
        return run(storage, on_progress, connection)


def _check_content(connection: Connection, storage: Storage, one: Range) -> Iterator[Finding]:
    """Yield the defects of a range's files; skip those whose size is wrong already."""
    expected = log_rows.sum_rows(connection, one.positions, one.files[0].buckets)
    measured = dict[int | None, LocalFile]()
    named = {file.bucket for file in one.files if file.rows < 0}
    erased: list[int] | None = None
    with files.open_workspace() as workspace:
        for file in (file for file in one.files if file.rows >= 0):
            local = workspace.folder / "checked.parquet"
            problem = _check_file(storage, workspace, file, local, measured)
            if not problem and measured[file.bucket].sums != expected.get(
                file.bucket, files.Sums()
            ):
                if erased is None:
                    erased = log_rows.list_erased(connection, one.positions)
                held, _ = workspace.select(local, files.Selection("", erased))
                problem = f"holds {len(held):,} erased rows: the erasure has not ended"
                problem = problem if held else "has other rows than the log"
            if problem:
                named.add(file.bucket)
                yield Finding(file.path, problem)
    for bucket in runs.list_differing(measured, expected):
        if bucket not in named and not (bucket == ERASED and named):
            problem = f"has other rows than the log: {runs.name_bucket(bucket)}"
            yield Finding(catalogue.folder_of(one), problem)


def _check_file(
    storage: Storage,
    workspace: Workspace,
    file: File,
    local: Path,
    measured: dict[int | None, LocalFile],
) -> str | None:
    """Copy the file into the workspace, and measure it; return what is wrong with it."""
    if not catalogue.is_intact(file, files.download(storage, file.path, local)):
        return "was changed: its hash is not the one in its name"
    found = measured[file.bucket] = workspace.measure([local])[local]
    if (found.sums.rows + found.erased.rows, found.erased.rows) != (file.rows, file.erased):
        return "has other rows than its name says"
    return None
