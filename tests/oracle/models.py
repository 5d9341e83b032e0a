"""The oracle's definition of each read model, registered under the model's name."""

from collections.abc import Callable
from typing import Any, TypeVar

from tests.oracle.events import Row, World

Rows = dict[tuple[Any, ...], Row]  # the key is the first two columns of the table
_Key = TypeVar("_Key")
_OfLearner = Callable[[World, str], dict[_Key, Row]]
_OfAll = Callable[[World], Rows]

_DEFINITIONS: dict[str, _OfAll] = {}


def defines(model: str) -> Callable[[_OfAll], _OfAll]:
    """Register the function that computes a model whose rows do not belong to learners."""

    def register(function: _OfAll) -> _OfAll:
        _DEFINITIONS[model] = function
        return function

    return register


def defines_by_learner(model: str) -> Callable[[_OfLearner[_Key]], _OfLearner[_Key]]:
    """Register the function that computes the rows of one learner in a model."""

    def register(function: _OfLearner[_Key]) -> _OfLearner[_Key]:
        def rows_of_all(world: World) -> Rows:
            learners = sorted({e.user_id for e in world.events if e.user_id})
            return {
                (user, key): row for user in learners for key, row in function(world, user).items()
            }

        _DEFINITIONS[model] = rows_of_all
        return function

    return register


def defined_models() -> frozenset[str]:
    """Return the names of the models that the oracle defines."""
    return frozenset(_DEFINITIONS)


def model_rows(world: World, model: str) -> Rows:
    """Return all rows that the model's table should have."""
    return _DEFINITIONS[model](world)
