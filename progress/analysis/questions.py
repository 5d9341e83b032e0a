"""The questions across learners and their answers from the archive.

Numbers about fewer than 20 learners are left out. Nor can a reader of a result compute them as the
difference between two of its numbers.

All events of a learner are in one bucket of the archive. Groups of buckets are folded in DuckDB,
one after another, and their counts of learners are added up. Memory does not grow with the archive.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from progress.adapters.postgres.statements import blocks, fill
from progress.adapters.storage.storage import Storage
from progress.adapters.terminal import ReportProgress
from progress.analysis import disclosure
from progress.archive import catalogue, files
from progress.archive.catalogue import Catalogue, File
from progress.errors import ProgressError
from progress.event_store import time_zones
from progress.projections import definitions, schema

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


_SHARED = "analysis/log"
_MEMORY = "2GB"
_GROUP_BYTES = 64 << 20  # total size of the Parquet files that are folded together


class Duck:
    """A DuckDB connection, with the constant tables that the definitions read."""

    def __init__(self, connection: "DuckDBPyConnection") -> None:
        self._connection = connection
        self._has_events = False
        self._folds = {**definitions.fold_statements("duckdb"), "tests": blocks(_SHARED)["tests"]}
        self.run(definitions.zone_statement("duckdb"), rules=time_zones.encode_rules())
        self.run(blocks(_SHARED)["poisoned"])

    def read_until(self, last_day: date) -> None:
        """Skip answers, reviews and sessions that occurred at least three days after `last_day`.

        Days are counted in UTC. The skipped events are after `last_day` in every time zone.
        """
        self.run(blocks(_SHARED)["read until"], last_day=last_day)

    def fold_catalogue(self, paths: Sequence[Path]) -> None:
        """Create the relations `items` and `item_places` from the files that hold the catalogue."""
        with self._folded(paths, []):
            for name in ("items", "item_places"):
                self.run(self._folds[name])

    def add(
        self, paths: Sequence[Path], folds: Sequence[str], statement: str, **values: object
    ) -> None:
        """Fold the files of some buckets, and run the statement, which reads these folds."""
        with self._folded(paths, folds):
            self.run(statement, **values)

    def run(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        """Run the statement and return its rows; ignore values that the statement does not name."""
        named = {name: value for name, value in values.items() if f"${name}" in statement}
        return files.execute(self._connection, statement, named)

    @contextlib.contextmanager
    def _folded(self, paths: Sequence[Path], folds: Sequence[str]) -> Iterator[None]:
        """Let the view `facts` read the files, and create the folds' tables for the block."""
        self.run(blocks(_SHARED)["read files"], files=[str(path) for path in paths])
        self.run(fill(_SHARED, "log", **schema.parts()))
        if not self._has_events:  # DuckDB cannot create the view before `files` is set.
            # The projections leave out poisoned events, on which a fold failed, but the archive has
            # them. A value of such an event becomes null if the value cannot be cast.
            for statement in definitions.event_statements("duckdb", cast="TRY_CAST"):
                self.run(statement)
            self._has_events = True
        for name in folds:
            self.run(self._folds[name])
        yield
        for name in folds:
            kind = "VIEW" if name in definitions.VIEWS else "TABLE"
            self.run(fill(_SHARED, "drop", kind=kind, table=name))


@contextlib.contextmanager
def open_duck() -> Iterator[tuple[Duck, Path]]:
    """Open a DuckDB for the `with` block, with a temporary folder for files."""
    with files.open_folder() as folder:
        threads = os.cpu_count() or 1
        with files.open_duck(folder, memory=_MEMORY, threads=threads) as connection:
            yield Duck(connection), folder


def group_files(found: Sequence[File]) -> tuple[list[File], list[list[File]]]:
    """Return the files whose events have no learner, and the other files in groups.

    The files of a bucket are in one group. A group's size is at most 64 MiB, unless a single bucket
    is larger.
    """
    by_bucket: dict[int | None, list[File]] = {}
    for file in found:
        by_bucket.setdefault(file.bucket, []).append(file)
    others = by_bucket.pop(None, [])
    groups: list[list[File]] = []
    size = _GROUP_BYTES
    for bucket in by_bucket.values():
        added = sum(file.bytes for file in bucket)
        if size + added > _GROUP_BYTES:
            groups.append([])
            size = 0
        groups[-1] += bucket
        size += added
    return others, groups


@contextlib.contextmanager
def fetched(storage: Storage, stored: Sequence[File], folder: Path) -> Iterator[list[Path]]:
    """Copy the files into the folder, and remove the copies after the `with` block.

    Raise ProgressError if a file is missing or damaged.
    """
    paths = catalogue.fetch_all(storage, stored, folder)
    yield paths
    for path in paths:
        path.unlink()


FEWEST_LEARNERS = 20

_DATED = (
    *("deleted_learners", "preferences", "zones_in_force"),
    *("known_learners", "shifts", "dated_facts"),
)


class Retention(msgspec.Struct, frozen=True):
    """The tests of one maturity in one week; docs/analysis.md defines "test" and "maturity".

    `week` is the week's Monday. `retention_rate` is the share of tests that were recalled, from 0
    to 1.
    """

    week: date
    maturity: Literal["YOUNG", "MATURE"]
    learners: int
    asked: int
    recalled: int
    retention_rate: float


class PlaceRetention(Retention, frozen=True, kw_only=True):
    """The tests of one maturity in one week, of the items of the level or domain `name`."""

    name: str


class Item(msgspec.Struct, frozen=True):
    """The counts for one item, or summed over the items of a level or domain.

    `learners` is the number of learners who had a test of the item; the other numbers count only
    these learners. For a level or domain, `learners` is the largest such number among its reported
    items, or the number of learners of its other items together, if that is larger; `headword`,
    `level` and `domains` are None. For an item, `domains` consists of letters, such as "RW", or is
    UNKNOWN. `complete` is false if the numbers count only the reported items of the level or
    domain.
    """

    kind: Literal["item", "level", "domain"]
    name: str
    headword: str | None
    level: str | None
    domains: str | None
    learners: int
    asked: int
    recalled: int
    retention_rate: float
    answers: int
    correct_answers: int
    complete: bool


class Cohort(msgspec.Struct, frozen=True):
    """A week of a cohort; `cohort` is the Monday of the week in which its learners first studied.

    `week` is 0 for the cohort's first week. `active` is the number of the cohort's `learners` who
    have a study day in the week. `active` and `active_rate` are None if fewer than 20 learners are
    active, or if 1 to 19 learners are inactive.
    """

    cohort: date
    week: int
    learners: int
    active: int | None
    active_rate: float | None


class AnalysedMemory(msgspec.Struct, frozen=True):
    """The tests of recall of one class of items; docs/analysis.md defines "test" and the classes.

    `age_from` and `stability_from` are the shortest age and stability of the class, in days. If one
    of them is None, the row sums up the reported classes, and `learners` is the largest number of
    learners of a class. Recalls are shares from 0 to 1, and losses use the natural logarithm.
    """

    age_from: int | None
    stability_from: int | None
    learners: int
    tests: int
    recalled: int
    actual_recall: float
    estimated_recall: float
    log_loss: float
    constant_log_loss: float
    rmse_bins: float
    constant_rmse_bins: float


class Question(NamedTuple):
    """A question: its SQL file, the type of its rows, and the folds that it reads."""

    name: str
    row: type[Any]
    folds: tuple[str, ...]
    reads_catalogue: bool = False
    reads_later_days: bool = False
    by: Literal["level", "domain"] | None = None


class Days(NamedTuple):
    """The local days from `first` to `last`, both inclusive."""

    first: date = date.min
    last: date = date.max


RETENTION = Question("retention", Retention, (*_DATED, "tests"))
RETENTION_BY_LEVEL = Question(
    "retention_by", PlaceRetention, RETENTION.folds, reads_catalogue=True, by="level"
)
RETENTION_BY_DOMAIN = RETENTION_BY_LEVEL._replace(by="domain")
ITEMS = Question("items", Item, (*_DATED, "tests"), reads_catalogue=True)
COHORTS = Question("cohorts", Cohort, (*_DATED, "completions"), reads_later_days=True)
MEMORY = Question("memory", AnalysedMemory, (*_DATED, "given_answers", "remembered_answers"))


def ask(storage: Storage, question: Question, days: Days, on_progress: ReportProgress) -> list[Any]:
    """Return the question's rows; raise ProgressError if the archive is missing or damaged.

    `days` limits the days of tests and answers; for COHORTS, it limits learners' first study days.
    """
    found = catalogue.require(storage)
    try:
        return _ask(storage, found, question, days, on_progress)
    except ProgressError:
        if catalogue.read(storage).files == found.files:
            raise
        why = "the archive changed while it was being read: run the command again"
        raise ProgressError(why) from None


def _ask(
    storage: Storage,
    found: Catalogue,
    question: Question,
    days: Days,
    on_progress: ReportProgress,
) -> list[Any]:
    sql = blocks(f"analysis/{question.name}")
    dates = {"first_day": days.first, "last_day": days.last}
    asked = dates | {"fewest": FEWEST_LEARNERS, "by": question.by}
    others, groups = group_files(found.files)
    if not groups:
        return []
    with open_duck() as (duck, folder):
        duck.read_until(date.max if question.reads_later_days else days.last)
        duck.run(sql["create"])
        if question.reads_catalogue:
            # The question's SQL reads the relations of the catalogue. If no file has the catalogue,
            # they are created from learners' files, which have no rows for them.
            with fetched(storage, others or groups[0], folder) as paths:
                duck.fold_catalogue(paths)
        for done, group in enumerate(groups):
            on_progress(done, len(groups))
            with fetched(storage, group, folder) as paths:
                duck.add(paths, question.folds, sql["add"], **asked)
        on_progress(len(groups), len(groups))
        left_out: list[str] = []
        if question.by:
            left_out = _find_left_out_places(duck, sql)
        elif "hidden" in sql:
            left_out = _find_left_out(duck, sql)
        rows = duck.run(sql["rows"], left_out=left_out, **asked)
    names = question.row.__struct_fields__  # the columns are in the order of the fields
    named = [dict(zip(names, row, strict=True)) for row in rows]
    return [msgspec.convert(row, question.row, strict=False) for row in named]


def _find_left_out(duck: Duck, sql: Mapping[str, str]) -> list[str]:
    """Return the levels and domains that must not count their hidden items, as "level A1"."""
    duck.run(sql["counted"], fewest=FEWEST_LEARNERS)
    duck.run(sql["places"])
    hidden = [
        disclosure.HiddenItems(level, tuple(domains), frozenset(learners))
        for level, domains, learners in duck.run(sql["hidden"])
    ]
    return disclosure.find_left_out(hidden, FEWEST_LEARNERS)


def _find_left_out_places(duck: Duck, sql: Mapping[str, str]) -> list[str]:
    """Return the levels or domains that must not have a row, as "2024-03-04 YOUNG A1".

    The row of a week and maturity without `by` counts all cells, so that it is the cells' level.
    """
    weeks: dict[str, list[disclosure.HiddenItems]] = {}
    for week, maturity, places, learners in duck.run(sql["hidden"], fewest=FEWEST_LEARNERS):
        cell = disclosure.HiddenItems("all", tuple(places), frozenset(learners))
        weeks.setdefault(f"{week} {maturity}", []).append(cell)
    return [
        f"{week} {name.removeprefix('domain ')}"
        for week, cells in weeks.items()
        for name in disclosure.find_left_out(cells, FEWEST_LEARNERS)
    ]
