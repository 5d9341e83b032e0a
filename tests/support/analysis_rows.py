"""Hypothesis strategies for the rows that `progress analyse` computes."""

from datetime import date, timedelta
from typing import Any

from hypothesis import strategies as st

from progress.analysis.questions import FEWEST_LEARNERS, Cohort, Item, Retention

_MONDAY = date(2025, 12, 1)
_LEARNERS = st.integers(FEWEST_LEARNERS, 5_000)
_HEADWORDS = st.none() | st.text(max_size=60) | st.just("<script>alert(1)</script>")


def retention() -> st.SearchStrategy[list[Retention]]:
    """Return a strategy for 1 to 30 rows; no two rows have the same week and maturity."""
    cells = st.lists(
        st.tuples(st.integers(0, 60), st.sampled_from(("MATURE", "YOUNG"))),
        unique=True,
        min_size=1,
        max_size=30,
    )
    return cells.flatmap(lambda keys: st.tuples(*(_retention(*key) for key in sorted(keys)))).map(
        list
    )


def _retention(week: int, maturity: Any) -> st.SearchStrategy[Retention]:
    return _tests().map(
        lambda tests: Retention(
            _MONDAY + timedelta(weeks=week), maturity, *tests, retention_rate=tests[2] / tests[1]
        )
    )


def _tests() -> st.SearchStrategy[tuple[int, int, int]]:
    """Return a strategy for the fields (learners, asked, recalled) of a row."""
    return st.tuples(_LEARNERS, st.integers(1, 50), st.floats(0, 1)).map(
        lambda one: (one[0], one[0] * one[1], int(one[0] * one[1] * one[2]))
    )


def items() -> st.SearchStrategy[list[Item]]:
    """Return a strategy for rows: items (sorted by retention rate), levels, domains."""
    names = st.lists(st.sampled_from(("A1", "C2", "UNKNOWN")), unique=True)
    domains = st.lists(st.sampled_from(("R", "S", "UNKNOWN")), unique=True)
    listed = st.lists(_item("item", "i1"), max_size=20).map(
        lambda rows: sorted(rows, key=lambda row: row.retention_rate)
    )
    groups = st.tuples(names, domains).flatmap(
        lambda both: st.tuples(
            *(_item("level", name) for name in both[0]),
            *(_item("domain", name) for name in both[1]),
        )
    )
    return st.tuples(listed, groups).map(lambda both: [*both[0], *both[1]]).filter(bool)


def _item(kind: Any, name: str) -> st.SearchStrategy[Item]:
    words = st.tuples(_HEADWORDS, st.sampled_from(("A1", "UNKNOWN")), st.just("RW"))
    described = words if kind == "item" else st.just((None, None, None))
    return st.builds(lambda tests, words: item(kind, name, words, tests), _tests(), described)


def item(
    kind: Any,
    name: str,
    words: tuple[str | None, str | None, str | None],
    tests: tuple[int, int, int],
) -> Item:
    """Return a row; `words` is (headword, level, domains), `tests` (learners, asked, recalled)."""
    learners, asked, recalled = tests
    rate = recalled / asked
    return Item(kind, name, *words, learners, asked, recalled, rate, 2 * asked, asked)


def cohorts() -> st.SearchStrategy[list[Cohort]]:
    """Return a strategy for the rows of cohorts; all cohorts end in the same calendar week."""
    sizes = st.lists(
        st.tuples(st.integers(0, 40), _LEARNERS), unique_by=lambda one: one[0], min_size=1
    )
    return st.builds(decay, sizes.map(sorted), st.integers(0, 5), st.floats(0, 1))


def decay(sizes: list[tuple[int, int]], later: int, kept: float) -> list[Cohort]:
    """Return rows of cohorts; in each week, the share `kept` of the active learners stays active.

    `sizes` has the first week and the number of learners of each cohort.
    """
    newest = sizes[-1][0] + later
    return [
        _cohort(first, week, learners, int(learners * kept**week))
        for first, learners in sizes
        for week in range(newest - first + 1)
    ]


def _cohort(first: int, week: int, learners: int, active: int) -> Cohort:
    few = range(1, FEWEST_LEARNERS)
    is_shown = active >= FEWEST_LEARNERS and learners - active not in few
    return Cohort(
        cohort=_MONDAY + timedelta(weeks=first),
        week=week,
        learners=learners,
        active=active if is_shown else None,
        active_rate=active / learners if is_shown else None,
    )
