"""The sweep of one machine calls project for what nobody woke, and repeats what failed."""

import asyncio
import contextlib
import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from progress.adapters.postgres.database import Connection
from progress.operations import records
from progress.operations.records import OperationKind
from progress.projections import projector, turns
from progress.projections.projector import Projector
from progress.serve import sweep
from progress.serve.sweep import Sweep
from tests.conftest import Store
from tests.support import http_servers, model_rows, sample_events
from tests.support.postgres_servers import url_of
from tests.support.pushes import record_push

_KEY = "key"
_FIRST_S, _LONGEST_S = 0.2, 0.4


class Project:
    """A project function that notes its calls, and answers them as a test says."""

    def __init__(self) -> None:
        self.url = ""
        self.answer: Callable[[int | UUID], int] = lambda _: 204
        self.calls: defaultdict[int | UUID, list[float]] = defaultdict(list)


@pytest.fixture
def project() -> Iterator[Project]:
    made = Project()

    class Handler(http_servers.Handler):
        def do_POST(self) -> None:
            command, _ = projector.parse_push(self.read_body())
            assert command is not None
            assert self.headers["Authorization"] == f"Bearer {_KEY}"
            made.calls[command].append(time.monotonic())
            self.respond(made.answer(command))

    with http_servers.serve(Handler) as made.url:
        yield made


@pytest.fixture
def run(
    store: Store, project: Project, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[], bool]], None]:
    """A function that sweeps until its argument is true."""
    monkeypatch.setattr(sweep, "_INTERVAL_S", 0.02)
    paused = {
        "_OPERATION": (_FIRST_S, _LONGEST_S),
        "_FOLD": (_FIRST_S, _FIRST_S),
        "_PUBLICATION": (600, 600),
    }
    for name, (first_s, longest_s) in paused.items():
        rhythm = getattr(sweep, name)._replace(first_s=first_s, longest_s=longest_s)
        monkeypatch.setattr(sweep, name, rhythm)

    async def sweep_until(is_done: Callable[[], bool]) -> None:
        made = Sweep(url_of(store.url, "batch"), project.url, _KEY, "all")
        kept = asyncio.create_task(made.keep())
        async with asyncio.timeout(60):
            while not is_done():
                assert not kept.done(), kept.exception()
                await asyncio.sleep(0.01)
        kept.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await kept

    return lambda is_done: asyncio.run(sweep_until(is_done))


def record(connection: Connection, *users: str) -> set[int]:
    """Record a lesson of each user; return the shards that are behind."""
    for user in users:
        record_push(connection, sample_events.lesson(user, 1))
    return {*Projector(connection).find_shards_behind()}


def start(connection: Connection) -> UUID:
    kind, key = OperationKind.RUN_BATCH, str(time.monotonic_ns())
    return records.accept(connection, kind, caller="ada", key=key, subject=None)


@pytest.mark.parametrize("is_folded", [True, False])
def test_unclaimed_operations_and_what_is_not_folded_or_published_are_called(
    connection: Connection, project: Project, run: Any, *, is_folded: bool
) -> None:
    due, operation = record(connection, "ann", "bob", "cy"), start(connection)
    if is_folded:
        Projector(connection).catch_up_all()
    project.answer = lambda command: 503 if command == operation else 204
    run(lambda: len(project.calls[operation]) > 2 and project.calls.keys() >= due)
    assert project.calls.keys() == {*due, operation}
    if is_folded:  # the pause follows a wake-up that has succeeded, too
        assert [len(project.calls[shard]) for shard in due] == [1] * len(due)


def test_a_running_operation_is_left_to_its_worker_and_called_once_that_dies(
    store: Store, connection: Connection, project: Project, run: Any
) -> None:
    operation = start(connection)
    with contextlib.closing(store.connect()) as worker:
        worker.run(
            "SELECT pg_advisory_lock(operations.lock_key(CAST(:id AS uuid)))", id=str(operation)
        )
        due = record(connection, "ann")
        run(lambda: all(len(project.calls[shard]) > 5 for shard in due))
        assert operation not in project.calls
    run(lambda: operation in project.calls)


@pytest.mark.parametrize("status", [500, 503])
def test_a_failed_operation_is_called_after_pauses_that_double(
    connection: Connection, project: Project, run: Any, status: int
) -> None:
    operation = start(connection)
    project.answer = lambda _: status
    run(lambda: len(project.calls[operation]) > 3)
    gaps = [after - before for before, after in itertools.pairwise(project.calls[operation])]
    assert gaps[0] >= _FIRST_S
    assert min(gaps[1:]) >= _LONGEST_S


def test_no_more_operations_are_called_at_a_time_than_project_runs(
    connection: Connection, project: Project, run: Any
) -> None:
    operations = [start(connection) for _ in range(turns.OPERATIONS + 2)]
    ends = threading.Event()

    def answer(command: int | UUID) -> int:
        if command in operations:
            ends.wait(60)
        return 503

    project.answer = answer
    shards = record(connection, "ann")
    run(lambda: project.calls.keys() >= {*operations[: turns.OPERATIONS], *shards})
    assert project.calls.keys() == {*operations[: turns.OPERATIONS], *shards}
    ends.set()
    run(lambda: project.calls.keys() >= {*operations})


def test_it_goes_on_after_its_session_is_lost(
    connection: Connection, project: Project, run: Any
) -> None:
    due = record(connection, "ann")
    ended = False

    def is_done() -> bool:
        nonlocal ended
        if project.calls and not ended:
            project.calls.clear()
            connection.run(model_rows.BLOCKS["end sessions"], application="sweep")
            ended = True
        return ended and project.calls.keys() >= due

    run(is_done)
