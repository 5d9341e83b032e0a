"""Folds broken on purpose: the comparison with the oracle sees each of them."""

from collections.abc import Callable, Iterator

import mutants
import pytest
from conftest import Store
from mutants import Mutant, Shown
from serving import EMBEDDED, Server
from stage import Stage


def shown_by(mutant: Mutant) -> Shown:
    """The delivery that is to show the mutant."""
    for each in mutants.shown():
        if mutant.name in each.mutants:
            return each
    raise LookupError(f"no delivery shows {mutant.name}: run tests/mutants.py")


@pytest.fixture(scope="module")
def url(servers: Callable[[str], Server]) -> Iterator[str]:
    """A database for all of the mutants, one after the other."""
    server = servers(EMBEDDED)
    name = server.store()
    yield server.sibling(name)
    server.drop(name)


@pytest.mark.parametrize("mutant", mutants.mutants(), ids=lambda m: m.name)
def test_a_broken_fold_is_seen(url: str, mutant: Mutant) -> None:
    delivery = shown_by(mutant)
    with mutants.broken(url, mutant) as stage:
        assert mutants.shows(stage, delivery.log, delivery.how)


def test_the_real_folds_are_not_broken(store: Store) -> None:
    stage = Stage(store.url)
    for each in mutants.shown():
        assert not mutants.shows(stage, each.log, each.how)
    stage.close()
