"""A publisher that is killed, and what the subscribers of `progress-events` require of it."""

import contextlib
import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from google.pubsub_v1.types import PublishRequest, PubsubMessage

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import ProgressError
from progress.event_store import publication
from progress.event_store.log import PostgresEventStore
from progress.projections.projector import SHARDS
from progress.settings import PublishEvents, Settings
from tests.conftest import Store
from tests.support import model_rows
from tests.support.fake_publisher import FakePublisher

DELETION = "UserDeleted"
FAULTS = ("refused", "lost", "killed", "killed before the move")


class Publisher:
    """A publisher that is killed and started again; `pubsub` is what its subscribers receive."""

    def __init__(self, store: Store, pubsub: FakePublisher, setting: PublishEvents) -> None:
        self.pubsub, self._store = pubsub, store
        self.observer = store.connect()
        self.settings = Settings(pubsub_emulator_host=pubsub.address, publish_events=setting)
        self._start()

    def _start(self) -> None:
        self.connection = self._store.connect()
        self.pid: int = model_rows.read_value(self.connection, "pid")

    def restart(self) -> None:
        database.close(self.connection)
        self._start()

    def run(self) -> int:
        publication.outage.cache_clear()
        return sum(publication.publish(self.connection, shard, self.settings) for shard in SHARDS)

    def kill(self) -> None:
        model_rows.kill(self.observer, self.pid)

    def run_and_fail(self, fault: str, request: int) -> None:
        """Run with a fault in one of the requests, or when the checkpoint moves."""
        if fault == "killed before the move":
            self._kill_before_the_move()
            return
        where = "on_request" if fault == "refused" else "on_stored"
        count = 0

        def fail(_: PublishRequest) -> None:
            nonlocal count
            count += 1
            if count == request:
                if fault == "killed":
                    self.kill()
                raise ConnectionError

        before = getattr(self.pubsub, where)
        setattr(self.pubsub, where, fail)
        with suppress(ProgressError):
            self.run()
        setattr(self.pubsub, where, before)
        if fault == "killed":
            self.kill()
            self.restart()

    def _kill_before_the_move(self) -> None:
        with contextlib.closing(self._store.connect()) as locker, ThreadPoolExecutor(1) as pool:
            locker.run("BEGIN")
            locker.run("LOCK TABLE event_store.publisher_checkpoints IN SHARE MODE")
            running = pool.submit(self.run)
            model_rows.kill_at_lock(self.observer, self.pid, running)
            with suppress(ProgressError):
                running.result()
            locker.run("ROLLBACK")
        self.restart()

    def close(self) -> None:
        database.close(self.connection)
        self.observer.close()


@pytest.fixture
def publisher(
    request: pytest.FixtureRequest, store: Store, fake_publisher: FakePublisher
) -> Iterator[Publisher]:
    setting: Any = getattr(request, "param", "milestones")
    with contextlib.closing(Publisher(store, fake_publisher, setting)) as made:
        yield made


def check(connection: Connection, messages: Iterable[PubsubMessage], setting: str) -> None:
    """Check all messages that were published, in the order in which Pub/Sub accepted them.

    Every event of the log must be published, except what the setting and deletions leave out.
    """
    log = {str(event.event_id): event for event in read_log(connection)}
    deleted = {event.stream_id for event in log.values() if event.event_type == DELETION}
    streams = defaultdict(list)
    contents: dict[str, tuple[bytes, dict[str, str]]] = {}
    for message in messages:
        attributes = dict(message.attributes)
        content = (message.data, attributes)
        assert contents.setdefault(attributes["ce-id"], content) == content
        assert message.ordering_key == attributes["ce-subject"]
        streams[message.ordering_key].append(attributes["ce-id"])
    for stream, ids in streams.items():
        _check_order([log[each].stream_version for each in ids], has_gaps=stream in deleted)
        types = [log[each].event_type for each in ids]
        if DELETION in types:
            assert {*types[types.index(DELETION) :]} == {DELETION}
    must = {
        str(event.event_id)
        for event in log.values()
        if event.event_type == DELETION
        or (setting == "all" and event.stream_id not in deleted and event.event_type != "Erased")
    }
    assert must <= contents.keys()
    if setting == "milestones":
        assert must == contents.keys()


def _check_order(versions: list[int], *, has_gaps: bool) -> None:
    """A repetition begins again at an earlier version; a new version follows those before it."""
    first = list(dict.fromkeys(versions))
    assert first == sorted(first), versions
    if not has_gaps:
        starts = [new for old, new in zip([0, *versions], versions, strict=False) if new > old + 1]
        assert not starts, versions


def read_log(connection: Connection) -> Any:
    return PostgresEventStore(connection).read_all_events(1, 1_000_000)


def are_committed(connection: Connection, messages: Iterable[PubsubMessage]) -> bool:
    ids = [json.loads(message.data)["event_id"] for message in messages]
    known = {event.event_id for event in read_log(connection)}
    return {uuid.UUID(each) for each in ids} <= known
