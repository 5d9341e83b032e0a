"""A caller has a share of the database's connections, and nobody waits for all of another's calls.

Drawn callers begin and end calls, and give waiting ones up, in pools of every size.
"""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres.shares import Shares

CALLERS = "abcdefgh"


class Model:
    """The shares, beside what the contract says about them."""

    def __init__(self, size: int) -> None:
        self.shares, self.size, self.number = Shares[int](size), size, 0
        self.places: Counter[str] = Counter()
        self.waiting: dict[int, str] = {}  # the callers of the calls, in the order of arrival
        self.ahead: dict[str, int] = {}  # of newcomers who wait: how many may be served first

    def most(self, caller: str) -> int:
        if set(self.waiting.values()) <= {caller}:
            return max(1, self.size - 1)
        return min(3, max(1, self.size // 3))

    def may_start(self, caller: str) -> bool:
        return self.places.total() < self.size and self.places[caller] < self.most(caller)

    def begin(self, caller: str) -> None:
        self.number += 1
        is_new = caller not in self.places
        taken = self.shares.take(caller)
        assert taken == self.may_start(caller)
        self.places[caller] += taken
        if taken:
            return
        if is_new:
            self.ahead[caller] = len(set(self.waiting.values()))
        assert self.shares.wait(caller, self.number) is None
        self.waiting[self.number] = caller

    def give_up(self, number: int) -> None:
        self.shares.leave(self.waiting.pop(number), number)

    def end(self, caller: str, seconds: float) -> None:
        self.places[caller] -= 1
        self.shares.give_back(caller, seconds)

    def start(self) -> None:
        """Start what may start, and check that it is the turn of each."""
        while any(map(self.may_start, self.waiting.values())):
            found = self.shares.take_next()
            assert found, "a place is free, and somebody who may have it waits"
            caller, number = found
            assert self.waiting[number] == caller
            assert number == min(n for n, whose in self.waiting.items() if whose == caller)
            assert self.may_start(caller), "more than the share"
            fewest = min(
                self.places[each] for each in self.waiting.values() if self.may_start(each)
            )
            assert self.places[caller] == fewest, "others come first"
            del self.waiting[number]
            self.places[caller] += 1
            self.ahead.pop(caller, None)
            for other in self.ahead.keys() & set(self.waiting.values()):
                self.ahead[other] -= 1
                assert self.ahead[other] >= 0, "overtaken more than once by each"
        assert self.shares.take_next() is None


@given(st.integers(1, 12), st.integers(), st.integers(0, 2))
def test_nobody_has_more_than_the_share_and_nobody_waits_for_ever(
    size: int, seed: int, burden: int
) -> None:
    source = Random(seed)
    for _ in range(60):
        model = Model(size)
        for _ in range(100):
            running = list((+model.places).elements())
            if source.randrange(4 + burden) > burden and running:
                model.end(source.choice(running), source.randint(1, 10))
            elif source.random() < 0.1 and model.waiting:
                model.give_up(source.choice(list(model.waiting)))
            else:
                model.begin(source.choice(CALLERS))
            model.ahead = {c: n for c, n in model.ahead.items() if c in model.waiting.values()}
            model.start()
        while model.places.total():
            model.end(next(iter(+model.places)), 1)
            model.start()
        assert not model.waiting
    assert [model.shares.take("a") for _ in range(size)].count(True) == max(1, size - 1)
