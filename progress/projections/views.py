"""The views of the schema `progress`, through which analysts read the read models.

The schema of the read models has another name after a change of a fold, and another identity after
a rebuild. The views keep their names: whoever replaces the schema also replaces the views.
"""

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.telemetry import logs
from progress.errors import DatabaseUnavailable, ProjectionError
from progress.projections import schema as read_model_schema

MODELS = read_model_schema.list_views()

_FILE = "projections/views"
_TRIES = 90  # a try takes up to a second; the queries of analysts end after 60 seconds


def find_source(connection: Connection) -> str | None:
    """Return the schema of read models that the views read, or None if there are no views."""
    rows = database.run(connection, _FILE, "source")
    return rows[0][0] if rows else None


def move(connection: Connection) -> None:
    """Let the views read the live schema; raise DatabaseUnavailable if queries prevent this."""
    live = read_model_schema.schema_name()
    if not read_model_schema.exists(connection, live):
        raise ProjectionError(f"{live} does not exist: run `progress migrate` first")
    for _ in range(_TRIES):
        if (reason := _replace(connection)) is None:
            return
    raise DatabaseUnavailable(f"the views of the schema progress were not moved: {reason}")


def follow(connection: Connection, *former: str | None) -> bool:
    """If the views read a former schema, let them read the live schema.

    None as a former schema means that there are no views yet. Return False, and log a warning, if
    the views still read the former schema, because a query uses them.
    """
    source = find_source(connection)
    if source not in former or (reason := _replace(connection)) is None:
        return True
    logs.write("WARNING", f"the views of the schema progress still read {source}: {reason}")
    return False


def _replace(connection: Connection) -> str | None:
    live = read_model_schema.schema_name()
    rows = database.run(connection, _FILE, "replace", source=live, models=MODELS)
    reason: str | None = rows[0][0]
    return reason
