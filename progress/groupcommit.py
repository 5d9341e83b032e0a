"""Concurrent requests of one process share transactions: a leader commits for its followers.

Nobody lingers: whoever finds no commit under way leads at once, and takes along all that
has queued up meanwhile. The leader sends the wake-ups of its whole group. No request of the group
is answered before: an acknowledged one is not delivered again, and its shard would stay behind.
"""

import contextlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pg8000.exceptions

from progress import eventlog, telemetry
from progress.database import Connection
from progress.errors import EventStoreError, ProgressError, Unavailable
from progress.eventlog import Appended, Delivery

_MOST_EVENTS = 1_000  # of one transaction, if more than one request waits
_SQL = {"db.system.name": "postgresql"}


class _Ticket:
    """A request that waits: for its outcome, or to lead."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.turn = threading.Event()
        self.outcome: Appended | ProgressError | None = None
        self.committed_at = datetime.now(UTC)  # until it is, when it was queued


class GroupCommit:
    """One connection, opened at first use and again after it broke, for all threads."""

    def __init__(
        self, connect: Callable[[], Connection], wake: Callable[[list[int]], object]
    ) -> None:
        self._connect = connect
        self._wake = wake
        self._connection: Connection | None = None
        self._mutex = threading.Lock()
        self._queue: list[_Ticket] = []
        self._is_led = False

    def take(self, delivery: Delivery) -> datetime:
        """Return once all of it is on disk and its shards were woken: when it was committed.

        Unavailable if the database is away, EventStoreError if it refused.
        """
        ticket = _Ticket(delivery)
        group: list[_Ticket] = []
        try:
            with telemetry.span("append", "client", _SQL):  # a follower's is its leader's
                with self._mutex:
                    self._queue.append(ticket)
                    leads, self._is_led = not self._is_led, True
                if not leads:
                    ticket.turn.wait()
                if ticket.outcome is None:
                    group = self._cut()
                    self._lead(group)
                if isinstance(ticket.outcome, ProgressError):
                    raise ticket.outcome
        finally:
            self._finish(group)  # whatever became of the leader: it commits for others, too
        return ticket.committed_at

    def _lead(self, group: list[_Ticket]) -> None:
        """Commit for the group, then give the lead away."""
        try:
            self._commit(group)
        finally:
            self._give_up(group)
            with self._mutex:
                successor = self._queue[0] if self._queue else None
                self._is_led = successor is not None
            if successor is not None:
                successor.turn.set()

    def _finish(self, group: list[_Ticket]) -> None:
        """Wake the shards of what was committed, then let the group's requests be answered.

        Where that raises, they fail: each is delivered again, and wakes its shards then.
        """
        told = (t.outcome.shards for t in group if isinstance(t.outcome, Appended))
        shards = sorted({shard for each in told for shard in each})
        error: Unavailable | None = Unavailable("the thread that sends wake-ups was ended")
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
        size, events = 0, 0
        with self._mutex:
            for ticket in self._queue:
                events += len(ticket.delivery.entries)
                if size and events > _MOST_EVENTS:
                    break
                size += 1
            group, self._queue = self._queue[:size], self._queue[size:]
        return group

    def _give_up(self, group: list[_Ticket]) -> None:
        """What has no outcome by now met an exception that nobody foresaw."""
        for ticket in group:
            if ticket.outcome is None:
                ticket.outcome = Unavailable("the thread that committed was ended")
                self._close()

    def _commit(self, group: list[_Ticket]) -> None:
        """Together; if that is refused, each alone, so that none fails for another."""
        outcome: Appended | ProgressError
        try:
            outcome = self._append(group)
        except EventStoreError as refusal:
            if len(group) > 1:
                for ticket in group:
                    self._commit([ticket])
                return
            outcome = refusal
        except Unavailable as fault:
            outcome = fault
        for ticket in group:
            ticket.outcome, ticket.committed_at = outcome, datetime.now(UTC)

    def _append(self, group: list[_Ticket]) -> Appended:
        """Once more on a new connection if this one broke: nothing is appended twice."""
        deliveries = [ticket.delivery for ticket in group]
        try:
            return eventlog.append(self._opened(), deliveries)
        except Unavailable:
            self._close()
        try:
            return eventlog.append(self._opened(), deliveries)
        except Unavailable:
            self._close()
            raise

    def _opened(self) -> Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _close(self) -> None:
        broken, self._connection = self._connection, None
        if broken is not None:
            with contextlib.suppress(OSError, pg8000.exceptions.Error):  # it may be gone already
                broken.close()
