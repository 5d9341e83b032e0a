"""The projector folds each shard of the log, window by window, into the realtime read models.

A window commits with its checkpoint, so a crash repeats a window and never skips one. One worker
at a time holds a shard. A worker ignores a wake-up for a shard that another worker holds, because
the holder checks for new events once more after it has released the shard. Connections stay open
between wake-ups.
"""

import itertools
import json
import queue
import time
from collections.abc import Callable, Mapping
from typing import Any, cast
from uuid import UUID

from progress import settings
from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection, Failure
from progress.adapters.pubsub import push_request
from progress.adapters.telemetry import logs, tracing
from progress.errors import (
    CheckpointError,
    DatabaseUnavailable,
    PoisonError,
    ProgressError,
    ProjectionError,
    PubSubUnavailable,
    SerializationError,
)
from progress.event_store import publication
from progress.projections import changes
from progress.projections import schema as read_model_schema
from progress.projections.changes import Change, Publisher

SHARDS = range(16)
WINDOW = 1_000

_FILE = "projections/fold"
_BUSY_S = 0.2  # the pause while another worker folds the shard

_idle: "queue.LifoQueue[Projector]" = queue.LifoQueue()
_SPAN_ATTRIBUTES = {"db.system.name": "postgresql"}
_CHECKPOINT_AHEAD = "PR101"
# The SQLSTATE classes of errors that an event's values can cause. Other errors are defects of this
# code.
_VALUE_ERRORS = ("21", "22", "23", "54", "P0")
# Text that the session's encoding cannot represent: the session's fault, not the event's.
_ENCODING_ERRORS = ("22P05", "22021")


def parse_push(body: bytes) -> tuple[int | UUID | None, Mapping[str, str]]:
    """Return the command and the message's attributes.

    A command is the number of a shard to wake, or the id of an operation to run. For any other
    body, the command is None.
    """
    try:
        message = push_request.parse(body).message
    except SerializationError:
        return None, {}
    return _parse_command(message.data or b""), message.attributes or {}


def _parse_command(data: bytes) -> int | UUID | None:
    try:
        command = json.loads(data)
        if command["command"] == "operation":
            return UUID(command["id"])
        shard = command["shard"] if command["command"] == "wake" else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return shard if type(shard) is int and shard in SHARDS else None


def wake(shard: int, publisher: Publisher = changes.DISABLED, event_delay_ms: int = 0) -> int:
    """Fold the shard's new events, and publish what leaves the system; return the number folded.

    `event_delay_ms` is the time from the publication of the events to their record. Raise
    DatabaseUnavailable, ProjectionError or, after the fold, PubSubUnavailable.
    """
    try:
        projector = _idle.get_nowait()
        waiting, folded, age_ms = _catch_up(projector, shard)
    except (queue.Empty, DatabaseUnavailable, ProjectionError):
        # No connection is idle, the idle one broke, or its session has a state that fails the fold.
        connection = database.connect(settings.current(), name="project")
        projector = Projector(connection, publisher=publisher)
        waiting, folded, age_ms = _catch_up(projector, shard)
    logs.write(
        "INFO", "projected", operation="wake", shard=shard, projection_lag=waiting, outcome="ok",
        projection_delay_ms=round(event_delay_ms + age_ms) if folded else None,
    )  # fmt: skip
    _publish(projector, shard)
    return folded


def _catch_up(projector: "Projector", shard: int) -> tuple[int, int, float]:
    """Fold the shard; return how many events waited, how many were folded, and the oldest's age."""
    try:
        waiting = projector.count_waiting(shard)
        projector.oldest_ms = 0.0
        folded = projector.catch_up(shard)
    except ProgressError:
        projector.close()
        raise
    return waiting, folded, projector.oldest_ms


def _publish(projector: "Projector", shard: int) -> None:
    """Publish the shard's events and milestones, and keep the connection for the next wake-up."""
    try:
        publication.publish(projector.connection, shard, settings.current())
    except DatabaseUnavailable:
        projector.close()
        raise
    except PubSubUnavailable:
        _idle.put(projector)
        raise
    _idle.put(projector)


class Projector:
    """A connection for folding, with its search path set and its temporary tables created.

    The projector publishes the changes of the live schema, but not those of a schema that is being
    built, because such a schema has no readers. `oldest_ms` is the greatest time from an event's
    record to its fold, in ms.
    """

    oldest_ms = 0.0

    def __init__(
        self,
        connection: Connection,
        schema: str | None = None,
        publisher: Publisher = changes.DISABLED,
    ) -> None:
        self.connection = connection
        read_model_schema.set_search_path(connection, schema)
        read_model_schema.prepare_window(connection)
        self._publisher = publisher if schema is None else changes.DISABLED

    def catch_up(self, shard: int, *, limit: int = WINDOW) -> int:
        """Fold the shard's events that are not folded yet; return their number.

        Return early if another worker holds the shard. Raise DatabaseUnavailable or
        ProjectionError if a fold fails.
        """
        total = 0
        while True:
            folded = self._fold(shard, limit)
            if folded is None:
                return total  # the worker that holds the shard will fold the rest
            total += folded
            # Check for new events: wake-ups did nothing while this worker held the shard.
            if folded < limit and shard not in self.find_shards_behind():
                return total

    def lock_event_shard(self, event_id: str) -> None:
        """Lock an event's shard until the caller's transaction ends.

        Call this before the transaction writes.
        """
        database.run(self.connection, _FILE, "lock_event_shard", event_id=event_id)

    def refold_event(self, position: int) -> Change:
        """Fold an event that is no longer poisoned; return the change to publish.

        The caller's transaction must have locked the event's shard. The caller must publish the
        change after the commit.
        """
        rows = database.run(self.connection, _FILE, "refold_event", position=position)
        return Change(*rows[0])

    def publish(self, change: Change) -> None:
        if self._publisher.is_enabled and change.version is not None:
            # The catalogue's version is a sum over all shards. Read the sum only after the commit.
            # An earlier sum may lack a change that a fold of another shard commits concurrently.
            catalogue = None
            if change.catalogue:
                ((catalogue,),) = self._run("projections/versions", "catalogue")
            self._publisher.publish(change, catalogue)

    def close(self) -> None:
        database.close(self.connection)

    def find_shards_behind(self) -> list[int]:
        return [shard for (shard,) in self._run(_FILE, "shards_behind")]

    def count_waiting(self, shard: int) -> int:
        """Return the number of events that the shard has to fold; the count stops at 100,000."""
        count: int = self._query("count_waiting", shard=shard)[0][0]
        return count

    def catch_up_all(self, *, limit: int = WINDOW) -> int:
        """Fold every shard up to the end of the log; return the number of events folded."""
        return sum(self.catch_up(shard, limit=limit) for shard in self.find_shards_behind())

    def _fold(self, shard: int, at_most: int) -> int | None:
        """Fold one window; halve it after each failure.

        If a window of one event fails, the event becomes a dead letter, and folds skip the event.
        """
        while True:
            position = self._next_position(shard) if at_most == 1 else None
            try:
                return self.fold_window(shard, at_most)
            except PoisonError as error:
                logs.write("WARNING", f"shard {shard}: a window of {at_most} failed: {error}")
                if position is not None:
                    self._quarantine(shard, position, str(error))
                at_most = max(1, at_most // 2)

    def fold_window(self, shard: int, at_most: int) -> int | None:
        """Fold the next window; return its event count, or None if another worker is folding."""
        began = time.monotonic()
        lists_learners = self._publisher.is_enabled
        values = {"shard": shard, "at_most": at_most, "lists_learners": lists_learners}
        with tracing.child_span("fold", "client", _SPAN_ATTRIBUTES) as span:
            row = self._run(_FILE, "fold_window", **values)[0]
            folded, version, learners, catalogue, oldest_ms, times, position, recorded_s = row
            span.set_attribute("progress.shard", shard)
            span.set_attribute("progress.events", folded or 0)
        mark = (recorded_s, position) if folded else None
        self.publish(Change(version, learners, catalogue, began, mark))
        if folded:
            self.oldest_ms = max(self.oldest_ms, oldest_ms)
            _record_times(times)
        return cast("int | None", folded)

    def _next_position(self, shard: int) -> int | None:
        rows = self._query("next_position", shard=shard)
        return rows[0][0] if rows else None

    def _quarantine(self, shard: int, position: int, error: str) -> None:
        """Record a poisoned event as a dead letter, unless another worker has folded the event."""
        with database.translate_errors(_translate), database.transaction(self.connection):
            self._query("lock_shard", shard=shard)
            rows = self._query("quarantine", shard=shard, position=position, error=error)
        if rows:
            logs.write("ERROR", f"shard {shard}: an event was quarantined: {error}")

    def _query(self, block: str, **values: object) -> list[list[Any]]:
        with database.translate_errors(_translate):
            return database.run(self.connection, _FILE, block, **values)

    def _run(self, file: str, block: str, **values: object) -> list[list[Any]]:
        """Run a block that each wake-up runs; it stays prepared."""
        with database.translate_errors(_translate):
            return self.connection.run_prepared(statements.blocks(file)[block], **values)


def _record_times(times: list[float]) -> None:
    """Record the time of each model's fold."""
    if tracing.is_exporting():
        for name, (start, end) in zip(
            read_model_schema.list_folded(), itertools.pairwise(times), strict=True
        ):
            elapsed_ms = max(0.0, 1_000 * (end - start))  # the server's clock may go back
            tracing.record_metrics({"projection": name, "projection_ms": elapsed_ms})


def _translate(failure: Failure) -> Exception | None:
    if not failure.is_refusal or failure.is_transient:
        return failure.to_unavailable()
    if failure.sqlstate == _CHECKPOINT_AHEAD:
        return CheckpointError(f"{failure.message}: rebuild the projections")
    is_poison = failure.sqlstate.startswith(_VALUE_ERRORS) and (
        failure.sqlstate not in _ENCODING_ERRORS
    )
    return (PoisonError if is_poison else ProjectionError)(failure.message)


def catch_up_learner(
    connection: Connection, learner: str, publisher: Publisher, wait: Callable[[float], None]
) -> None:
    """Fold the learner's shard up to the learner's newest event.

    `wait` sleeps; it raises an error if the work must stop.
    """
    projector = Projector(connection, publisher=publisher)
    file = "projections/learners"
    shard, newest = database.run(connection, file, "shard of learner", learner=learner)[0]
    while not database.run(connection, file, "is folded", shard=shard, position=newest)[0][0]:
        wait(0 if projector.catch_up(shard) else _BUSY_S)
