"""Which sums may count hidden items, so that no difference of sums tells of a few learners.

An item with fewer than 20 learners is hidden: it has no row. A level or domain may still count its
tests, unless a reader could subtract them again. An item has one level and any number of domains.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple


class HiddenItems(NamedTuple):
    """The hidden items that have the same level and the same domains, and their learners."""

    level: str
    domains: tuple[str, ...]
    learners: frozenset[str]


def find_left_out(hidden: Sequence[HiddenItems], fewest: int) -> list[str]:
    """Return the levels and domains that must not count their hidden items, as "level A1".

    All others may: no sum or difference of their rows tells of 1 to `fewest` - 1 learners of hidden
    items. Levels come first, then each domain that discloses nothing beside the rows before it.
    """
    levels = dict.fromkeys(items.level for items in hidden)
    few = {name for name in levels if _is_few((i for i in hidden if i.level == name), fewest)}
    open_domains: list[str] = []
    left_out = [f"level {name}" for name in levels if name in few]
    for domain in sorted({name for items in hidden for name in items.domains}):
        tried = [*open_domains, domain]
        if any(_is_few(group, fewest) for group in _differences(hidden, few, tried)):
            left_out.append(f"domain {domain}")
        else:
            open_domains = tried
    return left_out


def _is_few(hidden: Iterable[HiddenItems], fewest: int) -> bool:
    return 0 < len(frozenset[str]().union(*(items.learners for items in hidden))) < fewest


def _differences(
    hidden: Sequence[HiddenItems], few: set[str], domains: Sequence[str]
) -> Iterator[list[HiddenItems]]:
    """Yield the hidden items that remain in each sum of these domains' rows, some of them negative.

    A level's row is added or subtracted as often as leaves the fewest items of the level, because
    that takes the same number from each of them. A level of `few` has no row for its hidden items.
    If the number of an item is negative, the sum tells of no group.
    """
    for signs in itertools.product((-1, 0, 1), repeat=len(domains)):
        sign_of = dict(zip(domains, signs, strict=True))
        numbers = [sum(sign_of.get(name, 0) for name in items.domains) for items in hidden]
        lowest: dict[str, int] = defaultdict(int)
        for items, number in zip(hidden, numbers, strict=True):
            lowest[items.level] = min(number, lowest.get(items.level, number))
        if any(lowest[level] < 0 for level in few):
            continue
        yield [
            items
            for items, number in zip(hidden, numbers, strict=True)
            if number > (0 if items.level in few else lowest[items.level])
        ]
