"""The comparison with the oracle detects each broken fold."""

from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Store
from tests.mutants import broken_folds
from tests.mutants.broken_folds import Mutant
from tests.support.postgres_servers import EMBEDDED, Server
from tests.support.stage import Stage


@pytest.fixture(scope="module")
def url(servers: Callable[[str], Server]) -> Iterator[str]:
    with servers(EMBEDDED).open_database() as url:
        yield url


@pytest.mark.exhaustive
@pytest.mark.parametrize("mutant", broken_folds.load_mutants(), ids=lambda m: m.name)
def test_a_broken_fold_is_detected(url: str, mutant: Mutant) -> None:
    found = (one for one in broken_folds.load_deliveries() if mutant.name in one.mutants)
    delivery = next(found, None)
    assert delivery, "no delivery kills it: run `python -m tests.mutants.broken_folds`"
    with broken_folds.stage_with(url, mutant) as stage:
        assert broken_folds.is_killed_by(stage, delivery.log, delivery.how)


@pytest.mark.gate
@pytest.mark.first_in_gate
@pytest.mark.parametrize("count", [20, 1_000])
def test_the_real_folds_pass_the_deliveries_that_detect_the_most(store: Store, count: int) -> None:
    """The deliveries that detect the most are the first of the file."""
    stage = Stage(store.url)
    for delivery in broken_folds.load_deliveries()[:count]:
        assert not broken_folds.is_killed_by(stage, delivery.log, delivery.how)
    stage.close()


def test_the_sql_contains_the_text_of_each_mutant() -> None:
    for mutant in broken_folds.load_mutants():
        assert mutant.by in broken_folds.break_sql(mutant)
