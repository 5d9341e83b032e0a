"""The oracle's states of memory are those of the specification and of a library."""

import csv
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path

import fsrs

from tests.oracle import memory
from tests.oracle.memory import DAY, Answer, State

ANKI = Path(__file__).resolve().parents[2] / "data" / "anki_reviews.csv"


def states(answers: list[Answer]) -> list[State]:
    found: list[State] = []
    for n, one in enumerate(answers):
        gap = max((one.day - answers[n - 1].day).days, 0)
        found.append(
            memory.next_state(found[-1], one.grade, gap) if n else memory.first_state(one.grade)
        )
    assert found[-1:] == [known.state for known in [memory.remember(answers)] if known]
    return found


def test_the_example_of_the_specification() -> None:
    days = [date(2024, 1, 1) + n * DAY for n in (0, 3, 3, 10)]
    assert states([Answer(*one) for one in zip(days, (3, 1, 3, 3), strict=True)]) == [
        (8357312, 21181040),
        (-4512200, 73945028),
        (-3720537, 73823367),
        (17037186, 73701827),
    ]


def test_rounding_is_half_away_from_zero_of_the_exact_value() -> None:
    assert memory.rounded(0.0625, 3) == 0.063
    assert memory.rounded(0.25, 1) == 0.3
    assert memory.rounded(1.0005, 3) == 1.0  # the double is a little less
    assert memory.rounded(0.0005, 3) == 0.001  # the double is a little more
    assert memory.rounded(23_450.0, -2) == 23_500
    assert memory.millionths(0.0000005) == 0
    assert memory.add([1e16, 1.0, 1.0]) == 1e16


def draw_ratings() -> Iterable[list[Answer]]:
    """Return the answers of each card of the real log, with drawn ratings of the correct ones."""
    with ANKI.open(encoding="utf-8") as file:
        rows = [(datetime.fromisoformat(r["review_time"]), r) for r in csv.DictReader(file)]
    draw, cards = random.Random(70), defaultdict(list)
    for moment, row in sorted(rows, key=lambda one: one[0]):
        grade = 1 if row["review_rating"] == "1" else draw.choice((2, 3, 4))
        cards[row["card_id"]].append(Answer(moment.astimezone(UTC).date(), grade))
    return cards.values()


def test_the_states_after_drawn_ratings_are_those_of_py_fsrs() -> None:
    """Of a card, the answers up to the first hard one on the day of the answer before it.

    py-fsrs then lowers the stability, which ts-fsrs and fsrs-rs do not.
    """
    differences = []
    for answers in draw_ratings():
        days = pairwise(answers)
        hard = (n for n, (a, b) in enumerate(days, 1) if b.grade == 2 and b.day <= a.day)
        first = answers[: next(hard, len(answers))]
        for state, (days_known, difficulty) in zip(states(first), in_library(first), strict=True):
            if days_known < 36_500:
                differences.append(
                    (state.days / days_known - 1, state.difficulty / 1e7 - difficulty)
                )
    assert len(differences) > 5_000
    assert max(abs(one) for one, _ in differences) < 2.8e-7
    assert max(abs(one) for _, one in differences) < 3.9e-7


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
