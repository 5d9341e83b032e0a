"""Archive, joins, restores, rebuilds, exports, erasures and pushes, in any order.

At the end, everything must be as if nothing had interfered: see `World.expect_the_end`.
"""

import contextlib
import functools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, stateful
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from progress.adapters import storage as storages
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive import catalogue, check, log_rows, runs
from progress.archive import restore as archive_restore
from progress.errors import Unavailable
from progress.operations import erasure_rows, erasure_steps, runner
from progress.operations.records import PLANS
from progress.projections import batch, rebuild
from progress.recovery import checks
from tests.conftest import Store
from tests.support import archives, doomed_worker, model_rows, sample_events
from tests.support.erasure_fixtures import find_traces
from tests.support.operation_fixtures import BLOCKS, Operator, deliver
from tests.support.stage import Stage, append

pytestmark = pytest.mark.timeout(1_800)  # Hypothesis needs minutes to shrink a failing example

LEARNERS = ("ann-4711", "ben-4712", "cyd-4713")
STARTS = {  # the mutation of each kind; a learner's id replaces `%s`
    "RUN_BATCH": ("runBatch", ""),
    "REBUILD": ("rebuildProjections", ""),
    "ARCHIVE": ("archiveEvents", 'before: "2999-01-01T00:00:00Z",'),
    "EXPORT_USER": ("exportUser", 'userId: "%s",'),
    "EXPORT_STATISTICS": ("exportStatistics", "table: DAILY, format: CSV,"),
    "ERASE_USER": ("eraseUser", 'userId: "%s",'),
}
STOPPED = ("cancelled", "erased", "request another export")  # the errors of what was stopped
SMALL_RANGE = 6  # a lesson has eight events


def shorten() -> None:
    """Let a range have few positions, and let erasures not wait for the end of queries."""
    runs.RANGE, runs.TOGETHER = SMALL_RANGE, 3
    erasure_steps._REQUESTS_END_S, erasure_rows.CHUNK = 0.0, 7


def doom(kind: str, step: str, point: str) -> None:
    shorten()
    doomed_worker.doom_step(kind, step, point)


def run(operation_id: str) -> None:
    with contextlib.suppress(Unavailable):  # the command would be delivered again
        deliver(operation_id)


def list_events(connection: Connection) -> list[dict[str, Any]]:
    """Return the rows of the log in order, without the ids and versions of erased events.

    If an event was archived before it was emptied, a restore gives it an id and a version anew.
    """
    events = model_rows.read_table(connection, "event_store.events")
    events.sort(key=lambda event: event["global_position"])
    anew = {"event_id": None, "stream_version": None}
    return [event | anew if event["event_type"] == "Erased" else event for event in events]


class World:
    """A store with an archive, another store for restores, and an API."""

    def __init__(self, operator: Operator, store: Store, other_store: Store, folder: Path):
        self.operator, self.store, self.other_store = operator, store, other_store
        self.folder = folder
        self.stage, self.others = Stage(store.url), Stage(other_store.url)
        self.connection: Connection = self.stage.admin
        self.archive: Storage = storages.open_storage(str(folder / "archive"))
        self.begin()

    def close(self) -> None:
        for stage in (self.stage, self.others):
            stage.close()

    def begin(self) -> None:
        """Delete everything; publish three items and a lesson of each learner."""
        for stage in (self.stage, self.others):
            stage.sweep()
        self.connection.run(BLOCKS["forget operations"])
        shutil.rmtree(self.folder, ignore_errors=True)
        self.lessons: Counter[str] = Counter()
        self.started: dict[str, tuple[str, str]] = {}  # the kind and learner of each operation
        self.requested: set[str] = set()  # the learners whose erasure was requested
        self.items = [sample_events.item_published(f"i{n}") for n in range(3)]
        append(self.connection, self.items)
        for learner in LEARNERS:
            self.push(learner)
        batch.run(self.connection)

    def push(self, learner: str) -> None:
        events = sample_events.lesson(learner, self.lessons[learner])
        append(self.connection, events)
        self.lessons[learner] += 1

    def start(self, kind: str, learner: str) -> str | None:
        field, arguments = STARTS[kind]
        started = self.operator.try_start(field, arguments.replace("%s", learner))
        if started is None:
            assert learner in self.requested
            return None
        self.started[started] = kind, learner
        if kind == "ERASE_USER":
            self.requested.add(learner)
        return started

    def kill(self, operation_id: str, step: int, point: str) -> None:
        kind, _ = self.started[operation_id]
        steps = PLANS[kind].steps
        name = steps[step % len(steps)].name
        if point.startswith("undo") and name not in runner.COMPENSATIONS.get(kind, {}):
            return
        work = functools.partial(run, operation_id)
        doomed_worker.call_until_death(work, functools.partial(doom, kind, name, point))
        doomed_worker.await_lost_claim(self.connection)

    def write_archive(self) -> None:
        archives.run(self.connection, self.archive)

    def join(self) -> None:
        with log_rows.hold_lock(self.connection):
            runs.join(self.connection, self.archive, lambda *_: None)

    def restore_archive(self) -> int:
        self.others.sweep()
        found = catalogue.read(self.archive)
        if found.ranges and not found.unfinished:
            archive_restore.run(self.others.admin, self.archive, lambda *_: None)
        return found.upto

    def expect_order(self) -> None:
        """Assert what holds at any moment: the log is dense, and the archive names only files."""
        assert not checks.run(self.connection).findings
        if catalogue.read(self.archive).ranges:
            assert not check.run(self.archive, lambda *_: None).findings

    def finish(self, operation_id: str) -> Any:
        done = self.operator.run_until_it_ends(operation_id)
        while done["state"] == "FAILED" and isinstance(self.operator.retry(operation_id), dict):
            done = self.operator.run_until_it_ends(operation_id)
        assert done["state"] == "SUCCEEDED" or done["error"].endswith(STOPPED), done
        return done

    def expect_the_end(self) -> None:
        """Complete every operation, and assert that nothing is lost, doubled or left.

        - Each operation ends. A cancelled one fails; everything else succeeds, if it is retried.
        - The log has each event of the other learners once, and nothing of the erased learners is
          in any table or file. Every other export has its file.
        - The read models equal the oracle's. The archive is complete, has no other files, and
          fills an empty log with the same rows, whose read models are the same.
        """
        done = {one: self.finish(one) for one in self.started}
        learners = {kind: set[str]() for kind in STARTS}
        files: dict[str, str] = {}  # the object of each export, and its learner
        for operation_id, (kind, learner) in self.started.items():
            if done[operation_id]["state"] == "SUCCEEDED":
                learners[kind].add(learner)
                result = self.operator.get(operation_id)["result"]
                if kind.startswith("EXPORT") and result:  # an erasure takes it away, with the file
                    file = json.loads(result)["object"]
                    files[file] = learner if kind == "EXPORT_USER" else ""
        erased = learners["ERASE_USER"]
        found = {path.name for path in self.folder.glob("exports/*")}
        assert {file for file, of in files.items() if of and of not in erased} <= found
        assert found <= files.keys()
        append(self.connection, self.items)  # a redelivery
        batch.run(self.connection)
        self.write_archive()
        assert not sample_events.find_differences(self.connection)
        kept = {learner: n for learner, n in self.lessons.items() if learner not in erased}
        recorded = {name: n // 8 for name, n in self.connection.run(BLOCKS["lessons"])}
        assert recorded == kept
        assert find_traces(self.connection, *erased) == []
        report = check.run_deep(self.connection, self.archive, lambda *_: None)
        assert report.findings == []
        folders = {path.split("/")[1] for path in archives.paths(self.archive)}
        assert len(folders) == len(report.ranges)
        self.expect_order()
        assert self.restore_archive() == model_rows.read_value(self.connection, "head")
        restored = self.others.admin
        rebuild.run(self.other_store.connect)
        batch.run(restored)
        sessions = archives.BLOCKS["sessions"]
        assert list_events(restored) == list_events(self.connection)
        named = [row for row in self.connection.run(sessions) if row[1]]  # not of the erased
        assert restored.run(sessions) == named
        stored, again = model_rows.read_rows(self.connection), model_rows.read_rows(restored)
        assert model_rows.compare(again, stored) == []


class AnyOrder(stateful.RuleBasedStateMachine):
    operations = stateful.Bundle("operations")

    def __init__(self, world: World):
        super().__init__()
        self.world = world
        world.begin()

    @stateful.rule(learner=st.sampled_from(LEARNERS))
    def push(self, learner: str) -> None:
        self.world.push(learner)

    @stateful.rule()
    def fold(self) -> None:
        batch.run(self.world.connection)

    @stateful.rule(
        target=operations,
        kind=st.sampled_from(sorted(STARTS)),
        learner=st.sampled_from(LEARNERS[:2]),
    )
    def start(self, kind: str, learner: str) -> Any:
        return self.world.start(kind, learner) or stateful.multiple()

    @stateful.rule(operation=operations)
    def run(self, operation: str) -> None:
        run(operation)

    @stateful.rule(
        operation=operations,
        step=st.integers(0, 4),
        point=st.sampled_from(["before", "after", "undo before", "undo after"]),
    )
    def kill(self, operation: str, step: int, point: str) -> None:
        self.world.kill(operation, step, point)

    @stateful.rule(operation=operations)
    def cancel(self, operation: str) -> None:
        self.world.operator.cancel(operation)

    @stateful.rule(operation=operations)
    def retry(self, operation: str) -> None:
        self.world.operator.retry(operation)

    @stateful.rule()
    def write_archive(self) -> None:
        self.world.write_archive()

    @stateful.rule()
    def join(self) -> None:
        self.world.join()

    @stateful.rule()
    def restore_archive(self) -> None:
        self.world.restore_archive()

    @stateful.rule()
    def rebuild(self) -> None:
        rebuild.run(self.world.store.connect)

    @stateful.invariant()
    def expect_order(self) -> None:
        self.world.expect_order()

    def teardown(self) -> None:
        self.world.expect_the_end()


@pytest.fixture
def world(
    operator: Operator,
    store: Store,
    stores: Callable[[], Store],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    monkeypatch.setattr(runs, "RANGE", SMALL_RANGE)
    monkeypatch.setattr(runs, "TOGETHER", 3)
    monkeypatch.setattr(erasure_rows, "CHUNK", 7)
    made = World(operator, store, stores(), tmp_path)
    yield made
    made.close()


@pytest.mark.exhaustive
def test_any_order_of_operations_ends_as_without_interference(world: World) -> None:
    stateful.run_state_machine_as_test(
        functools.partial(AnyOrder, world),  # type: ignore[arg-type] # any function may create it
        settings=hypothesis_settings(
            max_examples=60,
            stateful_step_count=30,
            phases=[Phase.explicit, Phase.generate],  # shrinking a failing order takes minutes
            report_multiple_bugs=False,
            database=None,
        ),
    )
