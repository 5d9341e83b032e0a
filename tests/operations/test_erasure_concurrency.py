"""An erasure during pushes, folds, batch runs, rebuilds and queries, while two revisions serve."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import RebuildRunning
from progress.operations import erasure_rows
from progress.projections import batch, changes, rebuild, schema
from progress.projections.projector import Projector
from progress.recovery import checks
from tests.conftest import Store
from tests.support import api, model_rows, sample_events, stage
from tests.support.erasure_fixtures import (
    BLOCKS,
    LEARNER,
    MARKER,
    NEEDLES,
    erase,
    find_in_redis,
    find_traces,
    leave_traces,
    list_events,
    push_events,
    receipt,
)
from tests.support.operation_fixtures import Operator
from tests.support.postgres_servers import url_of

ABOUT = """
{ userProgress(userId: "%s") { totalItemsLearned displayName }
  streak(userId: "%s") { longest }
  dailyStats(userId: "%s", from: "2024-04-01", to: "2024-04-30") { answers }
  past: dailyStats(userId: "%s", from: "2024-04-01", to: "2024-04-30",
                   asOf: "2024-04-20T00:00:00Z") { answers } }
""".replace("%s", LEARNER)


@pytest.fixture
def served(store: Store, redis_with_notifications: str) -> Iterator[api.Api]:
    with api.serve(url_of(store.url, "query"), redis_url=redis_with_notifications) as running:
        yield running


class Traffic:
    """Actions that threads repeat during a `with` block; the first error is raised at the end.

    An action waits while it is LEAD runs ahead of the slowest action. Otherwise, on a slow machine,
    events could be delivered faster than a rebuild folds them, so that the rebuild would not end.
    """

    LEAD = 10

    def __init__(self, *actions: Callable[[int], object]) -> None:
        self._actions, self._is_stopped = actions, False
        self._counts, self._changed = [0] * len(actions), threading.Condition()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Repeat the actions during the block, each in a separate thread."""
        with ThreadPoolExecutor(len(self._actions)) as pool:
            threads = [pool.submit(self._repeat, n) for n in range(len(self._actions))]
            try:
                self._wait(1)
                yield
                self._wait(2)
            finally:
                self._stop()
            for thread in threads:
                thread.result()

    def _wait(self, more: int) -> None:
        """Wait for `more` further runs of each action; return at once if an action has failed."""
        with self._changed:
            goals = [count + more for count in self._counts]
            self._changed.wait_for(lambda: self._is_stopped or self._are_reached(goals))

    def _are_reached(self, goals: list[int]) -> bool:
        return all(count >= goal for count, goal in zip(self._counts, goals, strict=True))

    def _stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def _repeat(self, number: int) -> None:
        try:
            while self._may_run(number):
                self._actions[number](self._counts[number])
                with self._changed:
                    self._counts[number] += 1
                    self._changed.notify_all()
        except BaseException:
            self._stop()
            raise

    def _may_run(self, number: int) -> bool:
        """Wait while the action is too far ahead; return whether it may run again."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_stopped or self._counts[number] < min(self._counts) + self.LEAD
            )
            return not self._is_stopped


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an erasure empty only five events per transaction."""
    monkeypatch.setattr(erasure_rows, "CHUNK", 5)


@pytest.mark.exhaustive
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("small_chunks")
def test_nothing_is_left_of_a_learner_who_is_erased_under_full_traffic(
    operator: Operator,
    store: Store,
    populated: Connection,
    served: api.Api,
    capfd: pytest.CaptureFixture[str],
) -> None:
    settings.current.cache_clear()
    leave_traces(populated)
    second_revision(populated)
    capfd.readouterr()
    with contextlib.ExitStack() as stack:

        def connect() -> Connection:
            return stack.enter_context(contextlib.closing(stage.connect(store.url)))

        traffic = Traffic(
            deliver(connect()), fold(connect()), run_batches(connect()), query(served),
            rebuild_all(store),
        )  # fmt: skip
        with traffic.running():
            done = operator.run(erase(operator)["id"])
    assert receipt(done)["found"] == 0
    Projector(populated, publisher=stage.publisher()).catch_up_all()
    batch.run(populated)
    served.post(ABOUT, "ada", roles="admin")
    # What nobody can decode keeps its bytes for a time, if it arrives after the step `redact`.
    populated.run("SELECT event_store.empty_old_letters(0, 100000)")
    assert find_traces(populated, *NEEDLES) == []
    assert find_in_redis(*NEEDLES) == []
    output = capfd.readouterr()
    assert not [needle for needle in NEEDLES if needle in output.out + output.err]
    assert not sample_events.find_differences(populated)
    assert not checks.run(populated).findings
    for _, _, in_shard, is_dense in populated.run(BLOCKS["versions"]):
        assert (in_shard, is_dense) == (True, True)


def second_revision(connection: Connection) -> None:
    """Rename the live schema, as if another revision owned it, and create a new live schema.

    No worker folds the schema of the other revision.
    """
    name = schema.schema_name()
    connection.run(f"ALTER SCHEMA {name} RENAME TO progress_0123456789ab")
    schema.create(connection)
    schema.set_search_path(connection)
    Projector(connection, publisher=stage.publisher()).catch_up_all()
    batch.fold(connection, list(range(16)))


def deliver(connection: Connection) -> Callable[[int], object]:
    """Deliver pending, invalid and other events of the learner, and events of another learner."""
    lessons = [sample_events.lesson("ben", 10 + number) for number in range(20)]

    def act(number: int) -> None:
        events = list_events(LEARNER, f"erika-session-{number}")
        push_events(connection, *reversed(events))
        push_events(connection, *lessons[number % len(lessons)])
        push_events(connection, json.dumps({"user_id": LEARNER, "note": MARKER})[:-1].encode())

    return act


def fold(connection: Connection) -> Callable[[int], object]:
    projector = Projector(connection, publisher=stage.publisher())
    return lambda _: projector.catch_up_all(limit=7)


def run_batches(connection: Connection) -> Callable[[int], object]:
    return lambda _: batch.run(connection, publisher=stage.publisher())


def query(served: api.Api) -> Callable[[int], object]:
    """As an administrator, query the learner's present and past state."""

    def act(_: int) -> None:
        body = served.post(ABOUT, "ada", roles="admin")
        assert "errors" not in body, body

    return act


def rebuild_all(store: Store) -> Callable[[int], object]:
    """Rebuild the read models, unless the erasure holds the lock."""

    def connect() -> Connection:
        return database.connect(store.url, name="rebuild")

    def act(_: int) -> None:
        with contextlib.suppress(RebuildRunning):
            rebuild.run(connect, workers=1, publisher=stage.publisher())

    return act


def test_redis_keeps_no_data_about_learners_who_are_unknown_or_deleted_or_erased(
    operator: Operator, populated: Connection, served: api.Api
) -> None:
    settings.current.cache_clear()
    served.post(ABOUT, "ada", roles="admin")
    assert find_in_redis(LEARNER) == []
    leave_traces(populated)
    served.post(ABOUT, "ada", roles="admin")
    assert find_in_redis(LEARNER) != []
    assert find_in_redis(json.dumps(MARKER)[1:-1], MARKER) != []  # the display name
    receipt(operator.run(erase(operator)["id"]))
    served.post(ABOUT, "ada", roles="admin")
    assert find_in_redis(*NEEDLES) == []


def test_the_deletion_waits_for_a_fold_of_the_shard(store: Store, populated: Connection) -> None:
    stage.append(populated, [sample_events.user_deleted(LEARNER)])
    with (
        contextlib.closing(store.connect()) as folding,
        contextlib.closing(store.connect()) as erasing,
        ThreadPoolExecutor(1) as pool,
    ):
        pid = model_rows.read_value(erasing, "pid")
        schema.set_search_path(folding)
        with database.transaction(folding):
            database.run(folding, "operations/erasure_rows", "lock shard", learner=LEARNER)
            call = pool.submit(erasure_rows.fold_deletion, erasing, LEARNER, changes.DISABLED)
            model_rows.wait_for_lock(populated, pid, call)
        assert call.result() == []
