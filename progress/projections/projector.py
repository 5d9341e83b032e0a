"""The realtime projections: each shard of the log, folded window by window into the read models.

A window commits with its checkpoint, so that a crash repeats a window and never skips one. A shard
has one worker at a time. A wake-up that finds its shard busy has nothing to do: the worker
looks once more after it has let go.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, cast

import pg8000.exceptions

from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.adapters.telemetry import logs, tracing
from progress.errors import CheckpointError, PoisonError, ProjectionError, Unavailable
from progress.projections import notifications
from progress.projections import schema as read_model_schema
from progress.projections.notifications import Change

SHARDS = range(16)
WINDOW = 1_000

_SQL = {"db.system.name": "postgresql"}
_CHECKPOINT_AHEAD = "PR101"
# What a value in an event can bring about. Anything else is a fault of ours, and no event's.
_OF_VALUES = ("21", "22", "23", "54", "P0")


class Projector:
    """One connection that folds: the read models' schema in its path, the window's tables made.

    After each window of the live schema it tells of the change, where there is someone to hear.
    """

    def __init__(self, connection: Connection, schema: str | None = None) -> None:
        self.connection = connection
        read_model_schema.set_search_path(connection, schema)
        read_model_schema.prepare_window(connection)
        folds = statements.blocks("projections/fold")
        self._fold_window = connection.prepare(folds["fold_window"])
        self._shards_behind = connection.prepare(folds["shards_behind"])
        self._publishes = schema is None and notifications.is_enabled()
        self._catalogue = connection.prepare(statements.blocks("projections/versions")["catalogue"])

    def catch_up(self, shard: int, *, limit: int = WINDOW) -> int:
        """Fold what this shard has not seen; the number of events folded.

        0 too where another worker has the shard. Raises Unavailable, ProjectionError.
        """
        total = 0
        while True:
            folded = self._fold(shard, limit)
            if folded is None:
                return total  # its holder will look once more
            total += folded
            # A wake-up that came while this worker held the shard has gone away again.
            if folded < limit and shard not in self.find_shards_behind():
                return total

    def lock_event_shard(self, event_id: str) -> None:
        """Take an event's shard for the caller's transaction, which has written nothing yet."""
        self.connection.run(
            statements.blocks("projections/fold")["lock_event_shard"], event_id=event_id
        )

    def refold_event(self, position: int) -> Change:
        """Fold an event that was set aside and counts again: what to `tell` of after the commit.

        Within the caller's transaction, which holds the event's shard.
        """
        found = self.connection.run(
            statements.blocks("projections/fold")["refold_event"], position=position
        )
        return Change(*found[0])

    def publish(self, change: Change) -> None:
        """Say that a change is committed."""
        if self._publishes and change.version is not None:
            # The catalogue's version is over all shards: so it is read once the change stands.
            catalogue = self._run(self._catalogue)[0][0] if change.catalogue else None
            notifications.publish(change, catalogue)

    def close(self) -> None:
        """Give the connection up; it may be broken already."""
        with contextlib.suppress(OSError, pg8000.exceptions.Error):
            self.connection.close()

    def find_shards_behind(self) -> list[int]:
        """The shards with events that are not folded yet."""
        return [shard for (shard,) in self._run(self._shards_behind)]

    def count_waiting(self, shard: int) -> int:
        """How many events of the shard are not folded yet; no more than 100,000 are counted."""
        found: int = self._query("count_waiting", shard=shard)[0][0]
        return found

    def catch_up_all(self, *, limit: int = WINDOW) -> int:
        """Fold every shard up to the head of the log; the number of events folded."""
        return sum(self.catch_up(shard, limit=limit) for shard in self.find_shards_behind())

    def _fold(self, shard: int, at_most: int) -> int | None:
        """One window, halved until it passes or only one event is left, which is set aside."""
        while True:
            position = self._next_position(shard) if at_most == 1 else None
            try:
                return self.fold_window(shard, at_most)
            except PoisonError as fault:
                logs.write("WARNING", f"shard {shard}: a window of {at_most} failed: {fault}")
                if position is not None:
                    self._set_aside(shard, position, str(fault))
                at_most = max(1, at_most // 2)

    def fold_window(self, shard: int, at_most: int) -> int | None:
        """Fold the next window as it is; the number of its events, None where another folds."""
        began = time.monotonic()
        values = {"shard": shard, "at_most": at_most, "lists_learners": self._publishes}
        with tracing.span("fold", "client", _SQL) as span:
            folded, version, learners, catalogue = self._run(self._fold_window, **values)[0]
            span.note("progress.shard", shard)
            span.note("progress.events", folded or 0)
        self.publish(Change(version, learners, catalogue, began))
        return cast("int | None", folded)

    def _next_position(self, shard: int) -> int | None:
        found = self._query("next_position", shard=shard)
        return found[0][0] if found else None

    def _set_aside(self, shard: int, position: int, error: str) -> None:
        """Under the lock: who had the shard since that window failed may have come further."""
        with _translate_errors(), database.transaction(self.connection):
            self._query("lock_shard", shard=shard)
            found = self._query("set_aside", shard=shard, position=position, error=error)
        if found:
            logs.write("ERROR", f"shard {shard}: an event was set aside as poisoned: {error}")

    def _query(self, block: str, **values: object) -> list[list[Any]]:
        with _translate_errors():
            rows = self.connection.run(statements.blocks("projections/fold")[block], **values)
        return rows or []

    def _run(self, statement: database.Statement, **values: object) -> list[list[Any]]:
        with _translate_errors():
            rows: list[list[Any]] = statement.run(**values)
        return rows


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    """What the database raises, as the project calls it."""
    try:
        yield
    except (OSError, pg8000.exceptions.Error) as fault:
        raise _translate(fault) from fault


def _translate(fault: Exception) -> Exception:
    if database.is_passing(fault):
        return Unavailable(f"the database did not answer: {database.message(fault)}")
    if isinstance(fault, pg8000.exceptions.DatabaseError):
        if database.sqlstate(fault) == _CHECKPOINT_AHEAD:
            return CheckpointError(f"{database.message(fault)}: rebuild the projections")
        poisoned = database.sqlstate(fault).startswith(_OF_VALUES)
        return (PoisonError if poisoned else ProjectionError)(database.message(fault))
    return fault
