"""The expected results of the analyses across learners.

A number that describes fewer than `fewest` learners is left out or hidden.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta

from tests.oracle.catalogue import Description, descriptions, names
from tests.oracle.days import day
from tests.oracle.days import week as week_of
from tests.oracle.events import World
from tests.oracle.retention import RetentionTest, find_tests

Cell = tuple[str, ...]
Counts = tuple[int | None, ...]  # None: a hidden number
Range = tuple[date, date]


def retention(world: World, days: Range, fewest: int) -> dict[Cell, Counts]:
    """Return (learners, asked, recalled) by week and maturity."""
    cells = defaultdict(list)
    for test in tests_on(world, days):
        cells[week_of(test.day)[0].isoformat(), test.maturity].append(test)
    counted = {cell: _count(found) for cell, found in cells.items()}
    return {cell: counts for cell, counts in counted.items() if counts[0] >= fewest}


def items(world: World, days: Range, fewest: int) -> dict[Cell, Counts]:
    """Return (learners, asked, recalled, answers, correct answers) by kind and name.

    The kind is "item", "level" or "domain"; the name of an item is its id. An item is returned if
    at least `fewest` learners were tested on it. Each count of a level or domain is the sum over
    its returned items. Only the number of learners is not a sum: it is the largest number of
    learners among these items.
    """
    described = descriptions(world)
    by_item = defaultdict(list)
    for test in tests_on(world, days):
        by_item[test.answer.data["item_id"]].append(test)
    groups = defaultdict(list)
    for item, tests in by_item.items():
        learners, *counts = *_count(tests), *_count_answers(world, tests, days)
        if learners >= fewest:
            groups["item", item].append((learners, *counts))
            for kind in ("level", "domain"):
                for name in names(described.get(item, Description()), kind):
                    groups[kind, name].append((learners, *counts))
    return {
        cell: (max(learners), *map(sum, counts))
        for cell, found in groups.items()
        for learners, *counts in [zip(*found, strict=True)]
    }


def cohorts(world: World, days: Range, fewest: int) -> dict[Cell, Counts]:
    """Return (learners, active) by cohort and week.

    A cohort is named by the Monday of its learners' first study week. A week is named by the number
    of weeks since that Monday.
    """
    studied = {
        user: sorted(day(world, event) for event in world.completions(user))
        for user in learners(world)
    }
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


def tests_on(world: World, days: Range) -> Iterator[RetentionTest]:
    """Yield the retention tests of all learners on these days."""
    for user_id in learners(world):
        for test in find_tests(world, user_id):
            if days[0] <= test.day <= days[1]:
                yield test


def learners(world: World) -> set[str]:
    """Return the learners who have events and are not deleted."""
    return {event.user_id for event in world.events if event.user_id} - world.deleted


def _count(found: list[RetentionTest]) -> tuple[int, int, int]:
    recalled = [test for test in found if test.answer.type == "CorrectAnswerGiven"]
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
    return len(answers), len([one for one in answers if one.type == "CorrectAnswerGiven"])
