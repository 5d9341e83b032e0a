"""A Hypothesis strategy that generates ways to deliver and fold an event log, with crashes."""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from progress.adapters.postgres import statements
from progress.projections.models import BATCH, REALTIME, ReadModel


def _either(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


def _has_table(model: ReadModel) -> bool:
    table = statements.blocks(f"read_models/{model.name}").get("table", "")
    return f"CREATE TABLE {model.name} (" in table


_MODELS = filter(_has_table, (*REALTIME, *BATCH))
TABLES = ("checkpoints", "batch_checkpoints", *(model.name for model in _MODELS))


@dataclass(frozen=True)
class Disturbance:
    """A way to deliver and fold a log, with crashes.

    `sizes` are the numbers of events in consecutive deliveries. `every` is the number of
    deliveries between two runs of the folds; if it is None, the folds run only at the end. `limit`
    is the number of events in a window, and `tasks` the number of tasks of the batch job. `crashes`
    names tables. For each of them, one run loses its connection just before it writes to the table.
    """

    sizes: tuple[int, ...]
    every: int | None
    limit: int
    workers: int
    tasks: int
    crashes: tuple[str, ...]


def disturbances() -> st.SearchStrategy[Disturbance]:
    """Return a strategy for `Disturbance` objects."""
    return st.builds(
        Disturbance,
        sizes=st.lists(_either(100, 1, 2, 5), min_size=1, max_size=3).map(tuple),
        every=_either(None, 1, 2, 3),
        limit=_either(1000, 1, 2, 3, 7),
        workers=_either(1, 1, 1, 2, 3),
        tasks=_either(1, 1, 2, 3),
        crashes=st.lists(_either(*TABLES), max_size=2).map(tuple),
    )
