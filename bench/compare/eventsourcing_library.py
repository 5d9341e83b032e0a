"""The Python library `eventsourcing` with PostgreSQL, used as its documentation shows."""

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import msgspec
from eventsourcing.application import Application
from eventsourcing.domain import DomainEvent
from eventsourcing.persistence import StoredEvent, Tracking
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import get_topic
from psycopg.sql import SQL

from bench.compare.systems import SESSION, Projected
from bench.envelopes import Envelope
from bench.server import Store
from bench.statements import blocks

_TIMEOUT_S = 600.0


class Recorded(DomainEvent):
    """An event of a learner. The other fields of its type are attributes, too."""

    kind: str
    user_id: str


class Counters(PostgresTrackingRecorder):
    """The read model of the peers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sql_create_statements.append(SQL(blocks("compare/peers")["counters"]).format())

    def count(self, event: Recorded, tracking: Tracking) -> None:
        """Count an event, and record its position in the same transaction."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            one = (event.user_id, event.kind)
            cursor.execute(blocks("compare/peers")["count"], one, prepare=True)


class Counting(Projection[Counters]):
    """The projection that counts each event."""

    name = "counters"

    def __init__(self, view: Counters) -> None:
        super().__init__(view)
        self.times: list[float] = []

    def process_event(self, domain_event: Recorded, tracking: Tracking) -> None:
        """Count the event, and note the time."""
        self.view.count(domain_event, tracking)
        self.times.append(time.perf_counter())


class Library:
    """An application of `eventsourcing` in default mode, which orders all events."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._environment = {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": store.name,
            "POSTGRES_HOST": store.host,
            "POSTGRES_PORT": "5432",
            "POSTGRES_USER": "postgres",
            "POSTGRES_PASSWORD": "",
        }
        self._application = Application[uuid.UUID](self._environment)
        self._recorder = cast("PostgresApplicationRecorder", self._application.recorder)
        self._versions: Counter[uuid.UUID] = Counter()

    def encode(self, batch: Sequence[Envelope]) -> list[StoredEvent]:
        """Return the events as the library's stored events.

        The library's callers must number the events of each learner.
        """
        return [self._number(one) for one in batch]

    def _number(self, one: Envelope) -> StoredEvent:
        learner = one["data"]["user_id"]
        key = _key(learner)
        self._versions[key] += 1
        state = one["data"] | {"kind": one["event_type"], "timestamp": one["occurred_at"]}
        encoded = msgspec.json.encode(state)
        return StoredEvent(key, self._versions[key], get_topic(Recorded), encoded)

    def append(self, encoded: list[StoredEvent]) -> None:
        self._recorder.insert_events(encoded)

    def project(self) -> Projected:
        """Run the projection; its start and its first event are left out of the seconds."""
        spent = self.store.cpu_microseconds()
        with ProjectionRunner(
            application_class=Application[uuid.UUID],
            projection_class=Counting,
            view_class=Counters,
            env=self._environment,
        ) as runner:
            runner.wait(self._recorder.max_notification_id(), _TIMEOUT_S)
            times = cast("Counting", runner.projection).times
            # The runner's sessions end with it.
            spent = self.store.cpu_microseconds() - spent
        runner.view.datastore.close()
        return Projected(len(times) - 1, times[-1] - times[0], spent / 1e6)

    def read_streams(self, learners: Sequence[str]) -> list[int]:
        events = self._application.events
        return [len(list(events.get(_key(learner)))) for learner in learners]

    def count_sessions(self, learners: Sequence[str]) -> list[int]:
        counts, query = [], blocks("compare/peers")["counted"]
        for learner in learners:
            with self._recorder.datastore.transaction() as cursor:
                cursor.execute(query, (learner, SESSION), prepare=True)
                row = cursor.fetchone()
                assert row, learner
                counts.append(row["count"])
        return counts

    def close(self) -> None:
        self._application.close()


def _key(learner: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, learner)
