"""Every kind of operation under faults: in each step, a death, an outage and a cancellation."""

import contextlib
import functools
import hashlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from _pytest.mark import ParameterSet

from progress import settings
from progress.adapters import retries
from progress.adapters.postgres import statements
from progress.adapters.postgres.database import Connection
from progress.adapters.storage import bucket as bucket_storage
from progress.adapters.storage import outputs
from progress.archive import catalogue, check, erasure_ledger, log_rows, runs
from progress.errors import (
    ArchiveRunning,
    CopiesUnavailable,
    DatabaseUnavailable,
    StorageUnavailable,
    Unavailable,
)
from progress.event_store import dead_letters
from progress.operations import claimed_operations, erasure_rows, erasure_steps, runner
from progress.operations.claimed_operations import ClaimedOperation
from progress.operations.records import PLANS, Step
from progress.projections import batch, schema
from progress.projections.projector import SHARDS, Projector
from tests.conftest import Store
from tests.support import archives, cloud_storage, doomed_worker, model_rows, sample_events, stage
from tests.support.cloud_storage import Bucket
from tests.support.doomed_worker import POINTS
from tests.support.erasure_fixtures import LEARNER, erase, expect_erased, leave_traces
from tests.support.export_fixtures import export, get, read
from tests.support.operation_fixtures import BLOCKS, FIELDS, Operator, deliver, result
from tests.support.postgres_servers import url_of
from tests.support.postgres_wire import Wire
from tests.support.stage import append

_TOO_MANY = {"session_id": "late", "user_id": "ann", "item_count": -99_999}
_CHUNK, _QUANTUM = 512, 256  # Few bytes, so that an upload has several parts.
# Seven deliveries of the command take ten minutes: the pauses are 10, 20, 40, 80, 160 and 320 s.
_TEN_MINUTES = 7


class Scenario(NamedTuple):
    """`start` starts an operation and returns its id; `check` checks the operation's outcome."""

    start: Callable[[Operator, Connection], str]
    check: Callable[[Connection, Any], object] = lambda *_: None
    begins: bytes | None = None  # how the exported file begins, if the operation exports one


def _start_batch(operator: Operator, connection: Connection) -> str:
    append(connection, sample_events.lesson("ann", 9))
    return str(operator.start("runBatch")["id"])


def _check_batch(connection: Connection, done: Any) -> None:
    assert result(done).keys() == {"replayed", "swept", "learners"}
    assert not sample_events.find_differences(connection)


def _start_rebuild(operator: Operator, connection: Connection) -> str:
    connection.run(BLOCKS["damage read models"])
    return str(operator.start("rebuildProjections")["id"])


def _check_rebuild(connection: Connection, done: Any) -> None:
    assert result(done) == {"events": model_rows.read_value(connection, "head")}
    assert model_rows.read_value(connection, "schemas") == 1
    assert not sample_events.find_differences(connection)


def _start_replay(operator: Operator, connection: Connection) -> str:
    """Replay three letters: one that has become valid, one that has not, and a discarded one."""
    append(connection, [
        sample_events.envelope("SessionStarted", data, at=sample_events.BEGIN)
        for data in (_TOO_MANY, {}, {})
    ])  # fmt: skip
    letters = [letter.letter_id for letter in dead_letters.list_letters(connection)]
    connection.run(BLOCKS["fix payload"], letter_id=letters[0])
    dead_letters.discard(connection, letters[2], "of no use")
    ids = ", ".join(f'"{each}"' for each in letters)
    return str(operator.start("replayDeadLetters", f"ids: [{ids}]")["id"])


def _check_replay(connection: Connection, done: Any) -> None:
    outcome, (invalid,) = result(done), dead_letters.list_letters(connection)
    fixed, discarded = invalid.letter_id - 1, invalid.letter_id + 1
    assert outcome["replayed"] == [f"{fixed}"]
    assert {letter["id"]: letter["reason"] for letter in outcome["stay"]} == {
        f"{invalid.letter_id}": invalid.reason,
        f"{discarded}": f"dead letter {discarded} was discarded: of no use",
    }
    assert connection.run(BLOCKS["late sessions"]) == [[1]]
    assert Projector(connection).find_shards_behind() == []
    batch.run(connection)
    assert not sample_events.find_differences(connection)


def _check_archive(connection: Connection, done: Any) -> None:
    length = model_rows.read_value(connection, "head")
    assert result(done) == {"upto": length, "events": length}
    archive = catalogue.open_archive(settings.current())
    report = check.run_deep(connection, archive, lambda *_: None)
    assert report.findings == []
    assert len({path.split("/")[1] for path in archives.paths(archive)}) == 1


def _start_erasure(operator: Operator, connection: Connection) -> str:
    leave_traces(connection)
    archives.run(connection, catalogue.open_archive(settings.current()))
    return str(erase(operator)["id"])


def _check_erasure(connection: Connection, done: Any) -> None:
    expect_erased(connection, done)
    archive = catalogue.open_archive(settings.current())
    assert archives.files_with(archive, f"learner-{LEARNER}") == []


def _start(field: str, arguments: str) -> Callable[[Operator, Connection], str]:
    return lambda operator, _: str(operator.start(field, arguments)["id"])


SCENARIOS = {
    "RUN_BATCH": Scenario(_start_batch, _check_batch),
    "REBUILD": Scenario(_start_rebuild, _check_rebuild),
    "REPLAY_DEAD_LETTERS": Scenario(_start_replay, _check_replay),
    "ARCHIVE": Scenario(_start("archiveEvents", 'before: "2999-01-01T00:00:00Z",'), _check_archive),
    **dict.fromkeys(
        ("EXPORT_USER in a bucket", "EXPORT_USER"),
        Scenario(_start("exportUser", 'userId: "ann",'), begins=b"PK"),
    ),
    "EXPORT_STATISTICS as CSV": Scenario(
        _start("exportStatistics", "table: DAILY, format: CSV,"),
        begins=b"\xef\xbb\xbfuser_id,date,",
    ),
    "EXPORT_STATISTICS": Scenario(
        _start("exportStatistics", "table: DAILY, format: PARQUET,"), begins=b"PAR1"
    ),
    "ERASE_USER": Scenario(_start_erasure, _check_erasure),
}
EXPORTS = ("EXPORT_USER", "EXPORT_STATISTICS as CSV", "EXPORT_STATISTICS")
# Functions inside a step, after whose first call a worker dies.
INNER = [
    *((name, "write", "progress.adapters.storage.outputs:HashedOutput.write") for name in EXPORTS),
    ("EXPORT_USER in a bucket", "write", "progress.adapters.storage.bucket:_Upload._send"),
    ("ERASE_USER", "forbid", "progress.operations.erasure_rows.forbid_learner"),
    ("ERASE_USER", "redact", "progress.operations.erasure_rows.redact_events"),
    ("ERASE_USER", "close", "progress.operations.erasure_rows.hide_sessions"),
    ("ERASE_USER", "close", "progress.operations.erasure_rows.delete_marks"),
    ("ERASE_USER", "close", "progress.operations.erasure_rows.keep_receipt"),
]


def find_kind(name: str) -> str:
    return name.partition(" ")[0]


def list_steps(name: str) -> tuple[Step, ...]:
    return PLANS[find_kind(name)].steps


DEATHS = [
    *((name, step.name, at) for name in SCENARIOS for step in list_steps(name) for at in POINTS),
    *INNER,
]
# The deaths after which an operation can be cancelled: those before its first final step.
UNDONE = [
    (name, step, at)
    for name, step, at in DEATHS
    if step in [s.name for s in itertools.takewhile(lambda s: not s.is_final, list_steps(name))]
    and at != "before"
]


def mark(rows: list[tuple[str, str, str]], *in_gate: str) -> list[ParameterSet]:
    """Mark the rows as exhaustive, except the deaths after a step of these scenarios."""
    others = pytest.mark.exhaustive
    return [
        pytest.param(*row, marks=() if row[0] in in_gate and row[2] == "after" else others)
        for row in rows
    ]


class World:
    def __init__(self, operator: Operator, connection: Connection, bucket: Bucket) -> None:
        self.operator, self.connection, self.bucket = operator, connection, bucket
        self.name = self.operation_id = ""
        self.files: list[str] = []  # when the operation started

    def begin(self, name: str) -> None:
        self.name = name
        if name.endswith("bucket"):
            os.environ["EXPORTS_BUCKET"] = "exports"
            settings.current.cache_clear()
        self.operation_id = SCENARIOS[name].start(self.operator, self.connection)
        self.files = self.list_files()

    def kill_a_worker(self, step: str, at: str) -> None:
        """Run a worker that dies at this point of the step, or in the function `at`."""
        prepare = functools.partial(doom, find_kind(self.name), step, at)
        doomed_worker.run(self.connection, self.operation_id, prepare)

    def cancel(self) -> None:
        user, role = self.find_user()
        mutation = f'mutation {{ cancelOperation(id: "{self.operation_id}") {FIELDS} }}'
        assert "errors" not in self.operator.ask(mutation, user, roles=role)

    def find_user(self) -> tuple[str, str]:
        is_personal = self.name.startswith("EXPORT_USER")
        return ("ann", "learner") if is_personal else ("ada", "admin")

    def fail(self, error: type[Exception]) -> None:
        """Deliver the command for ten minutes; each delivery raises the error."""
        for _ in range(_TEN_MINUTES):
            with pytest.raises(error):
                deliver(self.operation_id)

    def list_exports(self) -> dict[str, bytes]:
        folder = Path(settings.current().progress_data_dir, "exports")
        return {path.name: path.read_bytes() for path in folder.glob("*")} | self.bucket.objects

    def list_files(self) -> list[str]:
        archive = catalogue.open_archive(settings.current())
        return sorted([*self.list_exports(), *archives.paths(archive)])

    def expect_success(self, repeated: str = "") -> None:
        """Deliver the command; check the outcome, and that only one step has a second attempt."""
        assert deliver(self.operation_id)
        done, scenario = self.operator.get(self.operation_id), SCENARIOS[self.name]
        scenario.check(self.connection, done)
        attempts = {step["name"]: step["attempts"] for step in done["steps"]}
        assert attempts == {s.name: 1 + (s.name == repeated) for s in list_steps(self.name)}
        exports = self.list_exports()
        if scenario.begins:
            file = result(done)
            content = exports.pop(file["object"])
            assert (len(content), hashlib.sha256(content).hexdigest()) == (
                file["bytes"],
                file["sha256"],
            )
            assert content.startswith(scenario.begins)
        assert not exports

    def expect_cancelled(self) -> None:
        done = self.operator.run_until_it_ends(self.operation_id)
        assert (done["state"], done["error"]) == ("FAILED", "cancelled")
        if self.name == "ARCHIVE":  # what is archived stays, and is whole
            found = catalogue.read(catalogue.open_archive(settings.current()))
            assert (found.findings, found.unfinished, found.replaced) == ([], {}, [])
        else:
            assert self.list_files() == self.files


@pytest.fixture
def world(
    operator: Operator, populated: Connection, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> World:
    monkeypatch.setenv("EXPORTS_BUCKET", "")
    monkeypatch.setattr(retries, "_FIRST_PAUSE_S", 0)
    monkeypatch.setattr(bucket_storage, "_CHUNK", _CHUNK)
    monkeypatch.setattr(cloud_storage, "_QUANTUM", _QUANTUM)
    return World(operator, populated, bucket)


def doom(kind: str, step: str, at: str) -> None:
    """Let this process die at this point, and not wait for the end of queries."""
    erasure_steps._REQUESTS_END_S, erasure_rows.CHUNK, bucket_storage._CHUNK = 0.0, 7, _CHUNK
    owner, _, function = at.rpartition(".")
    if owner:
        doomed_worker.doom_call(owner, function, "after")
    else:
        doomed_worker.doom_step(kind, step, at)


@pytest.mark.parametrize(
    ("name", "step", "at"), mark(DEATHS, *SCENARIOS.keys() - {"ERASE_USER", *EXPORTS})
)
def test_the_first_redelivery_completes_the_operation_of_a_dead_worker(
    world: World, name: str, step: str, at: str
) -> None:
    world.begin(name)
    world.kill_a_worker(step, at)
    if not name.endswith("bucket"):
        assert get(world.operator, world.operation_id, *world.find_user())["download"] is None
    for complete in Path(settings.current().progress_data_dir).glob("exports/*.zip"):
        assert {*read(complete)} >= {"events.jsonl", "manifest.json"}
    world.expect_success(repeated=step)


@pytest.mark.parametrize(("name", "step", "at"), mark(UNDONE, "ARCHIVE", "EXPORT_USER"))
def test_a_cancelled_operation_leaves_no_file_but_ranges_of_the_archive(
    world: World, name: str, step: str, at: str
) -> None:
    """The cancellation comes while no worker runs it, after one has died."""
    world.begin(name)
    world.kill_a_worker(step, at)
    world.cancel()
    world.expect_cancelled()


@pytest.mark.parametrize("name", ["ARCHIVE", "EXPORT_USER", "EXPORT_STATISTICS"])
def test_an_operation_that_is_cancelled_while_it_writes_writes_no_further_part(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    world.begin(name)
    place: tuple[Any, str] = (outputs.Rows, "write")
    if name == "ARCHIVE":
        place = runs, "_write_range"
    write, calls = getattr(*place), list[Any]()

    def cancel_and_write(*arguments: Any) -> object:
        calls.append(arguments)
        world.cancel()
        return write(*arguments)

    monkeypatch.setattr(runs, "RANGE", 30)
    monkeypatch.setattr(claimed_operations, "_REPORT_INTERVAL_S", 0.0)
    monkeypatch.setattr(outputs, "_REPORT_INTERVAL", 1)
    monkeypatch.setattr(*place, cancel_and_write)
    world.expect_cancelled()
    assert len(calls) == 1


@contextmanager
def lose_bucket(world: World) -> Iterator[None]:
    world.bucket.outages = [{}] * (_TEN_MINUTES * retries.ATTEMPTS)
    yield
    assert not world.bucket.outages


@contextmanager
def fill_bucket(world: World) -> Iterator[None]:
    world.bucket.refusals = [507] * 1_000
    yield
    world.bucket.refusals.clear()


@contextmanager
def lose_redis(_: World) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", "unix:///nowhere/redis.sock")
        settings.current.cache_clear()
        yield
    settings.current.cache_clear()


def hold_archive(world: World) -> AbstractContextManager[None]:
    return log_rows.hold_lock(world.connection)


@contextmanager
def lose_ledger(_: World) -> Iterator[None]:
    def fail(*_: object) -> None:
        raise StorageUnavailable("no response")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(erasure_ledger, "write_entry", fail)
        yield


# The scenario, the step before which a worker has died, the outage and its error.
OUTAGES: dict[str, Any] = {
    "bucket after the file": ("EXPORT_USER in a bucket", "offer", lose_bucket, StorageUnavailable),
    "full bucket": ("EXPORT_USER in a bucket", "", fill_bucket, StorageUnavailable),
    "another run": ("ARCHIVE", "", hold_archive, ArchiveRunning),
    "a run during an erasure": ("ERASE_USER", "", hold_archive, ArchiveRunning),
    "Redis": ("ERASE_USER", "", lose_redis, CopiesUnavailable),
    "ledger": ("ERASE_USER", "", lose_ledger, StorageUnavailable),
}


@pytest.mark.parametrize("what", OUTAGES)
def test_an_outage_of_ten_minutes_does_not_count_as_an_attempt(world: World, what: str) -> None:
    name, step, outage, error = OUTAGES[what]
    world.begin(name)
    if step:
        world.kill_a_worker(step, "before")
    with outage(world):
        world.fail(error)
        assert world.operator.get(world.operation_id)["state"] == "RUNNING"
    assert bool(world.list_exports()) == bool(step)
    world.expect_success(repeated=step)


def test_an_outage_of_the_bucket_delays_the_deletion_of_a_cancelled_export(world: World) -> None:
    world.begin("EXPORT_USER in a bucket")
    world.kill_a_worker("write", "after")
    world.cancel()
    with lose_bucket(world):
        world.fail(StorageUnavailable)
    assert world.list_files()
    world.expect_cancelled()


STEPS = [(name, step.name) for name in SCENARIOS if " " not in name for step in list_steps(name)]


@pytest.mark.first_in_gate
@pytest.mark.parametrize("outage", ["refuses", "hangs", "loses_requests"])
@pytest.mark.parametrize(("name", "step"), STEPS)
def test_a_database_outage_during_a_step_does_not_count_as_an_attempt(
    world: World, wire: Wire, monkeypatch: pytest.MonkeyPatch, *, name: str, step: str, outage: str
) -> None:
    world.begin(name)
    monkeypatch.setenv("DATABASE_URL", url_of(wire.url, "project"))
    settings.current.cache_clear()
    with fail_database(wire, name, step, outage, monkeypatch):
        with pytest.raises(DatabaseUnavailable):
            deliver(world.operation_id)
        if outage == "refuses":
            world.fail(DatabaseUnavailable)
    doomed_worker.await_lost_claim(world.connection)
    world.expect_success()


@contextmanager
def fail_database(
    wire: Wire, name: str, step: str, outage: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Make the database refuse connections or hang, from the step's beginning until the block ends.

    If the database refuses connections, open connections are cut at once. If replies or requests
    are lost, they are cut after 0.1 s, as a failover would cut them.
    """
    kind = find_kind(name)
    actions = runner.ACTIONS[kind]
    timers = []

    def act(operation: ClaimedOperation) -> object:
        setattr(wire, outage, True)
        timers.append(threading.Timer(0 if wire.refuses else 0.1, wire.cut))
        timers[0].start()
        return actions[step](operation)

    with monkeypatch.context() as during:
        during.setitem(runner.ACTIONS, kind, {**actions, step: act})
        yield
    setattr(wire, outage, False)
    timers[0].join()


@pytest.mark.first_in_gate
@pytest.mark.parametrize("name", EXPORTS)
def test_an_attempt_fails_if_a_rebuild_replaces_the_read_models_but_the_next_attempt_succeeds(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    world.begin(name)
    flush, flushes = outputs.Rows.flush, list[Any]()

    def flush_and_swap(rows: Any) -> None:
        flush(rows)
        if not flushes:
            world.connection.run(BLOCKS["retire read models"])
            schema.create(world.connection)
        flushes.append(rows)

    with monkeypatch.context() as swapped:
        swapped.setattr(outputs.Rows, "flush", flush_and_swap)
        with pytest.raises(Unavailable, match="a rebuild replaced the read models"):
            deliver(world.operation_id)
    assert not world.list_files()
    world.expect_success(repeated="write")


def test_an_export_that_waits_for_the_shard_of_its_learner_can_be_cancelled_immediately(
    operator: Operator, populated: Connection, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker holds the learner's shard, so that the export cannot fold the new event."""
    operation_id = export(operator)["id"]
    stage.append(populated, [sample_events.user_deleted("ann")])
    wait, waits = ClaimedOperation.wait, list[float]()

    def cancel_and_wait(operation: ClaimedOperation, seconds: float) -> None:
        waits.append(seconds)
        operator.cancel(operation_id)
        wait(operation, seconds)

    monkeypatch.setattr(ClaimedOperation, "wait", cancel_and_wait)
    with contextlib.closing(stage.connect(store.url)) as holder:
        holder.run("BEGIN")
        for shard in SHARDS:
            holder.run(statements.blocks("projections/interface")["lock shard"], shard=shard)
        done = operator.run(operation_id)
    assert (done["state"], done["error"], len(waits)) == ("FAILED", "cancelled", 1)
