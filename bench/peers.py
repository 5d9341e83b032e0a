"""The recorder of `eventsourcing`, used as its documentation shows."""

import uuid
from collections import Counter
from collections.abc import Sequence

import msgspec
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

from bench.envelopes import Envelope
from bench.server import Store


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
