"""Clients of the soak test that append, read and query, and write what they saw as a history.

bench/history/checker.py checks the history; docs/histories.md describes its form.
"""

import base64
import contextlib
import http.client
import itertools
import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.functions import Function
from bench.local_stack import LocalStack
from progress.adapters.postgres import database
from progress.event_store.log import PostgresEventStore
from progress.local.ports import HOST
from tests.support.envelopes import envelope

Outcome = tuple[str, dict[str, Any]]  # ok, fail or info, and what the client has learned

_LEARNERS = 8
_APPENDERS, _READERS, _SESSIONS = 4, 2, 8
_WINDOW = 500  # events of a read
_BLOCK = 20  # a read begins at a multiple; bench/history/to_elle.py makes a list of each block
_PAUSE_S = 0.01  # between two operations of a client, at most
_TIMEOUT_S = 10.0
_QUERY = '{ item(itemId: "h") { answers } }'


class _Unknown(Exception):
    """The operation may or may not have happened."""


class Writer:
    """Writes the operations of all clients to a file, each with a process of its own."""

    def __init__(self, path: Path) -> None:
        self._lines = path.open("w", encoding="utf-8")
        self._lock, self._numbers, self._processes = threading.Lock(), itertools.count(), 0
        self.operations = 0

    def new_process(self) -> int:
        with self._lock:
            self._processes += 1
            return self._processes

    def write(self, process: int, kind: str, f: str, value: dict[str, Any]) -> None:
        with self._lock:
            line = {"index": next(self._numbers), "type": kind, "process": process, "f": f}
            line |= {"value": value, "time": time.monotonic_ns()}
            self._lines.write(json.dumps(line) + "\n")
            self.operations += kind == "invoke"

    def close(self) -> None:
        self._lines.close()


class History:
    """Threads of clients, each of which has one operation at a time."""

    def __init__(
        self, local: LocalStack, path: Path, steady: dict[str, Function], seed: int
    ) -> None:
        self.writer = Writer(path)
        self._local, self._seed, self._stop = local, seed, threading.Event()
        ingest = (_port(local.addresses["ingest_url"]), steady["ingest"].port)
        query = (local.port, steady["query"].port)
        clients: list[Callable[[random.Random], Iterator[tuple[str, dict[str, Any], Any]]]] = [
            *(self._appender(ingest[n % 2]) for n in range(_APPENDERS)),
            *(self._read for _ in range(_READERS)),
            *(
                self._session(port, is_cached=is_cached)
                for port, is_cached in itertools.product(query, (True, False))
                for _ in range(_SESSIONS // 4)
            ),
        ]
        self._threads = [
            threading.Thread(target=self._run, args=(number, client), name=f"history {number}")
            for number, client in enumerate(clients)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def finish(self) -> None:
        """After the load, read the whole log once more, and ask once about each learner."""
        source = random.Random(0)
        process = self.writer.new_process()
        with contextlib.closing(self._connect()) as connection:
            position = 1
            while True:
                value = self._read_window(connection, position)
                self._record(process, "read", {"from": position}, lambda: value)  # noqa: B023
                if not value["events"]:
                    break
                position = value["events"][-1][0] + 1
        asks = self._session(self._local.port, is_cached=False)(source)
        for f, value, act in itertools.islice(asks, 8 * _LEARNERS):
            self._record(process, f, value, act)
        self.writer.close()

    def _run(self, number: int, client: Any) -> None:
        source = random.Random(f"{self._seed} {number}")
        process = self.writer.new_process()
        for f, value, act in client(source):
            if self._stop.wait(source.uniform(0, _PAUSE_S)) and "retry" not in value:
                return
            if self._record(process, f, value, act) == "info":
                process = self.writer.new_process()  # as in Elle: the former one is still busy

    def _record(
        self, process: int, f: str, value: dict[str, Any], act: Callable[[], dict[str, Any]]
    ) -> str:
        self.writer.write(process, "invoke", f, value)
        try:
            kind, result = "ok", act()
        except _Unknown:
            kind, result = "info", {}
        except (*database.ERRORS, http.client.HTTPException, OSError, ValueError):
            kind, result = ("info" if f == "append" else "fail"), {}
        except Exception as error:  # noqa: BLE001 # an error of Progress: the operation has failed
            kind, result = "fail", {"error": type(error).__name__}
        self.writer.write(process, kind, f, value | result)
        return kind

    def _appender(self, port: int) -> Any:
        def append(source: random.Random) -> Iterator[tuple[str, dict[str, Any], Any]]:
            while True:
                learner = f"history-{source.randrange(_LEARNERS)}"
                events = [_answer(learner) for _ in range(source.randint(1, 3))]
                value = {"learner": learner, "ids": [event["event_id"] for event in events]}
                message = Message(port, events)
                yield "append", value, message.push
                while not message.is_acknowledged:  # Pub/Sub delivers it again, too
                    yield "append", {**value, "retry": True}, message.push

        return append

    def _read(self, source: random.Random) -> Iterator[tuple[str, dict[str, Any], Any]]:
        position, connection = 1, None
        while True:
            found: dict[str, Any] = {}

            def read() -> dict[str, Any]:
                nonlocal connection
                connection = connection or self._connect()
                try:
                    found.update(self._read_window(connection, position))  # noqa: B023
                except Exception:
                    connection = None
                    raise
                return found  # noqa: B023

            yield "read", {"from": position}, read
            if events := found.get("events"):
                # Follow the log; now and then, read a window again.
                following = events[-1][0] + 1
                if source.random() < 0.1:
                    following = max(1, following - source.randrange(2 * _WINDOW))
                position = following - (following - 1) % _BLOCK

    def _connect(self) -> database.Connection:
        return database.connect(self._local.addresses["database_url"], name="history")

    @staticmethod
    def _read_window(connection: database.Connection, position: int) -> dict[str, Any]:
        events = PostgresEventStore(connection).read_all_events(position, _WINDOW)
        found = [
            [int(e.global_position), None if e.event_type == "Erased" else f"{e.event_id}"]
            for e in events
        ]
        return {"events": found, "limit": _WINDOW}

    def _session(self, port: int, *, is_cached: bool) -> Any:
        def ask(source: random.Random) -> Iterator[tuple[str, dict[str, Any], Any]]:
            tokens = {f"history-{n}": self._local.token(f"history-{n}") for n in range(_LEARNERS)}
            while True:
                learner = source.choice(sorted(tokens))
                headers = {"Authorization": f"Bearer {tokens[learner]}"}
                headers |= {} if is_cached else {"Cache-Control": "no-cache"}
                value = {"learner": learner, "cached": is_cached}
                yield "query", value, lambda: _query(port, headers)  # noqa: B023

        return ask


def _port(url: str) -> int:
    return int(url.rstrip("/").rsplit(":", 1)[1])


def _answer(learner: str) -> dict[str, Any]:
    data = {"user_id": learner, "session_id": "h", "item_id": "h", "response_time_ms": 900}
    at = datetime.now(UTC).isoformat()
    return {**envelope("CorrectAnswerGiven", data, occurred_at=at), "event_id": str(uuid.uuid4())}


class Message:
    """A message that is pushed to ingest as Pub/Sub does, until it is acknowledged."""

    def __init__(self, port: int, events: list[dict[str, Any]]) -> None:
        data = base64.b64encode(json.dumps(events).encode()).decode()
        message = {"data": data, "messageId": f"{uuid.uuid4()}"}
        self._port = port
        self._body = {"message": message, "subscription": "projects/p/subscriptions/s"}
        self.is_acknowledged = False

    def push(self) -> dict[str, Any]:
        status, _ = _post(self._port, "/", self._body)
        if status >= 300:
            raise _Unknown
        self.is_acknowledged = True
        return {}


def _query(port: int, headers: dict[str, str]) -> dict[str, Any]:
    status, body = _post(port, "/graphql", {"query": _QUERY}, headers)
    answer = json.loads(body)
    if status != http.HTTPStatus.OK or answer.get("errors"):
        raise ValueError("no answer")
    found, projected = answer["data"]["item"], answer["extensions"].get("projectedTo")
    if projected is None:
        raise ValueError("no position")
    answers = found["answers"] if found else 0
    return {"answers": answers, "projectedTo": int(projected["position"])}


def _post(
    port: int, path: str, body: object, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT_S)
    with contextlib.closing(connection):
        connection.request(
            "POST", path, json.dumps(body), {"Content-Type": "application/json", **(headers or {})}
        )
        response = connection.getresponse()
        return response.status, response.read()
