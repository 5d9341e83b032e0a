"""The commands that call a worker to an operation."""

import contextlib
import uuid
from uuid import UUID

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub import wakeups
from progress.errors import PubSubUnavailable
from progress.operations import batch_job, claim, commands
from tests.conftest import Store
from tests.support.fake_publisher import FakePublisher
from tests.support.operation_fixtures import Operator, fake_publisher, operator, url_of, worker
from tests.support.pushes import encode_push

__all__ = ["fake_publisher", "operator", "worker"]


@pytest.mark.every_postgres
def test_a_command_that_was_lost_is_sent_again_by_the_batch_job(
    operator: Operator, store: Store, worker: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setattr(wakeups, "publisher", lambda: refuse)
        lost = operator.start("runBatch")["id"]
        held = operator.start("rebuildProjections")["id"]
    assert claim.claim(worker, UUID(held))
    assert operator.called() == []
    with contextlib.closing(database.connect(url_of(store, "batch"))) as job:
        assert batch_job.call_workers(job) == 1
        assert operator.called() == [lost]
        assert operator.done(lost)["state"] == "SUCCEEDED"
        assert batch_job.call_workers(job) == 0


def refuse(*_: object, **__: object) -> bytes:
    """A Pub/Sub that takes nothing."""
    raise PubSubUnavailable("nobody is there")


def test_a_call_to_an_operation_can_be_told_from_a_wake_up_by_its_attributes(
    operator: Operator, fake_publisher: FakePublisher
) -> None:
    """So that Pub/Sub keeps it from a revision that is being tried out: see infra/release."""
    operator.start("runBatch")
    assert wakeups.send([3])
    told = [dict(m.attributes) for request in fake_publisher.requests for m in request.messages]
    assert [each.get("command") for each in told] == ["operation", None]


def parse(command: bytes | dict[str, object]) -> int | UUID | None:
    """Return the command of a push request."""
    return commands.parse_push(encode_push(command))[0]


def test_a_pushed_command_is_an_operation_s_or_none() -> None:
    operation = uuid.uuid4()
    assert parse({"command": "operation", "id": str(operation)}) == operation
    bad: object
    for bad in ("x", "", None, 7, {}, [str(operation)]):
        assert parse({"command": "operation", "id": bad}) is None
    assert parse({"command": "operation"}) is None


def test_an_operation_that_there_is_not_is_nobody_s_work(operator: Operator) -> None:
    commands.handle(uuid.uuid4())


def test_what_is_sent_is_what_is_understood(
    operator: Operator, fake_publisher: FakePublisher
) -> None:
    started = operator.start("runBatch")
    (command,) = fake_publisher.commands()
    assert parse(command) == UUID(started["id"])
