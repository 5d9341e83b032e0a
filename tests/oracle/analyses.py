"""The expected results of the analyses across learners.

A number that describes fewer than `fewest` learners is left out or hidden.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from tests.oracle import memory as memories
from tests.oracle.catalogue import Description, descriptions, names
from tests.oracle.days import day, study_days
from tests.oracle.days import week as week_of
from tests.oracle.events import Row, World, grade
from tests.oracle.memory import Answer, RecallTest
from tests.oracle.retention import RetentionTest, find_tests

Cell = tuple[str, ...]
Counts = tuple[int | None, ...]  # None: a hidden number
Range = tuple[date, date]


def retention(world: World, days: Range, fewest: int) -> dict[Cell, Counts]:
    cells = defaultdict(list)
    for test in tests_on(world, days):
        cells[week_of(test.day)[0].isoformat(), test.maturity].append(test)
    counted = {cell: _count(found) for cell, found in cells.items()}
    return {cell: counts for cell, counts in counted.items() if counts[0] >= fewest}


def retention_by(kind: str, world: World, days: Range, fewest: int) -> dict[Cell, Counts]:
    """Return (learners, asked, recalled) by week, maturity, and level or domain.

    A row is left out if rows, those of `retention` among them, could tell of few learners.
    """
    described = descriptions(world)
    weeks: dict[Cell, dict[Cell, list[RetentionTest]]] = defaultdict(lambda: defaultdict(list))
    for test in tests_on(world, days):
        description = described.get(test.answer.data["item_id"], Description())
        places = tuple(names(description, kind))
        weeks[week_of(test.day)[0].isoformat(), test.maturity][places].append(test)
    cells: dict[Cell, Counts] = {}
    for week, found in weeks.items():
        learners = {
            "+".join(places): {str(test.answer.user_id) for test in tests}
            for places, tests in found.items()
        }
        groups: dict[Cell, set[str]] = {("level", "all"): {*learners}}
        for places in found:
            for place in places:
                groups.setdefault(("domain", place), set()).add("+".join(places))
        left_out = _find_left_out(groups, learners, fewest)
        for _, place in groups.keys() - left_out - {("level", "all")}:
            tests = [test for places in found if place in places for test in found[places]]
            cells[*week, place] = _count(tests)
    return cells


def items(world: World, days: Range, fewest: int) -> dict[Cell, Counts]:
    """Return (learners, asked, recalled, answers, correct answers) by kind and name.

    The kind is "item", "level" or "domain"; the name of an item is its id. An item is returned if
    at least `fewest` learners were tested on it. A level or domain also counts its other items,
    unless a reader could then compute numbers about fewer learners from sums and differences of
    rows. Its number of learners is the largest number of learners among its returned items and of
    its other items together.
    """
    described = descriptions(world)
    by_item = defaultdict(list)
    for test in tests_on(world, days):
        by_item[test.answer.data["item_id"]].append(test)
    counts = {
        item: (*_count(tests), *_count_answers(world, tests, days))
        for item, tests in by_item.items()
    }
    learners = {
        item: {str(test.answer.user_id) for test in by_item[item]}
        for item in by_item
        if counts[item][0] < fewest
    }
    groups: dict[Cell, set[str]] = defaultdict(set)
    for item in by_item:
        for kind in ("level", "domain"):
            for name in names(described.get(item, Description()), kind):
                groups[kind, name].add(item)
    left_out = _find_left_out(groups, learners, fewest)
    cells: dict[Cell, Counts] = {("item", item): counts[item] for item in by_item.keys() - learners}
    for cell, members in groups.items():
        hidden = members & learners.keys()
        counted = members - hidden if cell in left_out else members
        if counted:
            together = set[str]().union(*(learners[item] for item in hidden & counted))
            most = max([len(together), *(counts[item][0] for item in counted - hidden)])
            cells[cell] = (
                most,
                *map(sum, zip(*(counts[item][1:] for item in counted), strict=True)),
            )
    return cells


def _find_left_out(
    groups: dict[Cell, set[str]], learners: dict[str, set[str]], fewest: int
) -> set[Cell]:
    """Return the groups that must not count their hidden items, whose learners are `learners`.

    A domain is left out if a sum of domains and levels, some of them subtracted, would leave items
    with few learners together.
    """

    def is_few(items: Iterable[str]) -> bool:
        return 0 < len(set[str]().union(*(learners[item] for item in items))) < fewest

    hidden = {cell: members & learners.keys() for cell, members in groups.items()}
    left_out = {cell for cell in hidden if cell[0] == "level" and is_few(hidden[cell])}
    level_of = {item: cell for cell in hidden if cell[0] == "level" for item in hidden[cell]}
    counted: list[Cell] = []
    for domain in sorted(cell for cell in hidden if cell[0] == "domain"):
        for signs in itertools.product((-1, 0, 1), repeat=len(counted) + 1):
            number = {
                item: sum(
                    sign
                    for sign, cell in zip(signs, [*counted, domain], strict=True)
                    if item in hidden[cell]
                )
                for item in learners
            }
            least = dict.fromkeys(left_out, 0) | {
                cell: min((number[item] for item in hidden[cell]), default=0)
                for cell in hidden.keys() - left_out
            }
            rest = {item: number[item] - least[level_of[item]] for item in learners}
            if min(rest.values(), default=0) >= 0 and is_few(item for item in rest if rest[item]):
                left_out.add(domain)
                break
        else:
            counted.append(domain)
    return left_out


def cohorts(world: World, days: Range, fewest: int) -> dict[Cell, Counts]:
    """Return (learners, active) by cohort and week.

    A cohort is named by the Monday of its learners' first study week. A week is named by the number
    of weeks since that Monday.
    """
    studied = {user: sorted(study_days(world, user)) for user in learners(world)}
    weeks = {user: {week_of(one)[0] for one in found} for user, found in studied.items() if found}
    firsts = {user: studied[user][0] for user in weeks}
    newest = max((week for found in weeks.values() for week in found), default=date.min)
    cells: dict[Cell, Counts] = {}
    for cohort in {week_of(first)[0] for first in firsts.values()}:
        members = [
            user
            for user, first in firsts.items()
            if week_of(first)[0] == cohort and days[0] <= first <= days[1]
        ]
        if len(members) < fewest:
            continue
        for week in range((newest - cohort).days // 7):
            active = len([user for user in members if cohort + timedelta(7 * week) in weeks[user]])
            is_hidden = active < fewest or 0 < len(members) - active < fewest
            cell = cohort.isoformat(), str(week)
            cells[cell] = (len(members), None if is_hidden else active)
    return cells


CLASSES = (0, 1, 7, 30, 90, 365)  # the fewest days of each class of ages or stabilities


class ItemTest(NamedTuple):
    """A test of an item, with what came before it.

    `age` is in days since the item's first answer, `gap` in days since the answer before; `earlier`
    counts the item's tests before, and `lapses` the wrong ones of them.
    """

    user_id: str
    test: RecallTest
    age: int
    stability: float
    gap: int
    earlier: int
    lapses: int


def find_item_tests(user_id: str, answers: Sequence[Answer]) -> list[ItemTest]:
    found: list[ItemTest] = []
    for n, answer in enumerate(answers):
        before = memories.remember(answers[:n])
        if before is None or answer.day <= before.last.day:
            continue
        one = ItemTest(
            user_id,
            RecallTest(answer.day, answer.is_correct, memories.estimate(before, answer.day)),
            age=max((answer.day - answers[0].day).days, 1),
            stability=before.state.days,
            gap=(answer.day - before.last.day).days,
            earlier=len(found),
            lapses=sum(not item.test.is_correct for item in found),
        )
        found.append(one)
    return found


def memory(world: World, days: Range, fewest: int) -> dict[Cell, Counts]:
    cells = memory_numbers(world, days, fewest)
    return {cell: (row["learners"], row["tests"], row["recalled"]) for cell, row in cells.items()}


def memory_numbers(world: World, days: Range, fewest: int) -> dict[Cell, Row]:
    """Return the numbers of each class of tests, and of the sums of these classes.

    A class is named by the fewest days of its age and of its stability; None stands for a sum.
    """
    classes = defaultdict(list)
    for user in learners(world):
        for answers in memories.histories(world, user).values():
            for one in find_item_tests(user, answers):
                if days[0] <= one.test.day <= days[1]:
                    classes[_class(one.age), _class(one.stability)].append(one)
    shown = {
        cell: found
        for cell, found in classes.items()
        if len({one.user_id for one in found}) >= fewest
    }
    rows = defaultdict(list)
    for (age, stability), found in shown.items():
        for cell in ((age, stability), (age, None), (None, stability), (None, None)):
            rows[tuple(map(str, cell))].append(found)
    every = [one for found in shown.values() for one in found]
    constant = sum(one.test.is_correct for one in every) / max(len(every), 1)
    return {
        cell: {
            "learners": max(len({one.user_id for one in found}) for found in parts),
            **_measure([one for found in parts for one in found], constant),
        }
        for cell, parts in rows.items()
    }


def _measure(found: Sequence[ItemTest], constant: float) -> Row:
    tests = [one.test for one in found]
    recalled = sum(test.is_correct for test in tests)
    return {
        "tests": len(tests),
        "recalled": recalled,
        "actual_recall": recalled / len(tests),
        "estimated_recall": sum(test.predicted for test in tests) / len(tests),
        "log_loss": memories.log_loss(tests, lambda test: test.predicted),
        "constant_log_loss": memories.log_loss(tests, lambda _: constant),
        "rmse_bins": rmse_bins((one, one.test.predicted) for one in found),
        "constant_rmse_bins": rmse_bins((one, constant) for one in found),
    }


def rmse_bins(estimates: Iterable[tuple[ItemTest, float]]) -> float:
    """Return the RMSE (bins) of srs-benchmark: tests with similar history are in one bin.

    https://github.com/open-spaced-repetition/srs-benchmark describes it.
    """

    def step(value: int, base: float) -> int:
        return math.floor(math.log(value) / math.log(base)) if value else -1

    bins: dict[tuple[int, int, int], list[float]] = defaultdict(list)
    for one, estimate in estimates:
        key = step(one.gap, 3.62), step(one.earlier + 2, 1.89), step(one.lapses, 1.73)
        bins[key].append(estimate - one.test.is_correct)
    squares = sum(sum(errors) ** 2 / len(errors) for errors in bins.values())
    return math.sqrt(squares / sum(map(len, bins.values())))


def area_under_curve(tests: Iterable[RecallTest]) -> float:
    """Return the share of pairs, recalled and not, with the higher estimate for the recalled."""
    by_result: dict[bool, list[float]] = {True: [], False: []}
    for test in tests:
        by_result[test.is_correct].append(test.predicted)
    better = sum((a > b) + (a == b) / 2 for a in by_result[True] for b in by_result[False])
    return better / (len(by_result[True]) * len(by_result[False]))


def _class(days: float) -> int:
    return max(one for one in CLASSES if one <= days)


def tests_on(world: World, days: Range) -> Iterator[RetentionTest]:
    for user_id in learners(world):
        for test in find_tests(world, world.answers(user_id)):
            if days[0] <= test.day <= days[1]:
                yield test


def learners(world: World) -> set[str]:
    return {event.user_id for event in world.events if event.user_id} - world.deleted


def _count(found: list[RetentionTest]) -> tuple[int, int, int]:
    recalled = [test for test in found if test.is_recalled]
    return len({test.user_id for test in found}), len(found), len(recalled)


def _count_answers(world: World, found: list[RetentionTest], days: Range) -> tuple[int, int]:
    """Return the number of answers in the range of days, and how many of them were correct.

    An answer is counted only if one of the tests in `found` has the same learner and item.
    """
    asked = {(test.user_id, test.answer.data["item_id"]) for test in found}
    answers = [
        answer
        for user, item in asked
        for answer in world.answers(user)
        if answer.data["item_id"] == item and days[0] <= day(world, answer) <= days[1]
    ]
    return len(answers), len([one for one in answers if grade(one) >= 2])
