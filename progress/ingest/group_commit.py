"""Concurrent requests of one process share transactions: a leader commits for its followers.

Nobody lingers: whoever finds no commit under way leads at once, and takes along all that
has queued up meanwhile. The leader sends the wake-ups of its whole group. No request of the group
is answered before: an acknowledged one is not delivered again, and its shard would stay behind.
Nobody waits longer than the time that a request may take in all.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.telemetry import tracing
from progress.errors import (
    DeadlineExceeded,
    EventStoreError,
    InstanceUnavailable,
    ProgressError,
    Unavailable,
)
from progress.event_store import log
from progress.event_store.log import Appended, Delivery

_MOST_EVENTS = 1_000  # of one transaction, if more than one request waits
_MOST_BYTES = 4 << 20  # of their data, likewise
_CONNECT_SECONDS = 10.0
_APPEND_SECONDS = 15.0
_SQL = {"db.system.name": "postgresql"}


class _Ticket:
    """A request that waits: for its outcome, or to lead."""

    def __init__(self, delivery: Delivery, deadline: float) -> None:
        self.delivery = delivery
        self.deadline = deadline
        self.leads = False
        self.turn = threading.Event()
        self.outcome: Appended | ProgressError | None = None
        self.committed_at = datetime.now(UTC)  # until it is, when it was queued


class GroupCommit:
    """One connection, opened at first use and again after it broke, for all threads."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        wake: Callable[[list[int]], object],
        seconds: float = 23,
    ) -> None:
        self._connect = connect
        self._wake = wake
        self._seconds = seconds  # from arrival to outcome: 25 in all, with 2 for the wake-ups
        self._connection: Connection | None = None
        self._mutex = threading.Lock()
        self._queue: list[_Ticket] = []
        self._is_led = False

    def take(self, delivery: Delivery, arrived: float | None = None) -> datetime:
        """Return once all of it is on disk and its shards were woken: when it was committed.

        Unavailable if the database is away, or the time since the request `arrived`
        (time.monotonic) is over: it may be appended still. EventStoreError if it refused.
        """
        began = time.monotonic() if arrived is None else arrived
        ticket = _Ticket(delivery, began + self._seconds)
        group: list[_Ticket] = []
        try:
            with tracing.child_span("append", "client", _SQL):  # a follower's is its leader's
                with self._mutex:
                    self._queue.append(ticket)
                    ticket.leads, self._is_led = not self._is_led, True
                if not ticket.leads:
                    self._await_turn(ticket)
                if ticket.leads:
                    group = self._cut()
                    self._lead(group, ticket.deadline)
                if isinstance(ticket.outcome, ProgressError):
                    raise ticket.outcome
        finally:
            self._finish(group)  # whatever became of the leader: it commits for others, too
        return ticket.committed_at

    def _await_turn(self, ticket: _Ticket) -> None:
        """Return once there is an outcome or the lead; Unavailable when the time is over."""
        if ticket.turn.wait(max(ticket.deadline - time.monotonic(), 0)):
            return
        with self._mutex:
            if ticket.leads or ticket.turn.is_set():
                return
            if ticket in self._queue:
                self._queue.remove(ticket)
        raise _too_late()

    def _lead(self, group: list[_Ticket], deadline: float) -> None:
        """Commit for the group, then give the lead away."""
        try:
            self._commit(group, deadline)
        finally:
            self._give_up(group)
            with self._mutex:
                successor = self._queue[0] if self._queue else None
                self._is_led = successor is not None
                if successor is not None:
                    successor.leads = True
            if successor is not None:
                successor.turn.set()

    def _finish(self, group: list[_Ticket]) -> None:
        """Wake the shards of what was committed, then let the group's requests be answered.

        Where that raises, they fail: each is delivered again, and wakes its shards then.
        """
        told = (t.outcome.shards for t in group if isinstance(t.outcome, Appended))
        shards = sorted({shard for each in told for shard in each})
        error: InstanceUnavailable | None = InstanceUnavailable(
            "the thread that sends wake-ups was ended"
        )
        try:
            if shards:
                self._wake(shards)
            error = None
        finally:
            for ticket in group:
                ticket.outcome = error or ticket.outcome
                ticket.turn.set()

    def _cut(self) -> list[_Ticket]:
        """Take the first in the queue out of it."""
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

    def _give_up(self, group: list[_Ticket]) -> None:
        """What has no outcome by now met an exception that nobody foresaw."""
        for ticket in group:
            if ticket.outcome is None:
                ticket.outcome = InstanceUnavailable("the thread that committed was ended")
                self._close()

    def _commit(self, group: list[_Ticket], deadline: float) -> None:
        """Together; if that is refused, each alone, so that none fails for another."""
        outcome: Appended | ProgressError
        try:
            outcome = self._append(group, deadline)
        except EventStoreError as refusal:
            if len(group) > 1:
                for ticket in group:
                    self._commit([ticket], deadline)
                return
            outcome = refusal
        except Unavailable as fault:
            outcome = fault
        for ticket in group:
            ticket.outcome, ticket.committed_at = outcome, datetime.now(UTC)

    def _append(self, group: list[_Ticket], deadline: float) -> Appended:
        """Once more on a new connection if this one broke: nothing is appended twice."""
        deliveries = [ticket.delivery for ticket in group]
        try:
            return log.append(self._opened(deadline), deliveries)
        except Unavailable:
            self._close()
        try:
            return log.append(self._opened(deadline), deliveries)
        except Unavailable:
            self._close()
            raise

    def _opened(self, deadline: float) -> Connection:
        """The connection, for a statement that is over by the deadline."""
        if self._connection is None:
            seconds = min(_left(deadline), _CONNECT_SECONDS)
            self._connection = database.connect_within(seconds, self._connect)
        database.set_timeout(self._connection, min(_left(deadline), _APPEND_SECONDS))
        return self._connection

    def _close(self) -> None:
        broken, self._connection = self._connection, None
        if broken is not None:
            database.close(broken, timeout_s=0.1)


def _left(deadline: float) -> float:
    """The seconds until then; Unavailable if there are none."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise _too_late()
    return seconds


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("the database did not answer within the time of the request")
