"""The live schemas of read models: built, and not dropped. Workers fold each of them.

Two revisions may serve at the same time, and any revision's workers keep both up to date.
"""

from typing import TYPE_CHECKING, NamedTuple

from progress.adapters.postgres import database
from progress.projections import schema

if TYPE_CHECKING:
    from progress.adapters.postgres.database import Connection

_FILE = "projections/live"


class Live(NamedTuple):
    """The live schemas; the first `read` ones are being read, the newest of them first.

    Nobody waits for the others, so that they may fall behind.
    """

    schemas: list[str]
    read: int

    @property
    def first(self) -> str:
        """The schema to fold first; this code's own one, which may not exist, if none is live."""
        return self.schemas[0] if self.schemas else schema.schema_name()

    def is_read(self, name: str) -> bool:
        return name == self.first or name in self.schemas[: self.read]


def find(connection: "Connection") -> Live:
    """Return the live schemas that this code's workers can fold."""
    return Live(*database.run(connection, _FILE, "live")[0])
