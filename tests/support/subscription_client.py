"""The query function with streams to read, and what changes what they tell."""

import http.client
import itertools
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from progress import settings
from progress.local import ports, readiness
from progress.projections.projector import Projector
from tests.query.test_process import started
from tests.support import api, sample_events, token_issuer
from tests.support.stage import append, connect, publisher

Body = dict[str, Any]
Event = tuple[str, Any]

SECONDS = 20  # that a test waits for an event

STANDING = "subscription { progressUpdated { totalSessionsCompleted currentStreak } }"
STREAK = "subscription { streakUpdated { current lastStudyDate } }"

_DOOR = """
import functions_framework.aio
from progress import settings
from progress.query.http import heads
from progress.query.http.app import QueryApi
from progress.query.http.subscriptions import Limits
from progress.query.live.hub import Pace

heads.bound()
_api = QueryApi(settings.current(), Limits({limits}), Pace({pace}))


@functions_framework.aio.http
async def query(request):
    return await _api.answer(request)
"""


class Stream:
    """One that is read, event by event."""

    def __init__(self, port: int, query: str, user: str = "ann", /, **more: Any) -> None:
        self._connection = http.client.HTTPConnection(ports.HOST, port, timeout=SECONDS)
        if room := more.pop("room", None):
            self._narrow(room)
        headers = api.headers(user, more.pop("roles", None), accept="text/event-stream")
        headers |= more.pop("headers", {})
        body = json.dumps({"query": query, "variables": more})
        self._connection.request("POST", "/graphql/stream", body, headers)
        self.response = self._connection.getresponse()
        self.status = self.response.status

    def _narrow(self, room: int) -> None:
        """Take no more than that, in bytes, before it is read."""
        wire = socket.socket()
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        wire.settimeout(SECONDS)
        wire.connect((self._connection.host, self._connection.port))
        self._connection.sock = wire

    def event(self) -> Event | None:
        """The next event: its name and what it holds; None where the stream has ended."""
        name, data, deadline = "", "", time.monotonic() + SECONDS
        while line := self.response.readline().decode():
            field, _, value = line.rstrip("\n").partition(":")
            if field == "event":
                name = value.strip()
            elif field == "data":
                data += value.strip()
            elif name:
                return name, json.loads(data) if data else None
            elif line.startswith(":"):
                assert time.monotonic() < deadline, "there was nothing but heart-beats"
        return None

    def told(self) -> Any:
        """What the next event tells of the one field that is asked for."""
        event = self.event()
        assert event
        name, result = event
        assert name == "next"
        assert "errors" not in result, result
        (value,) = result["data"].values()
        return value

    def beat(self) -> None:
        """Read the next heart-beat."""
        while not self.response.readline().startswith(b":"):
            pass

    def last(self) -> Any:
        """Read to the end, which is a complete one; what was told last."""
        told = None
        while (event := self.event()) and event[0] == "next":
            (told,) = event[1]["data"].values()
        assert event == ("complete", None)
        assert self.event() is None
        return told

    def body(self) -> Body:
        """The whole response, where it is no stream."""
        answer: Body = json.loads(self.response.read())
        return answer

    def close(self) -> None:
        """Leave, in the middle."""
        self.response.close()
        self._connection.close()


Subscribe = Callable[..., Stream]


@pytest.fixture
def subscribe() -> Iterator[Subscribe]:
    """Opens streams, which end with the test."""
    opened: list[Stream] = []

    def made(*asked: Any, **more: Any) -> Stream:
        opened.append(Stream(*asked, **more))
        return opened[-1]

    yield made
    for stream in opened:
        stream.close()


@contextmanager
def told(redis: str) -> Iterator[None]:
    """What is folded by those who begin inside is told to that Redis."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", redis)
        settings.current.cache_clear()
        yield
    settings.current.cache_clear()


class Learning:
    """A learner's lessons, recorded and projected."""

    def __init__(self, url: str) -> None:
        self._connection = connect(url)
        self._projector = Projector(self._connection, publisher=publisher())
        self._numbers: dict[str, Iterator[int]] = {}

    def lesson(self, user: str = "ann") -> None:
        """The learner's next session is in the read models."""
        number = next(self._numbers.setdefault(user, itertools.count()))
        append(self._connection, sample_events.lesson(user, number))
        self.project()

    def record(self, *envelopes: Body) -> None:
        """Other events are in the read models."""
        append(self._connection, list(envelopes))
        self.project()

    def project(self) -> None:
        """Fold what is not folded yet."""
        self._projector.catch_up_all()

    def close(self) -> None:
        self._connection.close()


class Running(NamedTuple):
    """A query function."""

    port: int
    process: "subprocess.Popen[bytes]"


@contextmanager
def function(
    url: str, folder: Path, *, limits: str = "", pace: str = "", **told: str
) -> Iterator[Running]:
    """One that reads this database; `limits` and `pace` are what it is made with."""
    folder.mkdir(exist_ok=True)
    door = folder / "main.py"
    door.write_text(_DOOR.format(limits=limits, pace=pace), encoding="utf-8")
    port = ports.reserve()
    with token_issuer.serve() as issuer:
        environment = {
            **issuer.environment(url),
            "RATE_LIMIT_PER_MINUTE": "1000000",  # a test asks fast
            **told,
        }
        with started(folder, port, door, **environment) as process:
            readiness.wait(lambda: ports.is_listening(port), "the query function")
            yield Running(port, process)
