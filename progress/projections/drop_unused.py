"""The end of expand and contract: read models that no served code reads any more are dropped.

Who may run it is whoever serves all of the traffic: what it drops, nobody else may be reading.
"""

from collections.abc import Iterator

from progress.adapters.postgres import statements
from progress.adapters.postgres.database import Connection
from progress.errors import ProjectionError
from progress.projections import rebuild, snapshots
from progress.projections import schema as read_model_schema


def run(connection: Connection) -> Iterator[str]:
    """Drop the read models of all other code, and what killed rebuilds left; each schema's name.

    RebuildRunning while one builds. ProjectionError where this code's own read models are not
    there: those that are may be served.
    """
    own = read_model_schema.schema_name()
    with rebuild.hold_lock(connection):
        if not read_model_schema.exists(connection, own):
            raise ProjectionError(
                f"{own} is not there, so that other code may be served: nothing is dropped; "
                "run `progress migrate` first"
            )
        for (schema,) in connection.run(_block("unused_schemas"), kept=own):
            rebuild.drop(connection, schema)
            yield schema
        snapshots.drop_orphans(connection)


def _block(name: str) -> str:
    return statements.blocks("projections/drop_unused")[name]
