"""Start operations through the API, and run their workers in the test process."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from progress import settings
from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.errors import OperationClaimed, Unavailable
from progress.event_store import dead_letters
from progress.operations import erasure_steps, runner
from progress.operations.records import PLANS
from progress.serve import readiness
from tests.conftest import Store
from tests.support import api
from tests.support.api import Api, Body
from tests.support.fake_publisher import FakePublisher
from tests.support.postgres_servers import url_of
from tests.support.pushes import record_push

BLOCKS = statements.blocks(str(Path(__file__).with_suffix("")))

__all__ = ["job", "operator", "populated", "worker"]

FIELDS = """{ id kind state startedBy subject progress error result startedAt finishedAt
  steps { name state attempts error } }"""
ADMIN = "ada"

USERS = ("ann", "ben", "cyd")

_keys = itertools.count()


class Operator:
    """A client that calls the API as an administrator, and can list the published commands."""

    def __init__(self, query_api: Api, sent: FakePublisher) -> None:
        self.api, self._sent = query_api, sent

    def ask(self, query: str, user: str = ADMIN, /, *, roles: object = "admin") -> Body:
        return self.api.post(query, user, roles=roles)

    def data(self, query: str) -> Body:
        return self.api.data(query, ADMIN, roles="admin")

    def error(
        self, query: str, user: str = ADMIN, /, *, roles: object = "admin"
    ) -> tuple[str, str]:
        return self.api.error(query, user, roles=roles)

    def start(self, field: str, arguments: str = "", *, key: str | None = None) -> Body:
        key = key or f"key-{next(_keys)}"
        query = f'mutation {{ {field}({arguments} idempotencyKey: "{key}") {FIELDS} }}'
        started: Body = self.data(query)[field]
        return started

    def try_start(self, field: str, arguments: str) -> str | None:
        """Start an operation; return its id, or None if its learner is unknown."""
        query = f'mutation {{ {field}({arguments} idempotencyKey: "key-{next(_keys)}") {FIELDS} }}'
        answer = self.ask(query)
        if answer.get("errors"):
            assert answer["errors"][0]["extensions"]["code"] == "NOT_FOUND", answer
            return None
        return str(answer["data"][field]["id"])

    def get(self, operation_id: str) -> Body:
        operation: Body = self.data(f'{{ operation(id: "{operation_id}") {FIELDS} }}')["operation"]
        return operation

    def run(self, operation_id: str) -> Body:
        deliver(operation_id)
        return self.get(operation_id)

    def run_until_it_ends(self, operation_id: str) -> Body:
        def has_ended() -> bool:
            try:
                runner.run(UUID(operation_id))
            except Unavailable:
                return False
            return True

        readiness.wait(has_ended, "the end")
        return self.get(operation_id)

    def cancel(self, operation_id: str) -> Any:
        return self._change("cancelOperation", operation_id)

    def retry(self, operation_id: str) -> Any:
        return self._change("retryOperation", operation_id)

    def _change(self, mutation: str, operation_id: str) -> Any:
        body = self.ask(f'mutation {{ {mutation}(id: "{operation_id}") {FIELDS} }}')
        if "errors" in body:
            return body["errors"][0]["extensions"]["code"]
        return body["data"][mutation]

    def called(self) -> list[str]:
        return [str(command["id"]) for command in self._sent.commands()]


@pytest.fixture
def operator(
    store: Store, fake_publisher: FakePublisher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Operator]:
    """A client that calls the API as an administrator.

    The API has the database privileges of the query function, operation workers those of the
    project function. An erasure assumes that no queries are running, and waits 0 s for their end.
    """
    monkeypatch.setattr(erasure_steps, "_REQUESTS_END_S", 0.0)
    monkeypatch.setenv("DATABASE_URL", url_of(store.url, "project"))
    monkeypatch.setenv("PROGRESS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", fake_publisher.address)
    with contextlib.ExitStack() as stack:
        settings.current.cache_clear()
        stack.callback(settings.current.cache_clear)
        options = {
            "pubsub_emulator_host": fake_publisher.address,
            "progress_data_dir": str(tmp_path),
        }
        served = api.serve(url_of(store.url, "query"), **options)
        yield Operator(stack.enter_context(served), fake_publisher)


@pytest.fixture
def folded_learners() -> tuple[str, ...]:
    return USERS


@pytest.fixture
def populated(folded_learners: tuple[str, ...], connection: Connection) -> Connection:
    """A store with folded lessons of `USERS`; a trigger records each change of an operation."""
    connection.run(BLOCKS["record changes"])
    return connection


@pytest.fixture
def worker(store: Store) -> Iterator[Connection]:
    made = database.connect(url_of(store.url, "project"), name="operation")
    yield made
    database.close(made)  # if a test has ended the session, `close` ignores the error


@pytest.fixture
def job(store: Store) -> Iterator[Connection]:
    with contextlib.closing(database.connect(url_of(store.url, "batch"))) as made:
        yield made


def list_changes(connection: Connection) -> list[tuple[int, float, str]]:
    return [tuple(row) for row in connection.run(BLOCKS["list changes"])]


def result(done: dict[str, Any]) -> Any:
    assert (done["state"], done["progress"], done["error"]) == ("SUCCEEDED", 1, None)
    assert {step["state"] for step in done["steps"]} == {"SUCCEEDED"}
    assert done["finishedAt"] > done["startedAt"]
    return msgspec.json.decode(done["result"])


def limit_step(monkeypatch: pytest.MonkeyPatch, name: str, timeout_s: float) -> None:
    for kind, plan in PLANS.items():
        steps = tuple(
            msgspec.structs.replace(step, timeout_s=timeout_s) if step.name == name else step
            for step in plan.steps
        )
        monkeypatch.setitem(PLANS, kind, msgspec.structs.replace(plan, steps=steps))


def write_dead_letters(connection: Connection, count: int) -> list[str]:
    for number in range(count):
        record_push(connection, f"no JSON {number} of ann@example.org".encode())
    return [str(letter.letter_id) for letter in dead_letters.list_letters(connection)]


def deliver(operation_id: str) -> bool:
    """Run the operation in a new worker; return False if the operation had already finished.

    The server may still be ending the previous worker's session, which holds the operation's lock.
    Retry until the lock is free.
    """
    outcomes: list[bool] = []

    def has_claimed() -> bool:
        with contextlib.suppress(OperationClaimed):
            outcomes.append(runner.run(UUID(operation_id)))
        return bool(outcomes)

    readiness.wait(has_claimed, "the claim")
    return outcomes[0]
