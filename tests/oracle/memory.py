"""What a learner still knows: the state of each item by FSRS-6, and every number that follows.

A state is two integers. All functions between two states are those of doubles, and each answer
ends with rounding, so that the states are equal on every machine.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import zip_longest
from typing import NamedTuple

from tests.oracle.catalogue import LEVELS, Description, descriptions, language_of, out_of_play
from tests.oracle.days import curve_weeks, day, day_of, week
from tests.oracle.events import Row, World, defines_by_learner, defines_field, grade
from tests.oracle.groups import members
from tests.oracle.items import item as find_item
from tests.oracle.items import item_stats

W = (
    *(0.212, 1.2931, 2.3065, 8.2956, 6.4133, 0.8334, 3.0194, 0.001, 1.8722, 0.1666, 0.796),
    *(1.4835, 0.0614, 0.2629, 1.6483, 0.6014, 1.8729, 0.5425, 0.0912, 0.0658, 0.1542),
)
UNIT = 10**7  # The state is stored in these parts of ln(days) and of the difficulty.
FACTOR = 0.9 ** (-1 / W[20]) - 1
DAY = timedelta(days=1)

FADING_BELOW = 0.7
FEWEST_FADING = 3  # members
FEWEST_TESTS = 50
FEWEST_LEARNERS = 20
BINS = 10


class Answer(NamedTuple):
    day: date
    grade: int  # 1 again, 2 hard, 3 good, 4 easy

    @property
    def is_correct(self) -> bool:
        return self.grade >= 2


class State(NamedTuple):
    """`stability` is in parts of ln(days), `difficulty` in parts; see UNIT."""

    stability: int
    difficulty: int

    @property
    def days(self) -> float:
        """Return S: after so many days, the recall is 0.9."""
        return math.exp(self.stability / UNIT)


class Memory(NamedTuple):
    """The state after an item's answers, and the last of these."""

    state: State
    last: Answer


class RecallTest(NamedTuple):
    """An answer on a later day than the one before it, with the recall predicted for it."""

    day: date
    is_correct: bool
    predicted: float


def recall_after(days: int, stability: float) -> float:
    return float((1 + FACTOR * days / stability) ** -W[20])


def first_state(grade: int) -> State:
    return _state(W[grade - 1], W[4] - math.exp(W[5] * (grade - 1)) + 1)


def next_state(before: State, grade: int, gap: int) -> State:
    """Return the state after an answer of `grade` 1 to 4, `gap` days later."""
    s, d = before.days, before.difficulty / UNIT
    if gap == 0:
        increase = math.exp(W[17] * (grade - 3 + W[18])) * s ** -W[19]
        stability = s * (max(increase, 1) if grade >= 2 else increase)
    elif grade == 1:
        forgotten = 1 - recall_after(gap, s)
        stability = min(
            W[11] * d ** -W[12] * ((s + 1) ** W[13] - 1) * math.exp(forgotten * W[14]),
            s / math.exp(W[17] * W[18]),
        )
    else:
        forgotten = 1 - recall_after(gap, s)
        growth = math.exp(W[8]) * (11 - d) * s ** -W[9] * (math.exp(forgotten * W[10]) - 1)
        stability = s * (1 + growth * {2: W[15], 3: 1, 4: W[16]}[grade])
    damped = d + (10 - d) * (-W[6] * (grade - 3)) / 9
    return _state(stability, W[7] * ((W[4] - math.exp(W[5] * 3) + 1) - damped) + damped)


def _state(stability: float, difficulty: float) -> State:
    logarithm = math.log(min(max(stability, 0.001), 36_500))
    limited = min(max(difficulty, 1), 10)
    return State(math.floor(UNIT * logarithm + 0.5), math.floor(UNIT * limited + 0.5))


def _gap(before: Answer, answer: Answer) -> int:
    return max((answer.day - before.day).days, 0)


def remember(answers: Iterable[Answer]) -> Memory | None:
    """Return the memory after an item's answers, which are in order; None without an answer."""
    memory = None
    for answer in answers:
        memory = remember_next(memory, answer)
    return memory


def remember_next(memory: Memory | None, answer: Answer) -> Memory:
    if memory is None:
        return Memory(first_state(answer.grade), answer)
    return Memory(next_state(memory.state, answer.grade, _gap(memory.last, answer)), answer)


def estimate(memory: Memory, on: date) -> float:
    """Return the estimated recall on a day; days before the last answer are as its own day."""
    days = max((on - memory.last.day).days, 0)
    if days == 0 and memory.last.is_correct:
        return 1.0
    return recall_after(days or 1, memory.state.days)


def find_tests(answers: Sequence[Answer]) -> Iterator[RecallTest]:
    """Yield the tests among an item's answers, which are in order."""
    for n, answer in enumerate(answers):
        before = remember(answers[:n])
        if before and (gap := _gap(before.last, answer)) > 0:
            yield RecallTest(answer.day, answer.is_correct, recall_after(gap, before.state.days))


def histories(world: World, user_id: str) -> dict[str, list[Answer]]:
    """Return the answers of each answered item, in order; the items are in the order of ids."""
    found: dict[str, list[Answer]] = {}
    for event in world.answers(user_id):
        answer = Answer(day(world, event), grade(event))
        found.setdefault(event.data["item_id"], []).append(answer)
    return dict(sorted(found.items()))


def memories(world: World, user_id: str, until: date = date.max) -> dict[str, Memory]:
    found = {
        item: remember(answer for answer in answers if answer.day <= until)
        for item, answers in histories(world, user_id).items()
    }
    return {item: memory for item, memory in found.items() if memory}


@defines_by_learner("memory")
def stored_memories(world: World, user_id: str) -> dict[str, Row]:
    """Return the columns of item_stats about the memory of each answered item."""
    return {
        item: {
            **memory.state._asdict(),
            "answered_on": memory.last.day,
            "last_correct": memory.last.is_correct,
        }
        for item, memory in memories(world, user_id).items()
    }


@defines_by_learner("calibration_days")
def calibration_days(world: World, user_id: str) -> dict[str, Row]:
    """Return the sums of the tests by day and bin; `predicted` and `loss` are in millionths."""
    tests: dict[tuple[date, int], list[RecallTest]] = {}
    for answers in histories(world, user_id).values():
        for test in find_tests(answers):
            tests.setdefault((test.day, bin_of(test)), []).append(test)
    return {
        f"{day} {number}": {
            "tests": len(found),
            "correct": sum(test.is_correct for test in found),
            "predicted": sum(millionths(test.predicted) for test in found),
            "loss": sum(loss(test.is_correct, test.predicted) for test in found),
        }
        for (day, number), found in tests.items()
    }


@defines_by_learner("knowledge_weeks")
def knowledge_weeks(world: World, user_id: str) -> dict[date, Row]:
    """Return the rows of the weeks up to the latest answer; `expected` is in millionths."""
    items = histories(world, user_id)
    days = [answer.day for answers in items.values() for answer in answers]
    rows = {}
    monday = week(min(days))[0] if days else date.max
    while days and monday <= max(days):
        end = week(monday)[1]
        known = [remember(a for a in answers if a.day <= end) for answers in items.values()]
        estimates = [estimate(memory, end) for memory in known if memory]
        rows[monday] = {"items": len(estimates), "expected": millionths(add(estimates))}
        monday += 7 * DAY
    return rows


def item_memory(world: World, user_id: str, item_id: str) -> Row:
    memory = memories(world, user_id).get(item_id)
    if memory is None:
        return {"estimated_recall": None, "memory": None}
    today = day_of(world, user_id, world.now)
    stability = memory.state.days
    return {
        "estimated_recall": rounded(estimate(memory, today), 3),
        "memory": {
            "stability_days": rounded(stability, 2 - Decimal(stability).adjusted()),
            "difficulty": float(_round(Decimal(memory.state.difficulty) / UNIT, 2)),
            "answered_on": memory.last.day,
        },
    }


def remembered_item(world: World, user_id: str, item_id: str) -> Row | None:
    """Return the item's row as others see it, with what is remembered; None if it is unknown."""
    row = find_item(world, user_id, item_id)
    return row and {**row, **item_memory(world, user_id, item_id), "own": False}


def fading(world: World, user_id: str, on: date | None = None) -> set[str]:
    """Return the items that the filter FADING lists on a day; the default is today."""
    when = on or day_of(world, user_id, world.now)
    learned = {event.data["item_id"] for event in world.correct(user_id)}
    learned -= out_of_play(world, user_id)
    return {
        item
        for item, memory in memories(world, user_id).items()
        if item in learned and estimate(memory, when) < FADING_BELOW
    }


def by_recall(world: World, user_id: str) -> list[str]:
    """Return the learner's items in the order RECALL: lowest first, without an answer last."""
    today = day_of(world, user_id, world.now)
    known = {item: estimate(m, today) for item, m in memories(world, user_id).items()}
    return sorted(item_stats(world, user_id), key=lambda item: (known.get(item, 2.0), item))


def knowledge(
    world: World, user_id: str, on: date | None = None, language: str | None = None
) -> Row:
    """Return what the learner still knows on a day, without further study; also by level.

    With `language`, count only items in this language.
    """
    when = on or day_of(world, user_id, world.now)
    known = {
        item: memory
        for item, memory in memories(world, user_id).items()
        if language in (None, language_of(world, item))
    }
    faded = fading(world, user_id, when)
    levels: dict[str, list[str]] = {level: [] for level in (*LEVELS, "UNKNOWN")}
    described = descriptions(world)
    for item in known:
        levels[described.get(item, Description()).level].append(item)

    def total(items: Iterable[str]) -> Row:
        listed = list(items)
        return {
            "items": len(listed),
            "expected": rounded(add(estimate(known[item], when) for item in listed), 1),
            "fading": sum(item in faded for item in listed),
        }

    return {
        "on": when,
        **total(known),
        "levels": [{"level": name, **total(items)} for name, items in levels.items() if items],
    }


INTERVALS = (0, 2, 4, 7, 14, 21, 60, 180)


@defines_field
def item_distribution(world: World, user_id: str) -> list[Row]:
    """Return how many items lie in each range of intervals (days) and each tenth of recall."""
    today = day_of(world, user_id, world.now)
    intervals = [row["interval_days"] for row in item_stats(world, user_id).values()]
    known = [rounded(estimate(m, today), 3) for m in memories(world, user_id).values()]
    ends = [*INTERVALS[1:], None]
    rows: list[tuple[str, float, float | None, int]] = [
        (
            "INTERVAL_DAYS",
            low,
            high,
            sum(n is not None and low <= n and (high is None or n < high) for n in intervals),
        )
        for low, high in zip(INTERVALS, ends, strict=True)
    ]
    for n in range(10):
        low, high = n / 10, (n + 1) / 10 if n < 9 else None
        found = sum(low <= recall and (high is None or recall < high) for recall in known)
        rows.append(("RECALL", low, high, found))
    names = ("measure", "at_least", "below", "items")
    return [dict(zip(names, row, strict=True)) for row in rows]


def knowledge_curve(world: World, user_id: str, first: date, last: date) -> list[Row]:
    """Return a point for each ISO week with its Monday from `first` to `last`."""
    points = []
    for monday, end, until in curve_weeks(world, user_id, world.answers(user_id), first, last):
        known = memories(world, user_id, until).values()
        expected = rounded(add(estimate(memory, end) for memory in known), 1)
        points.append({"start": monday, "end": end, "items": len(known), "expected": expected})
    return points


def item_forgetting(world: World, user_id: str, item_id: str, days: int = 30) -> list[Row]:
    """Return the estimates of an item on days with answers, between and after them, by date."""
    answers = histories(world, user_id).get(item_id, [])
    today = day_of(world, user_id, world.now)
    last = today + days * DAY
    answered = sorted({a.day for a in answers if a.day >= today - 730 * DAY})
    points: dict[date, tuple[float | None, float]] = {}
    quiet = {last}
    for one, following in zip_longest(answered, answered[1:]):
        places = [n for n, answer in enumerate(answers) if answer.day == one]
        before, after = remember(answers[: places[0]]), remember(answers[: places[-1] + 1])
        assert after
        points[one] = before and estimate(before, one), estimate(after, one)
        later = {one + 2**n * DAY for n in range(10)}
        quiet |= {other for other in later if following is None or other < following}
    for one in quiet - points.keys():
        memory = remember(answer for answer in answers if answer.day <= one)
        if memory:
            points[one] = estimate(memory, one), estimate(memory, one)
    return [
        {
            "date": one,
            "before": None if before is None else rounded(before, 3),
            "after": rounded(after, 3),
        }
        for one, (before, after) in sorted(points.items())
        if one <= last
    ]


def calibration(world: World, user_id: str) -> Row | None:
    return calibrate(last_tests(world, user_id))


def calibration_of_all(world: World) -> Row | None:
    tests = [found for user in world.learners if (found := last_tests(world, user))]
    if len(tests) < FEWEST_LEARNERS:
        return None
    return calibrate([test for found in tests for test in found])


def last_tests(world: World, user_id: str) -> list[RecallTest]:
    today = day_of(world, user_id, world.now)
    return [
        test
        for answers in histories(world, user_id).values()
        for test in find_tests(answers)
        if today - 364 * DAY <= test.day <= today
    ]


def calibrate(tests: Sequence[RecallTest]) -> Row | None:
    if len(tests) < FEWEST_TESTS:
        return None
    share = sum(test.is_correct for test in tests) / len(tests)
    binned: list[list[RecallTest]] = [[] for _ in range(BINS)]
    for test in tests:
        binned[bin_of(test)].append(test)
    return {
        "tests": len(tests),
        "log_loss": log_loss(tests, lambda test: test.predicted),
        "constant_log_loss": log_loss(tests, lambda _: share),
        "bins": [
            {"from": n / BINS, "to": (n + 1) / BINS, **_bin(found)}
            for n, found in enumerate(binned)
        ],
    }


def bin_of(test: RecallTest) -> int:
    return min(BINS * millionths(test.predicted) // 10**6, BINS - 1)


def _bin(tests: list[RecallTest]) -> Row:
    if not tests:
        return {"tests": 0, "predicted": None, "recalled": None}
    return {
        "tests": len(tests),
        "predicted": sum(millionths(test.predicted) for test in tests) / len(tests) / 10**6,
        "recalled": sum(test.is_correct for test in tests) / len(tests),
    }


def log_loss(tests: Sequence[RecallTest], predict: Callable[[RecallTest], float]) -> float:
    """Return the mean loss, in natural logarithms; each loss is rounded to 6 decimals."""
    return sum(loss(test.is_correct, predict(test)) for test in tests) / len(tests) / 10**6


def loss(is_correct: bool, predicted: float) -> int:
    """Return the loss of a prediction in millionths."""
    p = min(max(predicted, 0.001), 0.999)
    return millionths(-math.log(p if is_correct else 1 - p))


def group_knowledge(world: World, group_id: str) -> Row:
    estimates = [
        estimate(memory, day_of(world, user, world.now))
        for user in sorted(members(world, group_id))
        for memory in memories(world, user).values()
    ]
    return {"items": len(estimates), "expected": rounded(add(estimates), 1)}


def items_fading(world: World, group_id: str, first: int = 10) -> list[Row]:
    users = members(world, group_id)
    faded = [item for user in users for item in fading(world, user)]
    answered = [item for user in users for item in memories(world, user)]
    described = descriptions(world)
    rows: list[Row] = [
        {
            "item_id": item,
            "headword": described.get(item, Description()).headword or None,
            "level": described.get(item, Description()).level,
            "learners": faded.count(item),
            "answered": answered.count(item),
        }
        for item in set(faded)
        if faded.count(item) >= FEWEST_FADING
    ]
    return sorted(rows, key=lambda row: (-row["learners"], row["item_id"]))[:first]


def add(values: Iterable[float]) -> float:
    """Return the sum in the given order; from Python 3.12, sum() would correct its errors."""
    total = 0.0
    for value in values:
        total += value
    return total


def rounded(value: float, places: int) -> float:
    """Return the double's exact value, rounded to decimal places, half away from zero."""
    return float(_round(Decimal(value), places))


def millionths(value: float) -> int:
    return int(_round(Decimal(value), 6).scaleb(6))


def _round(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
