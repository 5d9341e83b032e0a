"""The projector folds each shard of the log, window by window, into the realtime read models.

A window commits with its checkpoint, so a crash repeats a window and never skips one. One worker
at a time holds a shard. A worker ignores a wake-up for a shard that another worker holds, because
the holder checks for new events once more after it has released the shard. Connections stay open
between wake-ups.
"""

import itertools
import json
import queue
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast
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
from progress.projections import live
from progress.projections import schema as read_model_schema
from progress.projections.live import Live

T = TypeVar("T")

SHARDS = range(16)
WINDOW = 1_000

_FILE = "projections/interface"
_BUSY_S = 0.2  # the pause while another worker folds the shard

_idle: "queue.LifoQueue[Projector]" = queue.LifoQueue()
_SPAN_ATTRIBUTES = {"db.system.name": "postgresql"}
_CHECKPOINT_AHEAD = "PR101"
# The SQLSTATE classes of errors that an event's values can cause. Other errors are defects of this
# code.
_VALUE_ERRORS = {
    "21": "cardinality violation",
    "22": "data exception",
    "23": "integrity constraint violation",
    "54": "program limit exceeded",
    "P0": "an error that a fold raised",
}
# The table that a fold's statement writes; a window's tables end with the fingerprint.
_WRITTEN = re.compile(r"(?:INSERT INTO|UPDATE|DELETE FROM)\s+(\w+?)(?:_[0-9a-f]{12})?\b")


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


def wake(shard: int, event_delay_ms: int = 0) -> int:
    """Fold the shard's new events into every live schema, and publish what leaves the system.

    Return the number of events folded into the first schema. `event_delay_ms` is the time from the
    publication of the events to their record. Raise DatabaseUnavailable, ProjectionError or, after
    the fold, PubSubUnavailable.
    """
    try:
        projector = _idle.get_nowait()
        waiting, folded, age_ms = _catch_up(projector, shard)
    except (queue.Empty, DatabaseUnavailable, ProjectionError):
        # No connection is idle, the idle one broke, or its session has a state that fails the fold.
        connection = database.connect(settings.current(), name="project")
        projector = Projector(connection, live.find(connection).first)
        waiting, folded, age_ms = _catch_up(projector, shard)
    logs.write(
        "INFO", "projected", operation="wake", shard=shard, projection_lag=waiting, outcome="ok",
        projection_delay_ms=round(event_delay_ms + age_ms) if folded else None,
    )  # fmt: skip
    _publish(projector, shard)
    return folded


def _catch_up(projector: "Projector", shard: int) -> tuple[int, int, float]:
    """Fold the shard into each live schema, the served one first.

    Return how many events waited for the first one, how many were folded, and the oldest's age.
    """
    try:
        waiting, found = projector.count_waiting(shard)
        projector.oldest_ms = 0.0

        def fold() -> tuple[int, float]:
            if found.is_read(projector.schema):
                return projector.catch_up(shard), projector.oldest_ms
            # Nobody waits for this schema: the batch job folds what one window leaves.
            return projector.fold(shard, WINDOW) or 0, 0.0

        folded, age_ms = projector.fold_live(found, fold)[0]
    except ProgressError:
        projector.close()
        raise
    return waiting, folded, age_ms


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
    """A connection that folds one schema at a time: its search path is at this schema.

    The temporary tables of each schema that it has folded stay. `oldest_ms` is the greatest time
    from an event's record to its fold, in ms.
    """

    oldest_ms = 0.0

    def __init__(self, connection: Connection, schema: str | None = None) -> None:
        self.connection, self.schema = connection, ""
        self._prepared: set[str] = set()
        self.enter(schema or read_model_schema.schema_name())

    def enter(self, schema: str) -> None:
        """Fold this schema from now on."""
        if schema == self.schema:
            return
        read_model_schema.set_search_path(self.connection, schema)
        self.schema = schema
        if schema not in self._prepared:
            self._query("prepare window")
            self._prepared.add(schema)

    def fold_live(self, found: Live, fold: Callable[[], T]) -> list[T]:
        """Call `fold` in each live schema; return the results.

        A schema that cannot be folded delays no other. Then raise its error, if it is being read.
        """
        results: list[T] = []
        failure: ProjectionError | DatabaseUnavailable | None = None
        for schema in found.schemas or [found.first]:
            try:
                self.enter(schema)
                results.append(fold())
            except (ProjectionError, DatabaseUnavailable) as error:
                if isinstance(error, DatabaseUnavailable) and not _is_interrupted(error):
                    raise
                logs.write("WARNING", f"{schema} was not folded: {error}")
                if found.is_read(schema):
                    failure = failure or error
        self.enter(found.first)
        if failure:
            raise failure
        return results

    def catch_up(self, shard: int, *, limit: int = WINDOW) -> int:
        """Fold the shard's events that are not folded yet; return their number.

        Return early if another worker holds the shard. Raise DatabaseUnavailable or
        ProjectionError if a fold fails.
        """
        total = 0
        while True:
            folded = self.fold(shard, limit)
            if folded is None:
                return total  # the worker that holds the shard will fold the rest
            total += folded
            # Check for new events: wake-ups did nothing while this worker held the shard.
            if folded < limit and shard not in self.find_shards_behind():
                return total

    def refold_poisoned(self, event_id: str, letter_id: int) -> None:
        """Let the schema include the event of a `poisoned` dead letter, and fold it."""
        # Lock the shard before the transaction writes, so that versions only grow.
        database.run(self.connection, _FILE, "lock event shard", event_id=event_id)
        ((position,),) = database.run(self.connection, _FILE, "clear mark", letter_id=letter_id)
        if position is not None:
            database.run(self.connection, _FILE, "refold event", position=position)

    def close(self) -> None:
        database.close(self.connection)

    def find_shards_behind(self) -> list[int]:
        return [shard for (shard,) in self._run("shards behind")]

    def count_waiting(self, shard: int) -> tuple[int, Live]:
        """Enter the live schema to fold first; return the shard's number of events that wait.

        The count stops at 100,000. Also return the live schemas.
        """
        while True:
            ((count, schemas, read),) = self._run("count waiting", shard=shard)
            found = Live(schemas, read)
            if found.first == self.schema:
                return count, found
            self.enter(found.first)

    def catch_up_all(self, *, limit: int = WINDOW) -> int:
        """Fold every shard up to the end of the log; return the number of events folded."""
        return sum(self.catch_up(shard, limit=limit) for shard in self.find_shards_behind())

    def fold(self, shard: int, at_most: int) -> int | None:
        """Fold one window and return its event count, as `fold_window`; halve it after a failure.

        If a window of one event fails, the event becomes a dead letter, and folds skip the event.
        """
        while True:
            position = self._next_position(shard) if at_most == 1 else None
            try:
                return self.fold_window(shard, at_most)
            except PoisonError as error:
                logs.write("WARNING", f"shard {shard}: a window of {at_most} failed: {error}")
                if position is not None:
                    self._poison(shard, position, str(error))
                at_most = max(1, at_most // 2)

    def fold_window(self, shard: int, at_most: int) -> int | None:
        """Fold the next window; return its event count, or None if another worker is folding."""
        with tracing.child_span("fold", "client", _SPAN_ATTRIBUTES) as span:
            ((folded, oldest_ms, times),) = self._run("fold window", shard=shard, at_most=at_most)
            span.set_attribute("progress.shard", shard)
            span.set_attribute("progress.events", folded or 0)
        if folded:
            self.oldest_ms = max(self.oldest_ms, oldest_ms)
            if self.schema == read_model_schema.schema_name():
                _record_times(times)
        return cast("int | None", folded)

    def _next_position(self, shard: int) -> int | None:
        rows = self._query("next position", shard=shard)
        return rows[0][0] if rows else None

    def _poison(self, shard: int, position: int, error: str) -> None:
        """Record a poisoned event as a dead letter, unless another worker has folded the event."""
        with database.translate_errors(_translate), database.transaction(self.connection):
            self._query("lock shard", shard=shard)
            values = {"shard": shard, "position": position, "error": error}
            is_marked = self._query("poison event", **values)[0][0]
        if is_marked:
            logs.write("ERROR", f"shard {shard}: an event was poisoned: {error}")

    def _query(self, block: str, **values: object) -> list[list[Any]]:
        with database.translate_errors(_translate):
            return database.run(self.connection, _FILE, block, **values)

    def _run(self, block: str, **values: object) -> list[list[Any]]:
        """Run a block that each wake-up runs; it stays prepared."""
        with database.translate_errors(_translate):
            return self.connection.run_prepared(statements.blocks(_FILE)[block], **values)


def _record_times(times: list[float]) -> None:
    if tracing.is_exporting():
        for name, (start, end) in zip(
            read_model_schema.list_folded(), itertools.pairwise(times), strict=True
        ):
            elapsed_ms = max(0.0, 1_000 * (end - start))  # the server's clock may go back
            tracing.record_metrics({"projection": name, "projection_ms": elapsed_ms})


def _is_interrupted(outage: DatabaseUnavailable) -> bool:
    """Return whether the server has ended a statement, such as one in a deadlock, and responds."""
    return database.read_failure(outage.__cause__ or outage).is_refusal


def _translate(failure: Failure) -> Exception | None:
    if not failure.is_refusal or failure.is_transient:
        return failure.to_unavailable()
    if failure.sqlstate == _CHECKPOINT_AHEAD:
        return CheckpointError(f"{failure.message}: rebuild the projections")
    error_class = _VALUE_ERRORS.get(failure.sqlstate[:2])
    if error_class is None:
        return ProjectionError(failure.message)
    # The server's message may quote a value of the event.
    written = _WRITTEN.search(failure.context)
    place = f" in {written[1]}" if written else ""
    return PoisonError(f"{error_class} {failure.sqlstate}{place}")


def catch_up_learner(
    connection: Connection,
    learner: str,
    wait: Callable[[float], None],
    schema: str | None = None,
) -> None:
    """Fold the learner's shard up to the learner's newest event, by default into the own schema.

    `wait` sleeps; it raises an error if the work must stop.
    """
    projector = Projector(connection, schema)
    file = "projections/learners"
    shard, newest = database.run(connection, file, "shard of learner", learner=learner)[0]
    while not database.run(connection, file, "is folded", shard=shard, position=newest)[0][0]:
        wait(0 if projector.catch_up(shard) else _BUSY_S)
