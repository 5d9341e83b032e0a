"""The catalogue of the archive: its files' names, which say what is in them.

    ranges/{first}-{last}-{time}/
        {bucket}-of-{buckets}-{rows}rows-{erased}erased-{bytes}bytes-{hash}.parquet

The folder names the first and last position of a range, and the time at which its last event was
recorded. The range has a file for each bucket of learners, and `others-of-…` for the streams that
belong to no learner. No file is ever changed, and each position is one row, also if it is erased.
Hence these rules, by which a listing tells what the archive is:

- A range counts once it has the file `others`, which is written last.
- If the rows of its files are not as many as its positions, it has lost a file.
- Of two files of a bucket, the one with more erased rows counts: an erasure wrote it.
- A range inside another one does not count: the other was written to replace it.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import files, log_rows
from progress.archive.files import LocalFile
from progress.archive.log_rows import Positions
from progress.errors import ArchiveDamaged, ProgressError
from progress.settings import Settings

FOLDER = "ranges"
REBUILDS = "rebuilds"  # a rebuild from the archive keeps its temporary files in this folder

MANIFEST = "manifest.json"  # of an archive of version 0.4
Progress = Callable[[int, int], None]  # gets the number that is done, and the total

_TIME = "%Y%m%dT%H%M%S.%fZ"
_DIGITS = 16  # of the hash in a name
_PATH = re.compile(
    FOLDER + r"/(?P<first>\d{20})-(?P<last>\d{20})-(?P<time>[0-9T]{15}\.\d{6}Z)/"
    r"(?P<bucket>\d{3}|others)-of-(?P<buckets>\d{3})-(?P<rows>\d+)rows-(?P<erased>\d+)erased"
    r"-(?P<bytes>\d+)bytes-(?P<sha256>[0-9a-f]{16})\.parquet(?P<part>\.part)?"
)
_OUTDATED = re.compile(
    FOLDER + r"/\d{20}-(?P<last>\d{20})/"
    r"(manifest.*\.json|(\d{3}|others)-[0-9a-f]{12}\.parquet)(\.part)?"
)


class File(NamedTuple):
    """A file of a range, as its name describes it.

    `bucket` is None for the streams that belong to no learner. `rows` counts the erased rows, too;
    both numbers are -1 if the file has another size than its name says. `sha256` has the first 16
    hexadecimal digits of the content's hash.
    """

    path: str
    bucket: int | None
    buckets: int
    rows: int
    erased: int
    bytes: int
    sha256: str


class Range(NamedTuple):
    """A range of positions, the time at which its last event was recorded, and its files."""

    first: int
    last: int
    recorded_at: datetime
    files: list[File]

    @property
    def positions(self) -> Positions:
        return Positions(self.first, self.last)

    @property
    def missing(self) -> int:
        """The number of rows in lost files."""
        return self.last - self.first + 1 - sum(file.rows for file in self.files)


class Finding(msgspec.Struct, frozen=True):
    """A defect: the file or folder, and what is wrong with it."""

    path: str
    problem: str


class Catalogue(NamedTuple):
    """The ranges of an archive in order, and what is wrong with them. Other files do not count.

    `replaced` are those for which others count. `unfinished` and `outdated` have the last positions
    of ranges without `others`, and of those that are not written again since version 0.4.
    """

    ranges: list[Range]
    findings: list[Finding]
    unfinished: dict[str, int]
    replaced: list[str]
    outdated: dict[str, int]

    @property
    def upto(self) -> int:
        """The last archived position; 0 if there is none."""
        return self.ranges[-1].last if self.ranges else 0

    @property
    def end(self) -> int:
        """The position up to which files are there, also those that do not count yet."""
        return max(self.upto, *self.outdated.values(), *self.unfinished.values(), 0)

    @property
    def files(self) -> list[File]:
        return [file for one in self.ranges for file in one.files]

    @property
    def buckets(self) -> int:
        """The number of buckets of learners."""
        return self.files[0].buckets


class _FormerCheckpoint(msgspec.Struct):
    position: int
    recorded_at: datetime


class _FormerManifest(msgspec.Struct):
    checkpoints: list[_FormerCheckpoint]


def read(storage: Storage) -> Catalogue:
    """Return what the archive has; raise ProgressError if newer code has written it."""
    found = defaultdict[tuple[int, int, str], list[File]](list)
    sizes, outdated, replaced = dict[str, int](), dict[str, int](), list[str]()
    for stored in storage.list_tree(FOLDER):
        sizes[stored.path] = stored.bytes
        if match := _PATH.fullmatch(stored.path):
            span = int(match["first"]), -int(match["last"]), match["time"]
            if match["part"]:
                replaced.append(stored.path)
            else:
                found[span].append(_read_name(match, stored.bytes))
        elif match := _OUTDATED.fullmatch(stored.path):
            outdated[stored.path] = int(match["last"])
        else:
            raise ProgressError(f"{stored.path} is unknown: use newer code, or remove the file")
    ranges, unfinished = list[Range](), dict[str, int]()
    for (first, negative, time), stored_files in sorted(found.items()):
        recorded_at = datetime.strptime(time, _TIME).replace(tzinfo=UTC)
        chosen = {file.bucket: file for file in sorted(stored_files, key=lambda f: f.erased)}
        one = Range(first, -negative, recorded_at, [chosen[bucket] for bucket in in_order(chosen)])
        paths = {file.path for file in stored_files}
        if None not in chosen:
            unfinished |= dict.fromkeys(paths, one.last)
        elif ranges and one.last <= ranges[-1].last:
            replaced += paths
        else:
            replaced += paths - {file.path for file in one.files}
            ranges.append(one)
    upto = ranges[-1].last if ranges else 0
    replaced += [path for path, last in outdated.items() if last <= upto]
    left = {path: last for path, last in outdated.items() if last > upto}
    findings = [*_find_gaps(ranges, sizes)]
    findings += [Finding(path, "is of version 0.4") for path in [*left][:1]]
    return Catalogue(ranges, findings, unfinished, replaced, left)


def _read_name(match: re.Match[str], size: int) -> File:
    bucket = None if match["bucket"] == "others" else int(match["bucket"])
    buckets, rows, erased, length = map(int, match.group("buckets", "rows", "erased", "bytes"))
    file = File(match[0], bucket, buckets, rows, erased, length, match["sha256"])
    return file if file.bytes == size else file._replace(rows=-1, erased=-1)


def _find_gaps(ranges: Sequence[Range], sizes: dict[str, int]) -> Iterator[Finding]:
    end = 0
    for one in ranges:
        if one.first != end + 1:
            yield Finding(FOLDER, f"has a gap: position {one.first:,} follows {end:,}")
        end, cut = one.last, [file for file in one.files if file.rows < 0]
        for file in cut:
            found = f"has {sizes[file.path]:,} bytes, but its name says {file.bytes:,}"
            yield Finding(file.path, found)
        if one.missing and not cut:
            total = one.last - one.first + 1
            yield Finding(folder_of(one), f"has lost {one.missing:,} of {total:,} rows")


def in_order(buckets: Iterable[int | None]) -> list[int | None]:
    """Sort buckets; None, the bucket of the streams that belong to no learner, comes last."""
    return sorted(buckets, key=lambda bucket: (bucket is None, bucket))


def folder_of(one: Range) -> str:
    time = one.recorded_at.astimezone(UTC).strftime(_TIME)
    return f"{FOLDER}/{one.first:020}-{one.last:020}-{time}"


def require(storage: Storage) -> Catalogue:
    """Return what the archive has; raise ProgressError if it has no range or lacks rows."""
    found = read(storage)
    for path, problem in map(msgspec.structs.astuple, found.findings):
        raise ArchiveDamaged(f"{path} of the archive {problem}: run `progress archive --now`")
    if not found.ranges:
        raise ProgressError("there is no archive yet: run `progress archive --now`")
    return found


def check_log(connection: Connection, storage: Storage, found: Catalogue) -> None:
    """Raise ProgressError if the archive is not a copy of this log."""
    expected = {one.last: one.recorded_at for one in found.ranges}
    if found.outdated and (manifest := storage.read(MANIFEST)):
        for checkpoint in msgspec.json.decode(manifest.data, type=_FormerManifest).checkpoints:
            expected[checkpoint.position] = checkpoint.recorded_at
    # A log that was restored to an earlier time may hold other events at the archived positions.
    if log_rows.recorded_times(connection, list(expected)) != expected:
        raise ProgressError("the archive is a copy of another log: use another bucket or folder")


def settle(connection: Connection, storage: Storage) -> Catalogue:
    """Return the archive of this log, without what killed processes have left, which is removed.

    The caller holds the archive's lock. A rebuild from the archive holds it, too: so the temporary
    files of rebuilds are of killed ones. Raise ProgressError if this is the archive of another log.
    """
    found = read(storage)
    check_log(connection, storage, found)
    rebuilds = [file.path for file in storage.list_tree(REBUILDS)]
    for path in [*found.unfinished, *found.replaced, *rebuilds]:
        storage.purge(path)
    if found.replaced and not found.outdated:
        storage.purge(MANIFEST)
    return found._replace(unfinished={}, replaced=[])


def remove(storage: Storage, one: Range) -> None:
    """Remove a range; without its last file `others`, which is removed first, it does not count."""
    for file in reversed(one.files):
        storage.purge(file.path)


def store(storage: Storage, one: Range, bucket: int | None, buckets: int, local: LocalFile) -> None:
    """Upload a file of the range, and read it back; raise ArchiveDamaged if it differs."""
    sha256 = files.hash_file(local.path)
    name = "others" if bucket is None else f"{bucket:03}"
    erased = local.erased.rows
    path = (
        f"{folder_of(one)}/{name}-of-{buckets:03}-{local.sums.rows + erased}rows-{erased}erased"
        f"-{local.path.stat().st_size}bytes-{sha256[:_DIGITS]}.parquet"
    )
    files.upload(storage, local.path, path)
    if not storage.has(path) or files.download(storage, path, Path(os.devnull)) != sha256:
        storage.purge(path)
        raise damaged(path)


def fetch_all(storage: Storage, stored: Sequence[File], folder: Path) -> list[Path]:
    """Copy files to the folder, and return their paths; raise ArchiveDamaged if one is damaged."""
    paths = [folder / f"{number}.parquet" for number in range(len(stored))]
    for file, path in zip(stored, paths, strict=True):
        if not storage.has(file.path) or not is_intact(
            file, files.download(storage, file.path, path)
        ):
            raise damaged(file.path)
    return paths


def is_intact(file: File, sha256: str) -> bool:
    return sha256.startswith(file.sha256)


def damaged(path: str) -> ArchiveDamaged:
    """Return the error that reports a file as missing or damaged."""
    return ArchiveDamaged(
        f"{path} of the archive is missing or damaged: remove this file if it exists, and run "
        "`progress archive`"
    )


def location(settings: Settings) -> str:
    """Return the archive's location: the bucket, or a folder on this machine."""
    bucket = settings.archive_bucket
    if not bucket:
        return f"{settings.progress_data_dir}/archive"
    return bucket if bucket.startswith("gs://") else f"gs://{bucket}"


def open_archive(settings: Settings) -> Storage:
    """Open the archive's storage; raise ProgressError if its location is invalid."""
    return storage.open_storage(location(settings))
