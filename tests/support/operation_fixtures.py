"""Operations in a test: started over the API, their commands kept, carried out by hand."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from progress import settings
from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub import wakeups
from progress.operations import step_actions
from progress.projections import batch
from tests.conftest import Store
from tests.support import api, sample_events, stage
from tests.support.api import Api, Body
from tests.support.fake_publisher import FakePublisher, fake_publisher

__all__ = ["fake_publisher", "operator", "populated", "worker"]

FIELDS = """{ id kind state progress error result startedAt finishedAt
  steps { name state attempts error } }"""
ADMIN = "ada"

USERS = ("ann", "ben", "cyd")

_keys = itertools.count()


def blocks() -> dict[str, str]:
    """The blocks of operation_fixtures.sql."""
    return statements.blocks(str(Path(__file__).with_suffix("")))


class Operator:
    """An administrator at the API, with the commands that it sends."""

    def __init__(self, query_api: Api, sent: FakePublisher) -> None:
        self.api, self._sent = query_api, sent

    def ask(self, query: str, user: str = ADMIN, /, *, roles: object = "admin") -> Body:
        """The body of the answer."""
        return self.api.post(query, user, roles=roles)

    def data(self, query: str) -> Body:
        """The data of an answer without an error."""
        answer = self.ask(query)
        assert "errors" not in answer, answer["errors"]
        data: Body = answer["data"]
        return data

    def error(
        self, query: str, user: str = ADMIN, /, *, roles: object = "admin"
    ) -> tuple[str, str]:
        """The code and the message of the one error of an answer without data."""
        answer = self.ask(query, user, roles=roles)
        (fault,) = answer["errors"]
        assert answer["data"] is None
        return fault["extensions"]["code"], fault["message"]

    def start(self, field: str, given: str = "", *, key: str | None = None) -> Body:
        """The operation that a mutation starts."""
        key = key or f"key-{next(_keys)}"
        query = f'mutation {{ {field}({given} idempotencyKey: "{key}") {FIELDS} }}'
        started: Body = self.data(query)[field]
        return started

    def look(self, operation_id: str) -> Body:
        """The operation as it is now."""
        found: Body = self.data(f'{{ operation(id: "{operation_id}") {FIELDS} }}')["operation"]
        return found

    def done(self, operation_id: str) -> Body:
        """The operation, after a worker was called to it."""
        step_actions.run(UUID(operation_id), stage.publisher())
        return self.look(operation_id)

    def called(self) -> list[str]:
        """The ids of the operations that workers were called to, so far."""
        return [str(command["id"]) for command in self._sent.commands()]


@pytest.fixture
def operator(
    store: Store, fake_publisher: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Operator]:
    """Its API and its workers are in this process, each with the rights of its function."""
    monkeypatch.setenv("DATABASE_URL", url_of(store, "project"))
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", fake_publisher.address)
    forget: list[Callable[[], None]] = [
        settings.current.cache_clear,
        wakeups.publisher.cache_clear,
    ]
    with contextlib.ExitStack() as stack:
        for each in forget:
            each()
            stack.callback(each)
        yield Operator(stack.enter_context(api.serve(url_of(store, "query"))), fake_publisher)


def url_of(store: Store, function: str) -> str:
    """The store as the function sees it, with its rights and no others."""
    with contextlib.closing(store.connect()) as owner:
        owner.run(statements.blocks("local/database")["create users"])
        owner.run(blocks()["database rights"])
    return store.url.replace("//postgres@", f"//local_{function}@")


@pytest.fixture
def populated(connection: Connection) -> Connection:
    """A store with learners, folded."""
    sample_events.record_lessons(connection, *USERS)
    batch.run(connection)
    connection.run(blocks()["watch"])
    return connection


@pytest.fixture
def worker(store: Store) -> Iterator[Connection]:
    """Another worker's connection."""
    made = database.connect(url_of(store, "project"), name="operation")
    yield made
    database.close(made)  # a test may have broken it


def seen(connection: Connection) -> list[tuple[int, float, str]]:
    """Every state that an operation was in: version, progress, state."""
    return [tuple(row) for row in connection.run(blocks()["seen"])]


def result(done: dict[str, Any]) -> Any:
    """What came of an operation that succeeded."""
    assert (done["state"], done["progress"], done["error"]) == ("SUCCEEDED", 1, None)
    assert {step["state"] for step in done["steps"]} == {"SUCCEEDED"}
    assert done["finishedAt"] > done["startedAt"]
    return msgspec.json.decode(done["result"])
