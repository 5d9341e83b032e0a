"""The `eventsourcing` library, as its documentation has it: the recorder, and a projection."""

import uuid
from collections import Counter
from collections.abc import Sequence

import msgspec
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

from bench.envelopes import Envelope
from bench.server import Store


def recorder(store: Store) -> PostgresApplicationRecorder:
    """A recorder in default mode, which numbers its events in their order as ours does."""
    made = PostgresApplicationRecorder(
        PostgresDatastore(store.name, store.host, 5432, "postgres", ""),
        events_table_name="stored_events",
    )
    made.create_table()
    return made


class Numbering:
    """Gives each learner's events their versions: the library's callers know them."""

    def __init__(self) -> None:
        self._versions: Counter[str] = Counter()

    def stored(self, batch: Sequence[Envelope]) -> list[StoredEvent]:
        """The same events, as the library takes them."""
        made = []
        for event in batch:
            learner = event["data"]["user_id"]
            self._versions[learner] += 1
            made.append(
                StoredEvent(
                    originator_id=uuid.uuid5(uuid.NAMESPACE_OID, learner),
                    originator_version=self._versions[learner],
                    topic=event["event_type"],
                    state=msgspec.json.encode(event["data"] | {"at": event["occurred_at"]}),
                )
            )
        return made
