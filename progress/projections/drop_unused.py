"""Drop the read models that no deployed code reads: the contract step of expand and contract.

Only a revision that serves all of the traffic may drop read models, because the readers of other
revisions would lose their tables.
"""

from collections.abc import Iterator

from progress.adapters.postgres import statements
from progress.adapters.postgres.database import Connection
from progress.errors import ProjectionError
from progress.projections import replacement, snapshots
from progress.projections import schema as read_model_schema
from progress.projections.replacement import Holder


def run(connection: Connection) -> Iterator[str]:
    """Drop the schemas of other revisions and of killed rebuilds; yield the name of each schema.

    Raise RebuildRunning while the lock of rebuilds is held. Raise ProjectionError if this code's
    own schema does not exist, because then other code may be serving.
    """
    own = read_model_schema.schema_name()
    with replacement.hold_lock(connection, Holder.PRUNE):
        if not read_model_schema.exists(connection, own):
            raise ProjectionError(
                f"{own} does not exist, so other code may be serving: nothing is dropped; "
                "run `progress migrate` first"
            )
        for (schema,) in connection.run(_block("unused_schemas"), kept=own):
            replacement.drop(connection, schema)
            yield schema
        snapshots.drop_orphans(connection)


def _block(name: str) -> str:
    return statements.blocks("projections/drop_unused")[name]
