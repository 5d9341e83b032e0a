"""The projection that the documentation of `eventsourcing` shows: two counters, exactly once."""

import time
import uuid
from typing import Any

from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import get_topic
from psycopg.sql import SQL

from bench.server import Store
from bench.statements import blocks

_ANSWERS = 39  # of a learner, besides the first event
_PATIENCE = 60.0  # seconds


class Learner(Aggregate):
    """Answers, an event each."""

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
        """One more."""
        self.answers += 1
        self.latest = (session_id, item_id, response_time_ms)


class Counters(PostgresTrackingRecorder):
    """The read model: how many learners came, and how many events since."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sql_create_statements.append(SQL(blocks("peer")["counters"]).format())

    def count(self, counter: str, tracking: Tracking) -> None:
        """One more, with its tracking record."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(blocks("peer")["count"], (counter,), prepare=True)


class Counting(Projection[Counters]):
    """Each event is one more of one of two counters."""

    name = "counters"
    topics = (get_topic(Learner.Created), get_topic(Learner.Answered))

    @singledispatchmethod
    def process_event(self, _event: Aggregate.Event, tracking: Tracking) -> None:
        """What is neither."""
        self.view.insert_tracking(tracking)

    @process_event.register
    def came(self, _event: Aggregate.Created, tracking: Tracking) -> None:
        """A learner's first event."""
        self.view.count("learners", tracking)

    @process_event.register
    def answered(self, _event: Aggregate.Event, tracking: Tracking) -> None:
        """Any later one."""
        self.view.count("answers", tracking)


class Peer:
    """A log of the library's, and its runner."""

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
        """Events a second, of those of so many new learners."""
        begin, end = self._write(learners)
        with ProjectionRunner(
            application_class=Application[uuid.UUID],
            projection_class=Counting,
            view_class=Counters,
            env=self._environment,
        ) as runner:
            runner.wait(begin, _PATIENCE)  # its start is not counted
            since = time.perf_counter()
            runner.wait(end, _PATIENCE)
            return (end - begin) / (time.perf_counter() - since)

    def _write(self, learners: int) -> tuple[int, int]:
        """The positions of the first and the last event written."""
        application = Application[uuid.UUID](self._environment)
        positions = []
        for _ in range(learners):
            learner = Learner()
            for number in range(_ANSWERS):
                learner.answer(str(learner.id), f"item-{number}", 2_500)
            positions += [r.notification.id for r in application.save(learner)]
        application.close()
        return positions[0], positions[-1]
