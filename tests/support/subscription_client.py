"""Run the query function and read its event streams; record lessons, which cause stream events."""

import http.client
import itertools
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from progress.projections.projector import Projector
from progress.query.live.hub import POLL_S
from progress.serve import ports
from tests.conftest import Store
from tests.support import api, function_process, sample_events, token_issuer
from tests.support.function_process import FunctionProcess
from tests.support.postgres_servers import url_of
from tests.support.stage import append, connect

Body = dict[str, Any]
Event = tuple[str, Any]

TIMEOUT_S = 60  # the longest wait for one event

PROGRESS = "subscription { progressUpdated { totalSessionsCompleted currentStreak } }"
STREAK = "subscription { streakUpdated { current lastStudyDate } }"

_IMPORTS = """
from progress.query.live import hub
from progress.query.http.subscriptions import StreamLimits
"""


class Stream:
    def __init__(self, port: int, query: str, user: str = "ann", /, **variables: Any) -> None:
        """Open a stream for the query and its GraphQL variables.

        Three keyword arguments are not sent as GraphQL variables: `roles`, `headers`, and
        `receive_buffer` (in bytes).
        """
        self._connection = http.client.HTTPConnection(ports.HOST, port, timeout=TIMEOUT_S)
        if size := variables.pop("receive_buffer", None):
            self._connect_with_buffer(size)
        headers = api.headers(user, variables.pop("roles", None), accept="text/event-stream")
        headers |= variables.pop("headers", {})
        body = json.dumps({"query": query, "variables": variables})
        self._connection.request("POST", "/graphql/stream", body, headers)
        self.response = self._connection.getresponse()
        self.status = self.response.status

    def _connect_with_buffer(self, size: int) -> None:
        """Connect with a receive buffer of `size` bytes, so that the kernel buffers little data."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        client.settimeout(TIMEOUT_S)
        client.connect((self._connection.host, self._connection.port))
        self._connection.sock = client

    def next_event(self) -> Event | None:
        """Return the name and the data of the next event, or None after the end of the stream."""
        name, data, deadline = "", "", time.monotonic() + TIMEOUT_S
        while line := self.response.readline().decode():
            field, _, value = line.rstrip("\n").partition(":")
            if field == "event":
                name = value.strip()
            elif field == "data":
                data += value.strip()
            elif name:
                return name, json.loads(data) if data else None
            elif line.startswith(":"):
                assert time.monotonic() < deadline, "the stream sent only heartbeats"
        return None

    def next_value(self) -> Any:
        event = self.next_event()
        assert event
        name, result = event
        assert name == "next"
        assert "errors" not in result, result
        (value,) = result["data"].values()
        return value

    def next_error(self) -> Any:
        event = self.next_event()
        assert event
        assert event[1]["data"] is None
        (error,) = event[1]["errors"]
        return error

    def read_to_end(self) -> Any:
        value = None
        while (event := self.next_event()) and event[0] == "next":
            (value,) = event[1]["data"].values()
        assert event == ("complete", None)
        assert self.next_event() is None
        return value

    def read_body(self) -> Body:
        body: Body = json.loads(self.response.read())
        return body

    def close(self) -> None:
        self.response.close()
        self._connection.close()


Subscribe = Callable[..., Stream]


@pytest.fixture
def subscribe() -> Iterator[Subscribe]:
    with ExitStack() as opened:
        yield lambda *args, **variables: opened.enter_context(closing(Stream(*args, **variables)))


class LessonRecorder:
    def __init__(self, url: str) -> None:
        self._connection = connect(url)
        self._projector = Projector(self._connection)
        self._numbers: dict[str, Iterator[int]] = {}

    def add_lesson(self, user: str = "ann") -> None:
        number = next(self._numbers.setdefault(user, itertools.count()))
        self.append(*sample_events.lesson(user, number))

    def append(self, *envelopes: Body) -> None:
        append(self._connection, list(envelopes))
        self._projector.catch_up_all()

    def close(self) -> None:
        self._connection.close()


@contextmanager
def query_function(
    url: str,
    *,
    limits: str = "",
    poll_s: float = POLL_S,
    server: str = "",
    port: int = 0,
    log: Path | None = None,
    **environment: str,
) -> Iterator[FunctionProcess]:
    """Run a query function on this database; `port` and `log` as in `function_process.run`.

    `limits` and `server` are source code: the arguments of StreamLimits and `server.configure`.
    """
    reader = "Reader(settings.current())"
    options = f"{reader}, StreamLimits({limits})"
    text = f"{_IMPORTS}hub.POLL_S = {poll_s}\n" + function_process.edit("query", reader, options)
    text = text.replace("serve_socket)", f"serve_socket, {server})")
    with token_issuer.serve() as issuer:
        variables = {**issuer.environment(url), "RATE_LIMIT_PER_MINUTE": "1000000", **environment}
        forks = "LD_PRELOAD" not in os.environ  # a fork would not load the library
        with function_process.run(
            "query", variables, text, port=port, log=log, forks=forks
        ) as function:
            yield function


@pytest.fixture
def query_process(store: Store) -> Iterator[FunctionProcess]:
    with query_function(url_of(store.url, "query")) as function:
        yield function


Serve = Callable[..., AbstractContextManager[FunctionProcess]]  # with the options of query_function
