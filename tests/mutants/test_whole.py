"""The comparison with the live rows detects each broken whole fold."""

import tomllib
from dataclasses import dataclass

import pytest

from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.projections import whole
from progress.recovery import comparison
from tests.conftest import Store
from tests.mutants import broken_folds
from tests.support.stage import Stage


@dataclass(frozen=True)
class Mutant:
    """A broken block of sql/{file}.sql, in which `by` replaces `text`."""

    file: str
    text: str
    by: str
    block: str = "whole"


def load_mutants() -> list[Mutant]:
    """Return the mutants of whole.toml."""
    tables = tomllib.loads((broken_folds.HERE / "whole.toml").read_text(encoding="utf-8"))
    return [Mutant(**values) for values in tables["mutant"]]


def is_detected(connection: Connection, mutant: Mutant) -> bool:
    """Return whether the live rows differ from those of the broken fold."""
    before = blocks(mutant.file)[mutant.block]
    assert mutant.text in before, mutant
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(blocks(mutant.file), mutant.block, before.replace(mutant.text, mutant.by))
        return bool(comparison.find_differences(connection))


def test_each_table_has_a_broken_whole_fold() -> None:
    broken = {(mutant.file, mutant.block) for mutant in load_mutants()}
    assert {file for file, _ in broken} >= {
        f"read_models/{table}" for table in set(whole.TABLES) - {"zones_in_force"}
    }
    assert ("read_models/preferences", "whole zones_in_force") in broken


def test_each_broken_whole_fold_is_detected(store: Store) -> None:
    alive = load_mutants()
    stage = Stage(store.url)
    for delivery in broken_folds.load_deliveries():
        stage.sweep()
        stage.deliver(delivery.log, delivery.how)
        assert comparison.find_differences(stage.admin) == []
        alive = [mutant for mutant in alive if not is_detected(stage.admin, mutant)]
        if not alive:
            break
    stage.close()
    assert alive == []
