"""The questions across learners and their answers from the archive.

Numbers about fewer than 20 learners are left out. Nor can a reader of a result compute them as the
difference between two of its numbers.
"""

from datetime import date
from typing import Any, Literal, NamedTuple

import msgspec

from progress.adapters.postgres.statements import blocks
from progress.adapters.storage.storage import Storage
from progress.adapters.terminal import ReportProgress
from progress.analysis import buckets
from progress.archive import manifests
from progress.archive.manifests import Published
from progress.errors import ProgressError

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


class Item(msgspec.Struct, frozen=True):
    """The counts for one item, or summed over the reported items of a level or domain.

    `learners` is the number of learners who had a test of the item; the other numbers count only
    these learners. For a level or domain, `learners` is the largest such number among its items,
    and `headword`, `level` and `domains` are None. For an item, `domains` consists of letters, such
    as "RW", or is UNKNOWN.
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


class Question(NamedTuple):
    """A question: its SQL file, the type of its rows, and the folds that it reads."""

    name: str
    row: type[Any]
    folds: tuple[str, ...]
    reads_catalogue: bool = False
    reads_later_days: bool = False


class Days(NamedTuple):
    """The local days from `first` to `last`, both inclusive."""

    first: date = date.min
    last: date = date.max


RETENTION = Question("retention", Retention, (*_DATED, "tests"))
ITEMS = Question("items", Item, (*_DATED, "tests"), reads_catalogue=True)
COHORTS = Question("cohorts", Cohort, (*_DATED, "completions"), reads_later_days=True)


def ask(storage: Storage, question: Question, days: Days, on_progress: ReportProgress) -> list[Any]:
    """Return the question's rows; raise ProgressError if the archive is missing or damaged.

    `days` limits the days of tests and answers; for COHORTS, it limits learners' first study days.
    """
    published = manifests.require(storage)
    try:
        return _ask(storage, published, question, days, on_progress)
    except ProgressError:
        current = manifests.read(storage)
        if current is None or current.generation == published.generation:
            raise
        raise ProgressError(
            "the archive changed while it was being read: run the command again"
        ) from None


def _ask(
    storage: Storage,
    published: Published,
    question: Question,
    days: Days,
    on_progress: ReportProgress,
) -> list[Any]:
    sql = blocks(f"analysis/{question.name}")
    asked = {"first_day": days.first, "last_day": days.last}
    others, groups = buckets.group_files(manifests.read_ranges(storage, published.manifest))
    if not groups:
        return []
    with buckets.open_duck() as (duck, folder):
        duck.read_until(date.max if question.reads_later_days else days.last)
        duck.run(sql["create"])
        if question.reads_catalogue:
            # The question's SQL reads the relations of the catalogue. If no file has the catalogue,
            # they are created from learners' files, which have no rows for them.
            with buckets.fetched(storage, others or groups[0], folder) as paths:
                duck.fold_catalogue(paths)
        for done, group in enumerate(groups):
            on_progress(done, len(groups))
            with buckets.fetched(storage, group, folder) as paths:
                duck.add(paths, question.folds, sql["add"], **asked)
        on_progress(len(groups), len(groups))
        rows = duck.run(sql["rows"], fewest=FEWEST_LEARNERS, **asked)
    return [msgspec.convert(row, question.row, strict=False) for row in _named(question, rows)]


def _named(question: Question, rows: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Return the rows as dicts by field name; their columns are in the order of the fields."""
    return [dict(zip(question.row.__struct_fields__, row, strict=True)) for row in rows]
