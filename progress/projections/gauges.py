"""How full the store is and how far behind its readers are, as the batch job finds it."""

from datetime import UTC, datetime

import msgspec
import pg8000.exceptions

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.errors import Unavailable
from progress.projections import schema


class Gauges(msgspec.Struct, frozen=True):
    """What is measured; `metric_fields.json` says what each means."""

    projection_lag: int
    projection_lag_ms: float
    dead_letters: int
    database_connections: float
    database_bytes: int


def measure(connection: Connection) -> Gauges:
    """What they say now; Unavailable if the database does not answer."""
    try:
        schema.set_search_path(connection)
        return Gauges(
            *connection.run(blocks("projections/gauges")["measure"], now=datetime.now(UTC))[0]
        )
    except (OSError, pg8000.exceptions.Error) as fault:
        raise Unavailable(f"nothing was measured: {database.message(fault)}") from fault
