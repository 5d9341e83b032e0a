"""The recorder and the projection runner of `eventsourcing`, used as its documentation shows.

The projection has two exactly-once counters.
"""

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import StoredEvent, Tracking
from eventsourcing.postgres import (
    PostgresApplicationRecorder,
    PostgresDatastore,
    PostgresTrackingRecorder,
)
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import get_topic
from psycopg.sql import SQL

from bench.envelopes import Envelope
from bench.server import Store
from bench.statements import blocks

_ANSWERS = 39  # answers of a learner, after the first event
_TIMEOUT_S = 60.0  # seconds


def recorder(store: Store) -> PostgresApplicationRecorder:
    """Return a recorder in default mode, which orders all events as Progress's log does."""
    made = PostgresApplicationRecorder(
        PostgresDatastore(store.name, store.host, 5432, "postgres", ""),
        events_table_name="stored_events",
    )
    made.create_table()
    return made


class Numbering:
    """A counter for each learner, because the library's callers must number a learner's events."""

    def __init__(self) -> None:
        self._versions: Counter[str] = Counter()

    def number(self, batch: Sequence[Envelope]) -> list[StoredEvent]:
        """Return the events as the library's stored events."""
        made = []
        for one in batch:
            learner = one["data"]["user_id"]
            self._versions[learner] += 1
            made.append(
                StoredEvent(
                    originator_id=uuid.uuid5(uuid.NAMESPACE_OID, learner),
                    originator_version=self._versions[learner],
                    topic=one["event_type"],
                    state=msgspec.json.encode(one["data"] | {"at": one["occurred_at"]}),
                )
            )
        return made


class Learner(Aggregate):
    """A learner; each answer of the learner is an event."""

    class Answered(Aggregate.Event):
        """One answer."""

        session_id: str
        item_id: str
        response_time_ms: int

    def __init__(self) -> None:
        self.answers = 0
        self.latest = ("", "", 0)

    @event(Answered)
    def answer(self, session_id: str, item_id: str, response_time_ms: int) -> None:
        """Record an answer."""
        self.answers += 1
        self.latest = (session_id, item_id, response_time_ms)


class Counters(PostgresTrackingRecorder):
    """The read model with the numbers of learners and of answers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sql_create_statements.append(SQL(blocks("peers")["counters"]).format())

    def count(self, counter: str, tracking: Tracking) -> None:
        """Increment a counter, and record the event's position in the same transaction."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(blocks("peers")["count"], (counter,), prepare=True)


class Counting(Projection[Counters]):
    """A projection that counts each event in one of the two counters."""

    name = "counters"
    topics = (get_topic(Learner.Created), get_topic(Learner.Answered))

    @singledispatchmethod
    def process_event(self, _event: Aggregate.Event, tracking: Tracking) -> None:
        """Record the position of an event that is not counted."""
        self.view.insert_tracking(tracking)

    @process_event.register
    def count_learner(self, _event: Aggregate.Created, tracking: Tracking) -> None:
        """Count a learner's first event."""
        self.view.count("learners", tracking)

    @process_event.register
    def count_answer(self, _event: Aggregate.Event, tracking: Tracking) -> None:
        """Count a later event."""
        self.view.count("answers", tracking)


class Peer:
    """The event log and the projection runner of the `eventsourcing` library."""

    def __init__(self, store: Store) -> None:
        self._environment = {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": store.name,
            "POSTGRES_HOST": store.host,
            "POSTGRES_PORT": "5432",
            "POSTGRES_USER": "postgres",
            "POSTGRES_PASSWORD": "",
        }

    def project(self, learners: int) -> float:
        """Project the events of `learners` new learners; return events per second."""
        begin, end = self._write(learners)
        with ProjectionRunner(
            application_class=Application[uuid.UUID],
            projection_class=Counting,
            view_class=Counters,
            env=self._environment,
        ) as runner:
            runner.wait(begin, _TIMEOUT_S)  # the start of the runner is not measured
            since = time.perf_counter()
            runner.wait(end, _TIMEOUT_S)
            return (end - begin) / (time.perf_counter() - since)

    def _write(self, learners: int) -> tuple[int, int]:
        """Write the events; return the positions of the first and the last."""
        application = Application[uuid.UUID](self._environment)
        positions = []
        for _ in range(learners):
            learner = Learner()
            for number in range(_ANSWERS):
                learner.answer(str(learner.id), f"item-{number}", 2_500)
            positions += [r.notification.id for r in application.save(learner)]
        application.close()
        return positions[0], positions[-1]
