"""Group commit: concurrent requests of one process share transactions.

A request that finds no commit in progress becomes the leader at once and commits everything that is
queued. Meanwhile others queue up for the next leader. The leader sends the wake-ups of its group
before any of its requests is answered: an acknowledged message is not delivered again, so its shard
would stay behind. No request waits beyond its own deadline.
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

_MOST_EVENTS = 1_000  # in one transaction, if more than one request waits
_MOST_BYTES = 4 << 20  # of their data, likewise
_CONNECT_TIMEOUT_S = 10.0
_APPEND_TIMEOUT_S = 15.0
_SPAN_ATTRIBUTES = {"db.system.name": "postgresql"}


class _Ticket:
    """A request that waits for its outcome, or to become the leader."""

    def __init__(self, delivery: Delivery, deadline: float) -> None:
        self.delivery = delivery
        self.deadline = deadline
        self.leads = False
        self.turn = threading.Event()
        self.outcome: Appended | ProgressError | None = None
        self.committed_at = datetime.now(UTC)  # until the commit: when it was queued


class GroupCommit:
    """One connection for all threads, opened at first use and again after it broke."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        wake: Callable[[list[int]], object],
        timeout_s: float = 23,
    ) -> None:
        self._connect = connect
        self._wake = wake
        self._timeout_s = timeout_s  # from arrival to outcome: 25 s in all, 2 s for the wake-ups
        self._connection: Connection | None = None
        self._mutex = threading.Lock()
        self._queue: list[_Ticket] = []
        self._is_led = False

    def append(self, delivery: Delivery, arrived: float | None = None) -> datetime:
        """Return the time of commit, once all of it is on disk and its shards are woken.

        Unavailable if the database is down, or the time since `arrived` (time.monotonic) is over:
        the delivery may be appended all the same. EventStoreError if the log rejects it.
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
            self._finish(group)  # even if the leader failed: its followers may be committed
        return ticket.committed_at

    def _await_turn(self, ticket: _Ticket) -> None:
        """Return once there is an outcome or the lead; DeadlineExceeded when the time is over."""
        if ticket.turn.wait(max(ticket.deadline - time.monotonic(), 0)):
            return
        with self._mutex:
            if ticket.leads or ticket.turn.is_set():
                return
            if ticket in self._queue:
                self._queue.remove(ticket)
        raise _deadline_error()

    def _lead(self, group: list[_Ticket], deadline: float) -> None:
        """Commit for the group, then make the first in the queue the leader."""
        try:
            self._commit(group, deadline)
        finally:
            self._fail_remaining(group)
            with self._mutex:
                successor = self._queue[0] if self._queue else None
                self._is_led = successor is not None
                if successor is not None:
                    successor.leads = True
            if successor is not None:
                successor.turn.set()

    def _finish(self, group: list[_Ticket]) -> None:
        """Wake the shards of what was committed, then release the group's requests.

        If the wake-ups raise an exception, the requests fail: the messages are delivered again,
        which repeats the wake-ups.
        """
        shards = {s for t in group if isinstance(t.outcome, Appended) for s in t.outcome.shards}
        error: Unavailable | None = InstanceUnavailable("the thread that sends wake-ups was ended")
        try:
            if shards:
                self._wake(sorted(shards))
            error = None
        finally:
            for ticket in group:
                ticket.outcome = error or ticket.outcome
                ticket.turn.set()

    def _take_group(self) -> list[_Ticket]:
        """Remove the first tickets from the queue, as many as one transaction may hold."""
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

    def _fail_remaining(self, group: list[_Ticket]) -> None:
        """Fail the tickets without an outcome: an unexpected exception ended their commit."""
        for ticket in group:
            if ticket.outcome is None:
                ticket.outcome = InstanceUnavailable("the thread that committed was ended")
                self._close()

    def _commit(self, group: list[_Ticket], deadline: float) -> None:
        """Commit the group together; if the log rejects it, each ticket alone."""
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
        for ticket in group:
            ticket.outcome, ticket.committed_at = outcome, datetime.now(UTC)

    def _append(self, group: list[_Ticket], deadline: float) -> Appended:
        """Append, a second time on a new connection if this one broke: appends are idempotent."""
        deliveries = [ticket.delivery for ticket in group]
        try:
            return log.append(self._open(deadline), deliveries)
        except Unavailable:
            self._close()
        try:
            return log.append(self._open(deadline), deliveries)
        except Unavailable:
            self._close()
            raise

    def _open(self, deadline: float) -> Connection:
        """Return the connection, with a time limit for its next statement."""
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
    return DeadlineExceeded("the database did not answer within the time of the request")
