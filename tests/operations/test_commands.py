"""The Pub/Sub messages (commands) that make a worker run an operation, and other push requests."""

import uuid
from collections.abc import Iterator
from uuid import UUID

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub.push_request import HandledDelivery
from progress.errors import OperationClaimed, ProgressError
from progress.operations import batch_job, claimed_operations, runner
from progress.projections.projector import parse_push
from progress.serve import readiness
from tests.support import api, function_process
from tests.support.body_client import clients
from tests.support.fake_publisher import FakePublisher, forget_outages
from tests.support.function_process import FunctionProcess
from tests.support.operation_fixtures import Operator
from tests.support.pushes import encode_push, load_function


@pytest.mark.every_postgres
def test_the_batch_job_sends_a_lost_command_again(
    operator: Operator, job: Connection, worker: Connection, fake_publisher: FakePublisher
) -> None:
    fake_publisher.is_down = True
    lost = operator.start("runBatch")["id"]
    held = operator.start("rebuildProjections")["id"]
    fake_publisher.is_down = False
    assert claimed_operations.claim(worker, UUID(held))
    assert operator.called() == []
    forget_outages()  # the real job runs in another process, which has seen no outage
    assert batch_job.call_workers(job) == 1
    assert operator.called() == [lost]
    assert operator.run(lost)["state"] == "SUCCEEDED"
    assert batch_job.call_workers(job) == 0


def parse(command: bytes | dict[str, object]) -> int | UUID | None:
    return parse_push(encode_push(command))[0]


def test_any_other_push_than_a_command_about_a_uuid_has_no_command() -> None:
    """An error would make Pub/Sub send the push again and again."""
    operation = uuid.uuid4()
    assert parse({"command": "operation", "id": str(operation)}) == operation
    bad: object
    for bad in ("x", "", None, 7, {}, [str(operation)]):
        assert parse({"command": "operation", "id": bad}) is None
    assert parse({"command": "operation"}) is None
    for body in (b"", b"{", b"[]", b"null", b'{"message": 3}', b"\xff"):
        assert parse_push(body) == (None, {})


def test_a_command_for_a_missing_operation_is_ignored(operator: Operator) -> None:
    runner.run(uuid.uuid4())


def test_a_command_gets_429_while_another_worker_runs_the_operation(
    operator: Operator, worker: Connection, fake_publisher: FakePublisher
) -> None:
    started = operator.start("runBatch")
    assert claimed_operations.claim(worker, UUID(started["id"]))
    (command,) = fake_publisher.commands()
    body = encode_push(command)
    with load_function("project") as project:
        assert project.post("/", data=body).status_code == 429
        database.close(worker)
        readiness.wait(lambda: project.post("/", data=body).status_code == 204, "the lock")
    assert operator.get(started["id"])["state"] == "SUCCEEDED"


@pytest.fixture
def project() -> Iterator[FunctionProcess]:
    """The project function, which waits at most half a second for the body of a request."""
    text = function_process.edit("project", "BodyDeadline()", "BodyDeadline(timeout_s=0.5)")
    with function_process.run(
        "project", {"DATABASE_URL": api.NOWHERE}, text, forks=True
    ) as running:
        yield running


def test_a_request_whose_body_does_not_arrive_in_time_gets_400(project: FunctionProcess) -> None:
    for length, begin in ((1_000, b"x"), (None, b"3e8\r\nx")):  # without a length, in chunks
        with clients(project, 2) as (slow, other):
            slow.begin(length)
            slow.send(begin)
            assert slow.status() == 400
            assert other.post(b"not a command") == 204


def test_a_push_about_an_operation_that_another_worker_runs_gets_429_and_no_log_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    statuses = []
    for error in (OperationClaimed("another worker runs it"), ProgressError("no luck")):
        with HandledDelivery("project", None, "operation", {}) as request:
            raise error
        line = capsys.readouterr().out
        statuses.append((request.status, line.count("not done"), "stack_trace" in line))
    assert statuses == [(429, 0, False), (503, 1, False)]
