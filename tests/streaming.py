"""The query function with streams to read, and what changes what they tell."""

import http.client
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import api
import issuing
import lessons
from conftest import Store
from stage import append, connect
from test_api_process import started

from progress.local import ports, readiness
from progress.projections import Projector

Body = dict[str, Any]
Event = tuple[str, Any]

SECONDS = 20  # that a test waits for an event

STANDING = "subscription { progressUpdated { totalSessionsCompleted currentStreak } }"
STREAK = "subscription { streakUpdated { current lastStudyDate } }"

_DOOR = """
import functions_framework.aio
from progress import settings
from progress.api.http import QueryApi
from progress.api.streams import Limits
from progress.changes import Pace

_api = QueryApi(settings.current(), Limits({limits}), Pace({pace}))


@functions_framework.aio.http
async def query(request):
    return await _api.answer(request)
"""


class Stream:
    """One that is read, event by event."""

    def __init__(self, port: int, query: str, user: str = "ann", /, **more: Any) -> None:
        self._connection = http.client.HTTPConnection(ports.HOST, port, timeout=SECONDS)
        headers = api.headers(user, more.pop("roles", None), accept="text/event-stream")
        headers |= more.pop("headers", {})
        body = json.dumps({"query": query, "variables": more})
        self._connection.request("POST", "/graphql/stream", body, headers)
        self.response = self._connection.getresponse()
        self.status = self.response.status
        self.beats = 0

    def event(self) -> Event | None:
        """The next event: its name and what it holds; None where the stream has ended."""
        name, data = "", ""
        while line := self.response.readline().decode():
            field, _, value = line.rstrip("\n").partition(":")
            if field == "event":
                name = value.strip()
            elif field == "data":
                data += value.strip()
            elif name:
                return name, json.loads(data) if data else None
            elif line.startswith(":"):
                self.beats += 1
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

    def until(self, wanted: Any) -> None:
        """Read until this is told."""
        while self.told() != wanted:
            pass

    def body(self) -> Body:
        """The whole response, where it is no stream."""
        answer: Body = json.loads(self.response.read())
        return answer

    def close(self) -> None:
        """Leave, in the middle."""
        self.response.close()
        self._connection.close()


class Learning:
    """A learner's lessons, recorded and projected."""

    def __init__(self, store: Store) -> None:
        self._connection = connect(store.url)
        self._projector = Projector(self._connection)
        self._numbers: dict[str, Iterator[int]] = {}

    def lesson(self, user: str = "ann") -> None:
        """The learner's next session is in the read models."""
        number = next(self._numbers.setdefault(user, itertools.count()))
        append(self._connection, lessons.lesson(user, number))
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


@contextmanager
def function(
    store: Store, folder: Path, *, limits: str = "", pace: str = "", **told: str
) -> Iterator[int]:
    """The port of a query function; `limits` and `pace` are what they are made with."""
    folder.mkdir(exist_ok=True)
    door = folder / "main.py"
    door.write_text(_DOOR.format(limits=limits, pace=pace), encoding="utf-8")
    port = ports.free()
    with issuing.serving() as issuer:
        environment = {
            "AUTH_ISSUER": issuing.NAME,
            "AUTH_AUDIENCE": issuing.AUDIENCE,
            "AUTH_JWKS_URL": issuer.url,
            "DATABASE_URL": store.url,
            "ENVIRONMENT": "development",
            **told,
        }
        with started(folder, port, door, **environment):
            readiness.wait(lambda: ports.is_listening(port), "the query function")
            yield port
