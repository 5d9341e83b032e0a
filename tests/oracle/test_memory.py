"""The oracle's numbers about memory agree with examples, properties, a library and a real log."""

import csv
import math
import random
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import fsrs
import pytest

from progress.demo import sm2
from tests.oracle import analyses, memory
from tests.oracle.analyses import ItemTest
from tests.oracle.days import zone
from tests.oracle.memory import DAY, Answer, State

BEGIN = date(2024, 1, 1)  # a Monday
ANKI = Path(__file__).resolve().parents[2] / "data" / "anki_reviews.csv"


def on_days(*answers: tuple[int, bool]) -> list[Answer]:
    return [Answer(BEGIN + days * DAY, 3 if is_correct else 1) for days, is_correct in answers]


def states(answers: list[Answer]) -> list[State]:
    """Return the state after each answer."""
    found: list[State] = []
    for n, one in enumerate(answers):
        gap = max((one.day - answers[n - 1].day).days, 0)
        found.append(
            memory.next_state(found[-1], one.grade, gap) if n else memory.first_state(one.grade)
        )
    assert found[-1:] == [known.state for known in [memory.remember(answers)] if known]
    return found


def test_the_example_of_the_specification() -> None:
    assert states(on_days((0, True), (3, False), (3, True), (10, True))) == [
        (8357312, 21181040),
        (-4512200, 73945028),
        (-3720537, 73823367),
        (17037186, 73701827),
    ]


@pytest.mark.parametrize(
    ("gap", "is_correct", "days", "difficulty"),
    [
        # The expected states are those of py-fsrs.
        (0, True, 2.3065, 2.1112142),
        (0, False, 0.7750840, 7.3945027),
        (2, True, 10.9643323, 2.1112142),
        (2, False, 0.6075801, 7.3945027),
        # A negative gap counts as 0.
        (-1, True, 2.3065, 2.1112142),
        (-1, False, 0.7750840, 7.3945027),
    ],
)
def test_the_gap_decides_the_case(
    *, gap: int, is_correct: bool, days: float, difficulty: float
) -> None:
    state = states(on_days((9, True), (9 + gap, is_correct)))[-1]
    assert (state.days, state.difficulty / 10**7) == pytest.approx((days, difficulty), rel=2e-7)


def test_the_state_has_limits() -> None:
    always = states(on_days(*((n * n * 10, True) for n in range(80))))
    assert always[-1].stability == math.floor(10**7 * math.log(36_500) + 0.5)
    never = states(on_days(*((0, False) for _ in range(80))))
    assert never[-1].stability == math.floor(10**7 * math.log(0.001) + 0.5)
    assert max(state.difficulty for state in never) <= 10**8
    assert states(on_days(*((n, True) for n in range(400))))[-1].difficulty == 10**7


def test_on_its_day_a_correct_answer_is_known_and_a_wrong_one_is_as_a_day_later() -> None:
    for is_correct, today in ((True, 1.0), (False, 0.7662)):
        known = memory.remember(on_days((5, is_correct)))
        assert known
        estimates = [memory.estimate(known, BEGIN + n * DAY) for n in (0, 5, 6)]
        assert estimates[:2] == pytest.approx([today, today], abs=5e-5)
        assert estimates[2] == pytest.approx(memory.recall_after(1, known.state.days))
    assert memory.recall_after(1, 1.0) == pytest.approx(0.9)


def test_rounding_is_half_away_from_zero_of_the_exact_value() -> None:
    assert memory.rounded(0.0625, 3) == 0.063
    assert memory.rounded(0.25, 1) == 0.3
    assert memory.rounded(1.0005, 3) == 1.0  # the double is a little less
    assert memory.rounded(0.0005, 3) == 0.001  # the double is a little more
    assert memory.rounded(23_450.0, -2) == 23_500
    assert memory.millionths(0.0000005) == 0
    assert memory.add([1e16, 1.0, 1.0]) == 1e16


class Review(NamedTuple):
    card: str
    at: datetime
    answer: Answer


@pytest.fixture(scope="module")
def reviews() -> list[Review]:
    """Return the real log in order; days begin at 4 in New York."""
    with ANKI.open(encoding="utf-8") as file:
        rows = [(datetime.fromisoformat(r["review_time"]), r) for r in csv.DictReader(file)]
    local = zone("America/New_York")

    def day(moment: datetime) -> date:
        return (moment.astimezone(local).replace(tzinfo=None) - timedelta(hours=4)).date()

    found = [(at, r["card_id"], r["review_rating"] != "1") for at, r in sorted(rows, key=_moment)]
    return [Review(card, at, Answer(day(at), 3 if right else 1)) for at, card, right in found]


def _moment(row: tuple[datetime, dict[str, str]]) -> datetime:
    return row[0]


def by_card(reviews: Iterable[Review]) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = {}
    for review in reviews:
        found.setdefault(review.card, []).append(review.answer)
    return found


@pytest.fixture(scope="module")
def rated(reviews: list[Review]) -> list[list[Answer]]:
    """The answers of each card of the real log; each that is correct has a drawn rating."""
    draw = random.Random(70)
    return [
        [one._replace(grade=draw.choice((2, 3, 4))) if one.is_correct else one for one in answers]
        for answers in by_card(reviews).values()
    ]


def test_the_states_after_drawn_ratings_are_those_of_py_fsrs(rated: list[list[Answer]]) -> None:
    """Of a card, the answers up to the first hard one on the day of the answer before it.

    py-fsrs then lowers the stability, which ts-fsrs and fsrs-rs do not.
    """
    differences = []
    for answers in rated:
        days = pairwise(answers)
        hard = (n for n, (a, b) in enumerate(days, 1) if b.grade == 2 and b.day <= a.day)
        first = answers[: next(hard, len(answers))]
        for state, (days_known, difficulty) in zip(states(first), in_library(first), strict=True):
            if days_known < 36_500:
                differences.append(
                    (state.days / days_known - 1, state.difficulty / 1e7 - difficulty)
                )
    assert len(differences) == 5_488
    assert max(abs(one) for one, _ in differences) < 2.8e-7
    assert max(abs(one) for _, one in differences) < 3.9e-7


def test_the_states_after_drawn_ratings_are_those_of_exact_arithmetic(
    rated: list[list[Answer]],
) -> None:
    for answers in rated[::20]:
        assert states(answers) == exact_states(answers)


def in_library(answers: Iterable[Answer]) -> Iterator[tuple[float, float]]:
    """Yield the stability and the difficulty after each answer, at midnight of its day."""
    scheduler = fsrs.Scheduler(enable_fuzzing=False)
    card = fsrs.Card(card_id=1)
    for one in answers:
        midnight = datetime(one.day.year, one.day.month, one.day.day, tzinfo=UTC)
        card, _ = scheduler.review_card(card, fsrs.Rating(one.grade), midnight)
        assert card.stability is not None
        assert card.difficulty is not None
        yield card.stability, card.difficulty


def exact_states(answers: Iterable[Answer]) -> list[tuple[int, int]]:
    """Return the states, computed with 30 digits."""
    w = [Decimal(str(one)) for one in memory.W]
    found: list[tuple[int, int]] = []
    before = None
    with localcontext(prec=30):
        factor = Decimal("0.9") ** (-1 / w[20]) - 1
        for one in answers:
            g = one.grade
            if before is None:
                s, d = w[g - 1], w[4] - (w[5] * (g - 1)).exp() + 1
            else:
                s, d = (Decimal(found[-1][0]) / 10**7).exp(), Decimal(found[-1][1]) / 10**7
                t = max((one.day - before.day).days, 0)
                lost = 1 - (1 + factor * t / s) ** -w[20]
                drift = d - (10 - d) * w[6] * (g - 3) / 9
                easy = w[4] - (w[5] * 3).exp() + 1
                if t == 0:
                    grown = (w[17] * (g - 3 + w[18])).exp() * s ** -w[19]
                    s *= max(grown, Decimal(1)) if g >= 2 else grown
                elif g >= 2:
                    grown = w[8].exp() * (11 - d) * s ** -w[9] * ((lost * w[10]).exp() - 1)
                    s *= 1 + grown * {2: w[15], 3: Decimal(1), 4: w[16]}[g]
                else:
                    long = w[11] * d ** -w[12] * ((s + 1) ** w[13] - 1) * (lost * w[14]).exp()
                    s = min(long, s / (w[17] * w[18]).exp())
                d = w[7] * (easy - drift) + drift
            s = min(max(s, Decimal("0.001")), Decimal(36_500))
            d = min(max(d, Decimal(1)), Decimal(10))
            half = Decimal("0.5")
            found.append((math.floor(10**7 * s.ln() + half), math.floor(10**7 * d + half)))
            before = one
    return found


class Exam(NamedTuple):
    """A test of the real log, with the review by SM-2 at the answer before: its interval, its age.

    `hours` are those since this answer.
    """

    item: ItemTest
    interval_days: int
    hours: int


def find_exams(reviews: list[Review]) -> list[Exam]:
    """Return the tests of the log in its order."""
    found: list[tuple[datetime, Exam]] = []
    histories: dict[str, list[Review]] = {}
    for review in reviews:
        histories.setdefault(review.card, []).append(review)
    for history in histories.values():
        tests = iter(analyses.find_item_tests("ann", [one.answer for one in history]))
        interval = None
        for before, one in pairwise(history):
            interval = sm2.repeat(interval, before.at, before.answer.grade)
            if one.answer.day > before.answer.day:
                hours = (one.at - before.at) // timedelta(hours=1)
                found.append((one.at, Exam(next(tests), interval.interval_days, hours)))
    return [exam for _, exam in sorted(found, key=lambda pair: pair[0])]


@pytest.mark.parametrize(
    ("name", "loss", "rmse", "auc"),
    [
        ("former", 0.5313, 0.1222, 0.523),
        ("constant", 0.4846, 0.0976, 0.500),
        ("fsrs", 0.4519, 0.0722, 0.659),
    ],
)
def test_the_estimates_are_as_good_on_the_real_log_as_the_specification_says(
    reviews: list[Review], name: str, loss: float, rmse: float, auc: float
) -> None:
    exams = find_exams(reviews)
    first, last = exams[: len(exams) * 4 // 5], exams[len(exams) * 4 // 5 :]
    share = sum(exam.item.test.is_correct for exam in first) / len(first)
    predict: dict[str, Callable[[Exam], float]] = {
        "former": lambda exam: 0.9 ** (exam.hours / (24 * exam.interval_days)),
        "constant": lambda _: share,
        "fsrs": lambda exam: exam.item.test.predicted,
    }
    assert (len(exams), len(last)) == (6372, 1275)
    tests = [exam.item.test._replace(predicted=predict[name](exam)) for exam in last]
    assert round(memory.log_loss(tests, lambda test: test.predicted), 4) == loss
    assert round(analyses.rmse_bins((exam.item, predict[name](exam)) for exam in last), 4) == rmse
    assert round(analyses.area_under_curve(tests), 3) == auc
