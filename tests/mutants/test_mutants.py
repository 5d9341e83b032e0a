"""Folds broken on purpose: the comparison with the oracle sees each of them."""

from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Store
from tests.mutants import broken_folds
from tests.mutants.broken_folds import Delivery, Mutant
from tests.support.postgres_servers import EMBEDDED, Server
from tests.support.stage import Stage


def shown_by(mutant: Mutant) -> Delivery:
    """The delivery that is to show the mutant."""
    for each in broken_folds.load_deliveries():
        if mutant.name in each.mutants:
            return each
    raise LookupError(f"no delivery shows {mutant.name}: run tests.mutants.broken_folds")


@pytest.fixture(scope="module")
def url(servers: Callable[[str], Server]) -> Iterator[str]:
    """A database for all of the mutants, one after the other."""
    server = servers(EMBEDDED)
    name = server.store()
    yield server.sibling(name)
    server.drop(name)


@pytest.mark.parametrize("mutant", broken_folds.load_mutants(), ids=lambda m: m.name)
def test_a_broken_fold_is_seen(url: str, mutant: Mutant) -> None:
    delivery = shown_by(mutant)
    with broken_folds.stage_with(url, mutant) as stage:
        assert broken_folds.is_killed_by(stage, delivery.log, delivery.how)


def test_the_real_folds_are_not_broken(store: Store) -> None:
    stage = Stage(store.url)
    for each in broken_folds.load_deliveries():
        assert not broken_folds.is_killed_by(stage, each.log, each.how)
    stage.close()
