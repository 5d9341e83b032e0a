"""A database that sleeps while nobody asks, as Neon's does, and takes half a second to wake."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from progress.adapters.postgres.database import Connection
from tests.conftest import Store
from tests.support import api, sample_events
from tests.support.forwarding import Gate

WAKING_S = 0.5


class Sleeper(Gate):
    """A port in front of the database; `suspend` ends all sessions, and the next one wakes it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._clients: list[socket.socket] = []
        self._is_asleep, self._waking = False, threading.Lock()

    def suspend(self) -> None:
        self._is_asleep = True
        while self._clients:
            with suppress(OSError):
                self._clients.pop().shutdown(socket.SHUT_RDWR)

    def _forward(self, client: socket.socket) -> None:
        with self._waking:  # sessions that come meanwhile wait, too
            if self._is_asleep:
                time.sleep(WAKING_S)  # this is the behaviour of the server, not a wait of the test
            self._is_asleep = False
        self._clients.append(client)
        super()._forward(client)


@pytest.fixture
def sleeper(store: Store) -> Iterator[Sleeper]:
    with closing(Sleeper(store.url)) as made:
        made.open()
        yield made


def test_the_first_request_waits_until_the_database_is_awake(
    sleeper: Sleeper, connection: Connection
) -> None:
    """The connections in the pool are broken then; the request opens another one by itself."""
    sample_events.record_lessons(connection, "ann")
    query = "{ streak { current } userProgress { totalItemsLearned } hourlyStats { hour } }"
    with api.serve(sleeper.url) as asked:
        awake = asked.data(query)
        sleeper.suspend()
        began = time.monotonic()
        assert asked.data(query) == awake
        assert time.monotonic() - began >= WAKING_S
