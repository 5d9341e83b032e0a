"""No sum or difference of the rows of levels and domains tells of a few learners."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from progress.analysis.disclosure import HiddenItems, find_left_out

FEWEST = 3

hidden_items = st.lists(
    st.builds(
        HiddenItems,
        st.sampled_from(["A1", "B2"]),
        st.sampled_from([("R",), ("W",), ("R", "W"), ("UNKNOWN",)]),
        st.frozensets(st.sampled_from("abcdefgh"), min_size=1, max_size=6),
    ),
    max_size=6,
    unique_by=lambda items: items[:2],
)


@given(hidden=hidden_items)
def test_no_sum_of_rows_tells_of_a_few_learners(hidden: list[HiddenItems]) -> None:
    """The factors go beyond 1, because somebody may subtract a row twice."""
    left_out = find_left_out(hidden, FEWEST)
    rows = [
        [int(items.level == name or name in items.domains) for items in hidden]
        for name in ("A1", "B2", "R", "W", "UNKNOWN")
        if f"level {name}" not in left_out and f"domain {name}" not in left_out
    ]
    for factors in itertools.product(range(-2, 3), repeat=len(rows)):
        numbers = [
            sum(factor * row[place] for factor, row in zip(factors, rows, strict=True))
            for place in range(len(hidden))
        ]
        if min(numbers, default=0) >= 0:
            told = [items.learners for items, n in zip(hidden, numbers, strict=True) if n]
            assert not told or len(frozenset[str]().union(*told)) >= FEWEST


@given(hidden=hidden_items)
def test_levels_and_domains_count_hidden_items_if_nothing_is_disclosed(
    hidden: list[HiddenItems],
) -> None:
    many = [items._replace(learners=items.learners | set("xyz")) for items in hidden]
    assert find_left_out(many, FEWEST) == []
