"""Specifications of read models: given these events, when this window, then these rows."""

from collections.abc import Sequence

from progress.adapters.postgres.database import Connection
from progress.projections import batch
from progress.recovery import checks
from tests.support import model_rows
from tests.support.sample_events import Envelope
from tests.support.stage import append


def specify(
    connection: Connection,
    *,
    given: Sequence[Envelope] = (),
    when: Sequence[Envelope],
    then: model_rows.Rows,
) -> None:
    """Assert that the models in `then` have exactly these rows.

    `when` is folded after `given`, and the batch job runs after each. All rows must be those of the
    definitions, too.
    """
    for events in filter(None, (given, when)):
        append(connection, [*events])
        batch.run(connection)
    assert {model: model_rows.read_model(connection, model) for model in then} == then
    assert checks.find_differences(connection) == []
