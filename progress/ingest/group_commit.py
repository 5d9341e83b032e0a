"""Group commit: concurrent requests of one process share transactions.

A request that finds no commit in progress becomes the leader immediately and commits everything
that is queued. Meanwhile, other requests queue up for the next leader. The leader sends the
wake-ups of its group before any request of the group returns. After a request has returned,
Pub/Sub does not redeliver its message, so a crash would lose wake-ups that are not yet sent. No
request waits beyond its own deadline.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connect, Connection
from progress.adapters.telemetry import logs, tracing
from progress.errors import (
    DeadlineExceeded,
    EventStoreError,
    InstanceUnavailable,
    LettersFull,
    ProgressError,
    Unavailable,
)
from progress.event_store import Appended, analysts, log
from progress.event_store.log import Delivery

# The limits of a shared transaction. A request that exceeds a limit gets a transaction of its own.
_MOST_EVENTS = 1_000
_MOST_BYTES = 4 << 20  # of the messages' data
# A larger delivery is committed in parts, between which others commit.
_PART_BYTES = 2 << 20
_CONNECT_TIMEOUT_S = 10.0
_APPEND_TIMEOUT_S = 15.0
_SPAN_ATTRIBUTES = {"db.system.name": "postgresql"}


# The outcome and the reason of entries of a reported delivery, by their index in the message: of
# events that were not appended, and of rejections that are no dead letters.
Others = dict[int, tuple[str, str | None]]


@dataclass(eq=False)
class _Ticket:
    """A request that waits for its outcome or for its turn as the leader."""

    delivery: Delivery
    deadline: float
    place: int = 0  # in its group
    leads: bool = False
    turn: threading.Event = field(default_factory=lambda: threading.Event())  # noqa: PLW0108 - as patched
    outcome: Appended | ProgressError | None = None
    committed_at: datetime = field(default_factory=lambda: datetime.now(UTC))  # first, of queueing


class Committed(NamedTuple):
    """The commit time of a delivery, and the outcomes of its entries, if it is reported."""

    at: datetime
    others: Others


class GroupCommit:
    """A connection that all threads share, opened on first use and again after it breaks."""

    def __init__(
        self,
        connect: Connect,
        wake: Callable[[list[int], int], object],
        timeout_s: float = 23,
    ) -> None:
        self._connect = connect
        self._wake = wake
        self._timeout_s = timeout_s  # from arrival to outcome; the wake-ups may take 2 s more
        self._connection: Connection | None = None
        self._mutex = threading.Lock()
        self._queue: list[_Ticket] = []
        self._is_led = False

    def append_parts(self, delivery: Delivery, arrived: float) -> Committed:
        """Append a delivery in parts, so that no other one waits for all of it; see `append`.

        If the parts might leave too many dead letters, append all or nothing of it at once.
        """
        first, *rest = delivery.split(_PART_BYTES)
        try:
            parts = [self.append(first, arrived)]
        except LettersFull:
            if not rest:
                raise
            return self.append(delivery, arrived)
        parts += [self.append(part, arrived) for part in rest]
        others = {index: other for part in parts for index, other in part.others.items()}
        return Committed(parts[-1].at, others)

    def append(self, delivery: Delivery, arrived: float | None = None) -> Committed:
        """Return once the delivery is on disk and its shards are woken.

        Raise Unavailable if the database is down, or if the timeout since `arrived`
        (time.monotonic) has passed. In both cases, the log may nevertheless contain the delivery.
        Raise EventStoreError if the log rejects the delivery.
        """
        start = time.monotonic() if arrived is None else arrived
        ticket = _Ticket(delivery, start + self._timeout_s)
        group: list[_Ticket] = []
        try:
            with tracing.child_span("append", "client", _SPAN_ATTRIBUTES):
                with self._mutex:
                    self._queue.append(ticket)
                    ticket.leads, self._is_led = not self._is_led, True
                if not ticket.leads:
                    self._await_turn(ticket)
                if ticket.leads:
                    group = self._take_group()
                    self._lead(group, ticket.deadline)
                if isinstance(ticket.outcome, ProgressError):
                    raise ticket.outcome
        finally:
            self._finish(group)  # even after an error, because some requests may be committed
        every = ticket.outcome.others if isinstance(ticket.outcome, Appended) else []
        own = {at: (said, why) for place, at, said, why in every if place == ticket.place}
        return Committed(ticket.committed_at, own)

    def _await_turn(self, ticket: _Ticket) -> None:
        """Wait for the outcome or for leadership; raise DeadlineExceeded at the deadline."""
        if ticket.turn.wait(max(ticket.deadline - time.monotonic(), 0)):
            return
        with self._mutex:
            if ticket.leads or ticket.turn.is_set():
                return
            if ticket in self._queue:
                self._queue.remove(ticket)
        raise _deadline_error()

    def _lead(self, group: list[_Ticket], deadline: float) -> None:
        """Commit the group, then make the first request in the queue the leader."""
        try:
            self._commit(group, deadline)
        finally:
            for ticket in group:  # an unexpected exception may have ended the commit
                if ticket.outcome is None:
                    why = "the thread that was committing was stopped"
                    ticket.outcome = InstanceUnavailable(why)
                    self._close()
            with self._mutex:
                successor = self._queue[0] if self._queue else None
                self._is_led = successor is not None
                if successor is not None:
                    successor.leads = True
            if successor is not None:
                successor.turn.set()

    def _finish(self, group: list[_Ticket]) -> None:
        """Wake the shards of the committed events, then release the group's requests.

        If a wake-up raises an exception, the group's requests fail. Pub/Sub then redelivers their
        messages, and the wake-ups are sent again.
        """
        committed = [(t, t.outcome) for t in group if isinstance(t.outcome, Appended)]
        shards = {shard for _, outcome in committed for shard in outcome.shards}
        error: Unavailable | None = InstanceUnavailable(
            "the thread that sends wake-ups was stopped"
        )
        try:
            if shards:
                delays = [t.delivery.message.age_ms(t.committed_at) or 0 for t, _ in committed]
                self._wake(sorted(shards), max(0, *delays))
            error = None
        finally:
            for ticket in group:
                ticket.outcome = error or ticket.outcome
                ticket.turn.set()

    def _take_group(self) -> list[_Ticket]:
        """Remove and return the tickets at the front of the queue that fit into one transaction."""
        size, events, length = 0, 0, 0
        with self._mutex:
            for ticket in self._queue:
                events += len(ticket.delivery.entries)
                length += ticket.delivery.size
                if size and (events > _MOST_EVENTS or length > _MOST_BYTES):
                    break
                size += 1
            group, self._queue = self._queue[:size], self._queue[size:]
        return group

    def _commit(self, group: list[_Ticket], deadline: float) -> None:
        """Commit the group together; if the log rejects it, commit each ticket alone."""
        outcome: Appended | ProgressError
        try:
            outcome = self._append(group, deadline)
        except EventStoreError as rejection:
            if len(group) > 1:
                for ticket in group:
                    self._commit([ticket], deadline)
                return
            outcome = rejection
        except Unavailable as error:
            outcome = error
        else:
            if erased := outcome.outcomes.get("erased"):
                what = "dropped events of erased learners"
                logs.write("INFO", what, operation="ingest", erased=erased)
        for ticket in group:
            ticket.outcome, ticket.committed_at = outcome, datetime.now(UTC)

    def _append(self, group: list[_Ticket], deadline: float) -> Appended:
        """Append the group; if the connection breaks, append once more on a new connection.

        To append twice is safe, because appends are idempotent. If the append waited for a lock in
        vain, an analyst may hold it.
        """
        for place, ticket in enumerate(group):
            ticket.place = place
        deliveries = [ticket.delivery for ticket in group]
        try:
            return log.append(self._open(deadline), deliveries)
        except Unavailable as error:
            self._close()
            is_locked = error.__cause__ and database.is_lock_timeout(error.__cause__)
        try:
            if is_locked:
                analysts.end_locks(self._open(deadline))
            return log.append(self._open(deadline), deliveries)
        except Unavailable:
            self._close()
            raise

    def _open(self, deadline: float) -> Connection:
        if self._connection is None:
            seconds = min(_seconds_until(deadline), _CONNECT_TIMEOUT_S)
            self._connection = database.connect_within(seconds, self._connect)
        database.set_timeout(self._connection, min(_seconds_until(deadline), _APPEND_TIMEOUT_S))
        return self._connection

    def _close(self) -> None:
        broken, self._connection = self._connection, None
        if broken is not None:
            database.close(broken, timeout_s=0.1)


def _seconds_until(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise _deadline_error()
    return seconds


def _deadline_error() -> DeadlineExceeded:
    return DeadlineExceeded("the database did not respond before the request's deadline")
