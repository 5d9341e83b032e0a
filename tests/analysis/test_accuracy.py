"""The estimated recall predicts the tests of a real log as well as docs/memory.md says.

The tests compute the tables of this page. `pytest -s` prints a table that has changed.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.analysis import questions
from progress.cli import analyse
from progress.demo import classes, loading, sm2
from progress.projections.projector import Projector
from tests.conftest import Store
from tests.oracle import analyses, memory
from tests.oracle.analyses import ItemTest
from tests.oracle.memory import Answer
from tests.support import api, written_archives
from tests.support.api import Api
from tests.support.stage import append

DOCS = Path(__file__).parents[2] / "docs"
PAGE, ANALYSIS = DOCS / "memory.md", DOCS / "analysis.md"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COPY = "CREATE TABLE remembered AS FROM remembered_answers"
_READ = """
SELECT item_id, row_number() OVER (ORDER BY occurred_at, event_id) AS place,
    epoch_us(occurred_at), day, grade, stability_before
FROM remembered ORDER BY item_id, place
"""


class Given(NamedTuple):
    """An answer of the real log; `place` is its place in the log, and `at` its time."""

    item_id: str
    place: int
    at: datetime
    answer: Answer
    stability_before: int | None


class Exam(NamedTuple):
    """A test of the real log.

    `was_wrong` says whether an answer was wrong on the day of the answer before. `former` is the
    recall that Progress estimated before, from the interval by SM-2 at this answer.
    """

    given: Given
    item: ItemTest
    was_wrong: bool
    former: float


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> list[list[Given]]:
    """The answers of each item of the real log, imported, archived and folded in DuckDB."""
    folder = tmp_path_factory.mktemp("archive")
    published = [event for message in loading.messages() for event in message.events]
    envelopes = msgspec.json.decode(msgspec.json.encode(published))
    written_archives.write(storage.open_storage(str(folder)), written_archives.record(envelopes))
    with questions.open_duck() as (duck, _):
        duck.read_until(questions.Days().last)
        duck.add([*folder.rglob("*.parquet")], questions.MEMORY.folds, _COPY)
        rows = duck.run(_READ)
    given = [
        Given(item, place, _EPOCH + timedelta(microseconds=at), Answer(day, grade), stability)
        for item, place, at, day, grade, stability in rows
    ]
    return [[*one] for _, one in groupby(given, key=lambda one: one.item_id)]


@pytest.fixture(scope="module")
def tested(histories: list[list[Given]]) -> list[Exam]:
    found = []
    for history in histories:
        items = iter(analyses.find_item_tests("ann", [one.answer for one in history]))
        interval = None
        for before, one in pairwise(history):
            interval = sm2.repeat(interval, before.at, before.answer.grade)
            if one.answer.day > before.answer.day:
                item = next(items)
                assert one.stability_before is not None
                assert item.stability == math.exp(one.stability_before / memory.UNIT)
                studied = [e.answer for e in history if e.place <= before.place]
                was_wrong = any(
                    not answer.is_correct for answer in studied if answer.day == before.answer.day
                )
                days = (one.at - before.at) // timedelta(hours=1) / 24
                former = 0.9 ** (days / interval.interval_days)
                found.append(Exam(one, item, was_wrong, former))
    return sorted(found, key=lambda exam: exam.given.place)


def test_the_estimates_of_the_last_fifth_of_the_real_log_are_as_good_as_the_page_says(
    tested: list[Exam],
) -> None:
    first, last = tested[: len(tested) * 4 // 5], last_fifth(tested)
    share = sum(exam.item.test.is_correct for exam in first) / len(first)
    assert (len(tested), len(last)) == (6372, 1275)
    assert measure(last, [exam.item.test.predicted for exam in last]) == (0.452, 0.072, 0.659)
    assert measure(last, [share] * len(last)) == (0.485, 0.098, 0.5)
    assert measure(last, [exam.former for exam in last]) == (0.531, 0.122, 0.523)


def last_fifth(tested: list[Exam]) -> list[Exam]:
    return tested[len(tested) * 4 // 5 :]


def measure(exams: list[Exam], estimates: list[float]) -> tuple[float, float, float]:
    """Return the log loss, the RMSE (bins) and the AUC of these estimates."""
    pairs = [*zip([exam.item for exam in exams], estimates, strict=True)]
    tests = [item.test._replace(predicted=estimate) for item, estimate in pairs]
    loss = memory.log_loss(tests, lambda test: test.predicted)
    area = analyses.area_under_curve(tests)
    return round(loss, 3), round(analyses.rmse_bins(pairs), 3), round(area, 3)


_QUESTION = (
    "query ($item: ID!, $at: DateTime) { item(itemId: $item, asOf: $at) { estimatedRecall } }"
)


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
def test_the_api_gives_these_estimates_a_microsecond_before_each_test(
    store: Store, connection: Connection, tested: list[Exam]
) -> None:
    for message in loading.messages():
        append(connection, msgspec.json.decode(msgspec.json.encode(message.events)))
    Projector(connection).catch_up_all()
    exams = last_fifth(tested)
    with api.serve(store.url) as fetch:
        estimates = [ask(fetch, exam.given) for exam in exams]
    assert estimates == [memory.rounded(exam.item.test.predicted, 3) for exam in exams]


def ask(fetch: Api, given: Given) -> float:
    at = (given.at - timedelta(microseconds=1)).isoformat()
    user = loading.LEARNER.user_id
    estimate: float = fetch.data(_QUESTION, user, item=given.item_id, at=at)["item"][
        "estimatedRecall"
    ]
    return estimate


CLASSES: dict[str, Callable[[Exam], bool]] = {
    "all": lambda _: True,
    "after no lapse": lambda one: one.item.lapses == 0,
    "after one lapse": lambda one: one.item.lapses == 1,
    "after 2 or 3 lapses": lambda one: one.item.lapses in {2, 3},
    "after 4 lapses or more": lambda one: one.item.lapses >= 4,
    "one day after a day with a wrong answer": lambda one: one.was_wrong and one.item.gap == 1,
    "two days or more after such a day": lambda one: one.was_wrong and one.item.gap > 1,
    "the first test of an item": lambda one: one.item.earlier == 0,
    "the second to fourth test": lambda one: 1 <= one.item.earlier <= 3,
    "the fifth test or a later one": lambda one: one.item.earlier >= 4,
}


def test_the_page_has_the_accuracy_by_class_of_tests(tested: list[Exam]) -> None:
    constant = sum(one.item.test.is_correct for one in tested) / len(tested)
    check_page(PAGE, (_describe(name, tested, constant) for name in CLASSES))


def _describe(name: str, tested: Sequence[Exam], constant: float) -> str:
    tests = [one.item.test for one in tested if CLASSES[name](one)]
    recalled = sum(test.is_correct for test in tests) / len(tests)
    error = 2 * math.sqrt(recalled * (1 - recalled) / len(tests))
    return (
        f"| {name} | {len(tests):,} | {sum(test.predicted for test in tests) / len(tests):.3f} "
        f"| {recalled:.3f} ± {error:.3f} | {memory.log_loss(tests, lambda t: t.predicted):.3f} "
        f"| {memory.log_loss(tests, lambda _: constant):.3f} |"
    )


@pytest.mark.exhaustive
def test_the_example_of_the_analysis_has_the_learners_of_a_generated_class(tmp_path: Path) -> None:
    """The learners forget as estimated, but for their abilities and the difficulty of the words."""
    made = classes.messages(classes.SIZE, date(2026, 6, 30), datetime(2026, 7, 2, tzinfo=UTC))
    published = [event for message in made for event in message.events]
    envelopes = msgspec.json.decode(msgspec.json.encode(published))
    archive = storage.open_storage(str(tmp_path))
    written_archives.write(archive, written_archives.record(envelopes))
    rows: list[questions.AnalysedMemory] = questions.ask(
        archive, questions.MEMORY, questions.Days(), lambda *_: None
    )
    sums = [row for row in rows if None in {row.age_from, row.stability_from}]
    assert abs(sums[0].estimated_recall - sums[0].actual_recall) < 0.05
    for row in sums:
        assert abs(row.estimated_recall - row.actual_recall) < 0.1
        assert row.tests < 1000 or row.log_loss < row.constant_log_loss
    shown = [row for row in sums if row.stability_from is None]
    cells = ([cell or "all" for cell in analyse.format_cells(row)] for row in shown)
    check_page(ANALYSIS, (f"| {' | '.join(row)} |" for row in cells))


def check_page(page: Path, rows: Iterable[str]) -> None:
    """Check that the page has these lines; print them, so that the page is easy to change."""
    expected = [*rows]
    print(*expected, sep="\n")
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [row for row in expected if row not in lines] == []
