"""Erasures under faults, and beside queries, folds, rebuilds and read models that nobody reads."""

import asyncio
import contextlib
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from progress import settings
from progress.adapters import request_scope
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.redis import commands
from progress.adapters.storage.storage import Storage
from progress.archive import erasure_ledger
from progress.archive.erasure_ledger import Entry
from progress.errors import ProgressError
from progress.operations import erasure_rows, erasure_steps, records, runner
from progress.operations.claimed_operations import ClaimedOperation
from progress.operations.records import OperationKind
from progress.projections import batch, rebuild, replacement, schema
from progress.projections.projector import Projector
from progress.query.cache.keys import CacheKey
from progress.recovery import checks
from progress.serve import readiness
from tests.conftest import Store
from tests.support import api, cache_instances, model_rows, sample_events, stage
from tests.support.erasure_fixtures import (
    BLOCKS,
    LEARNER,
    MARKER,
    NEEDLES,
    apply_ledger,
    erase,
    expect_erased,
    find_in_redis,
    find_traces,
    leave_traces,
    receipt,
)
from tests.support.operation_fixtures import Operator
from tests.support.postgres_servers import url_of

CHUNKED = (  # the statements that run once for each chunk
    *("redact events", "redact undeclared", "count undeclared", "delete snapshots"),
    *("redact letters", "hide sessions", "count mentions", "analyze"),
)


def test_each_step_can_be_stopped_before_each_of_its_chunks(
    operator: Operator, traced: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each chunk, the worker checks the time limits and whether it must stop."""
    run, blocks_run = database.run, list[str]()
    check = ClaimedOperation.raise_if_expired

    def run_and_record(connection: Connection, file: str, block: str, **values: object) -> Any:
        if file == "operations/erasure_rows":
            blocks_run.append(block)
        return run(connection, file, block, **values)

    def check_and_record(operation: ClaimedOperation) -> None:
        blocks_run.append("check")
        check(operation)

    for name in ("CHUNK", "_LETTERS", "_READ"):
        monkeypatch.setattr(erasure_rows, name, 1)
    monkeypatch.setattr(database, "run", run_and_record)
    monkeypatch.setattr(ClaimedOperation, "raise_if_expired", check_and_record)
    expect_erased(traced, operator.run(erase(operator)["id"]))
    chunked = Counter(block for block in blocks_run if block in CHUNKED)
    assert [block for block in CHUNKED if chunked[block] < 2] == []
    before = itertools.pairwise(blocks_run)
    assert {first for first, block in before if block in CHUNKED} == {"check"}


def test_a_learner_who_is_erased_between_the_fold_and_the_swap_of_a_rebuild_does_not_reappear(
    operator: Operator, store: Store, traced: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step of the erasure waits until the rebuild ends."""
    waits = 0

    def swap_at_the_second_wait(*_: object, **__: object) -> None:
        nonlocal waits
        waits += 1
        if waits == 2:
            replacement.swap(second)
            second.run("SELECT pg_advisory_unlock_all()")

    with replacement.open_replacement(store.connect) as second:
        rebuild.fold(store.connect)
        operation_id = erase(operator)["id"]
        monkeypatch.setattr(ClaimedOperation, "wait", swap_at_the_second_wait)
        done = operator.run(operation_id)
    assert waits >= 2
    expect_erased(traced, done)


def test_a_concurrent_batch_run_leaves_no_rows_of_the_learner(
    operator: Operator, store: Store, traced: Connection
) -> None:
    """The batch run holds a lock until its transaction ends; the last step waits for this lock."""
    operation_id = erase(operator)["id"]
    with contextlib.closing(stage.connect(store.url)) as run, ThreadPoolExecutor(1) as pool:
        run.run(BLOCKS["copy weeks"])
        run.run("BEGIN")
        run.run(BLOCKS["begin batch run"])
        running = pool.submit(runner.run, UUID(operation_id))
        readiness.wait(lambda: model_rows.read_value(traced, "one waits"), "the last step")
        run.run(BLOCKS["write weeks"])
        run.run(BLOCKS["end batch run"])
        run.run("COMMIT")
        running.result()
    expect_erased(traced, operator.get(operation_id))


def test_the_learner_is_erased_from_every_read_model_schema(
    operator: Operator, traced: Connection
) -> None:
    """Two revisions serve during a release, and a rebuild may have left a schema behind."""
    name = schema.schema_name()
    others = ["progress_000000000000", "progress_000000000001_retired"]
    for other in others:
        traced.run(f"ALTER SCHEMA {name} RENAME TO {other}")
        schema.create(traced)
        schema.set_search_path(traced)
        Projector(traced).catch_up_all()
        batch.fold(traced, list(range(16)))
    traced.run(f"DROP FUNCTION {others[1]}.remove_deletion")  # as before version 0.4
    assert len([t for t in find_traces(traced, LEARNER) if ".user_progress:" in t]) == 3
    done = operator.run(erase(operator)["id"])
    expect_erased(traced, done)


# An earlier version removed the ids of running erasures.
LOSE_ID = (
    """UPDATE operations.operations SET arguments = '{"erased": "00"}' WHERE operation_id = :id"""
)


def fail_in(operator: Operator, step: str, monkeypatch: pytest.MonkeyPatch) -> str:
    def fail(_: ClaimedOperation) -> None:
        raise ProgressError("no luck")

    operation_id: str = erase(operator)["id"]
    with monkeypatch.context() as broken:
        actions = {**runner.ACTIONS["ERASE_USER"], step: fail}
        broken.setitem(runner.ACTIONS, "ERASE_USER", actions)
        assert operator.run_until_it_ends(operation_id)["state"] == "FAILED"
    return operation_id


def is_reported(connection: Connection) -> bool:
    return any("1 erased learners" in finding.found for finding in checks.run(connection).findings)


@pytest.mark.exhaustive
@pytest.mark.parametrize("step", ["forget", "redact", "close"])
def test_an_erasure_without_the_id_of_the_learner_fails_and_can_be_completed(
    operator: Operator, traced: Connection, store: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    operation_id = fail_in(operator, step, monkeypatch)
    traced.run(LOSE_ID, id=operation_id)
    operator.retry(operation_id)
    failed = operator.run_until_it_ends(operation_id)
    assert failed["state"] == "FAILED"
    assert "run `progress erasures apply`" in failed["error"]
    assert is_reported(traced)
    assert apply_ledger(store).erased == 1
    assert find_traces(traced, *NEEDLES) == []
    assert not is_reported(traced)


@pytest.mark.exhaustive
def test_an_erasure_that_succeeded_without_the_id_of_the_learner_can_be_completed(
    operator: Operator, traced: Connection, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation_id = fail_in(operator, "close", monkeypatch)
    traced.run(LOSE_ID, id=operation_id)
    traced.run("UPDATE operations.operations SET state = 'SUCCEEDED' WHERE kind = 'ERASE_USER'")
    assert is_reported(traced)
    assert apply_ledger(store).erased == 1
    assert find_traces(traced, *NEEDLES) == []
    assert apply_ledger(store).erased == 0


@pytest.mark.exhaustive
@pytest.mark.parametrize("step", ["forbid", "redact"])
def test_an_erasure_that_another_one_has_overtaken_succeeds_with_the_receipt_of_the_other(
    operator: Operator, traced: Connection, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    first = fail_in(operator, step, monkeypatch)
    key = str(uuid4())
    second = records.accept(
        traced, OperationKind.ERASE_USER, caller="b", key=key, subject=LEARNER, user_id=LEARNER
    )
    done = receipt(operator.run_until_it_ends(str(second)))
    operator.retry(first)
    assert receipt(operator.run_until_it_ends(first)) == done
    assert find_traces(traced, *NEEDLES) == []


def test_the_ledger_keeps_the_first_entry_of_each_learner_and_names_a_damaged_one(
    archive: Storage,
) -> None:
    assert erasure_ledger.read_digests(archive) == set()
    first, again = (
        Entry("ab" * 32, operation_id, datetime(year, 1, 1, tzinfo=UTC))
        for operation_id, year in (("the first", 2026), ("another", 2027))
    )
    for entry in (first, Entry("cd" * 32, first.operation_id, first.erased_at), again):
        erasure_ledger.write_entry(archive, entry)
    archive.write("ranges/x.json", b"{}")
    assert erasure_ledger.read_digests(archive) == {"ab" * 32, "cd" * 32}
    assert erasure_ledger.read_entry(archive, first.digest) == first
    archive.write(f"erasures/{first.digest}.json", b"{")
    with pytest.raises(ProgressError, match=f"erasures/{first.digest}.json of the archive"):
        erasure_ledger.read_entry(archive, first.digest)


WAIT_S = erasure_steps._REQUESTS_END_S
ABOUT = """
{ userProgress(userId: "%s") { totalItemsLearned displayName }
  streak(userId: "%s") { longest }
  dailyStats(userId: "%s", from: "2024-04-01", to: "2024-04-30") { answers }
  past: dailyStats(userId: "%s", from: "2024-04-01", to: "2024-04-30",
                   asOf: "2024-04-20T00:00:00Z") { answers } }
""".replace("%s", LEARNER)


@pytest.fixture
def served(store: Store, patient_redis: str) -> Iterator[api.Api]:
    with api.serve(url_of(store.url, "query"), redis_url=patient_redis) as running:
        yield running


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


def test_a_query_that_read_before_an_erasure_leaves_nothing_after_it(
    operator: Operator,
    populated: Connection,
    store: Store,
    patient_redis: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The erasure waits until each such query has stored its result or is past its deadline."""
    assert WAIT_S > request_scope.TIMEOUT_S
    settings.current.cache_clear()
    leave_traces(populated)
    keys = [key for key in cache_instances.all_keys(LEARNER) if key.name in ("streak", "goal")]
    scopes: dict[str, request_scope.RequestScope] = {}
    ends = {key.name: asyncio.Event() for key in keys}

    async def query(key: CacheKey) -> None:
        with request_scope.begin(request_scope.TIMEOUT_S) as scopes[key.name]:
            lookup = await one.cache.lookup("ada", [key], at=cache_instances.NOW)

            async def compute() -> bytes:
                data = await cache_instances.read(one.queries, key, cache_instances.NOW)
                began.release()
                await ends[key.name].wait()
                return data

            await one.cache.get_or_compute(lookup, key, compute)

    async def begin() -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(query(key)) for key in keys]
        for _ in keys:
            await began.acquire()
        return tasks

    async def end(task: asyncio.Task[None], name: str) -> None:
        ends[name].set()
        await task

    def wait(*_: object) -> None:
        one.run(end(first, keys[0].name))
        assert one.redis
        counted = [commands.count(kind, LEARNER, 1, 1) for kind in ("rate", "entries")]
        one.run(one.redis.run(*counted, commands.mark_poster(LEARNER, 1)))
        assert find_in_redis(LEARNER) != []

    with cache_instances.instances(store, patient_redis, 1) as (one,):
        began = asyncio.Semaphore(0)
        first, last = one.run(begin())
        monkeypatch.setattr(erasure_steps, "_wait_for_requests", wait)
        receipt(operator.run(erase(operator)["id"]))
        scopes[keys[1].name].deadline = time.monotonic()
        one.run(end(last, keys[1].name))
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
            call = pool.submit(erasure_rows.fold_deletion, erasing, LEARNER)
            model_rows.wait_for_lock(populated, pid, call)
        assert call.result() == []


OTHER = "progress_0123456789ab"
STEPS = [*runner.ACTIONS["ERASE_USER"]]
SMALL = 7  # the events of a window
TABLES = """
SELECT format('%I.%I', c.relnamespace::regnamespace, c.relname)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'user_id'
WHERE c.relnamespace = CAST(:schema AS regnamespace) AND c.relkind = 'r'
  AND c.relname <> 'deleted_learners'
"""


@pytest.fixture
def behind(store: Store, populated: Connection) -> Iterator[Projector]:
    """Other read models, which nobody reads: of the learner, they have only the first events."""
    leave_traces(populated)
    with contextlib.closing(stage.connect(store.url)) as connection:
        connection.run("UPDATE event_store.read_models SET read_until = clock_timestamp()")
        schema.create(connection, OTHER)
        projector = Projector(connection, OTHER)
        while not find_rows(connection):
            fold_on(projector)
        yield projector


def fold_on(projector: Projector) -> None:
    for shard in projector.find_shards_behind():
        projector.fold(shard, SMALL)


def find_rows(connection: Connection) -> list[str]:
    tables = [table for (table,) in connection.run(TABLES, schema=OTHER)]
    count = "SELECT count(*) FROM {} WHERE user_id = :learner"
    return [t for t in tables if connection.run(count.format(t), learner=LEARNER) != [[0]]]


@pytest.mark.exhaustive
@pytest.mark.parametrize("rolled_back", [None, *STEPS])
def test_read_models_that_are_folded_between_the_steps_of_an_erasure_keep_no_row(
    operator: Operator,
    store: Store,
    behind: Projector,
    monkeypatch: pytest.MonkeyPatch,
    rolled_back: str | None,
) -> None:
    """After the step `rolled_back`, the others are read, and all of them is folded."""
    left: dict[str, list[str]] = {}

    def followed(step: str, action: runner.Action) -> runner.Action:
        def act(operation: ClaimedOperation) -> object:
            outcome = action(operation)
            fold_on(behind)
            if step == rolled_back:
                behind.connection.run("UPDATE event_store.read_models SET read_until = now()")
                behind.catch_up_all()
                with contextlib.closing(stage.connect(store.url)) as job:
                    batch.run(job)
            left[step] = find_rows(behind.connection)
            return outcome

        return act

    actions = {name: followed(name, act) for name, act in runner.ACTIONS["ERASE_USER"].items()}
    monkeypatch.setitem(runner.ACTIONS, "ERASE_USER", actions)
    assert receipt(operator.run_until_it_ends(erase(operator)["id"]))["found"] == 0
    assert {step: rows for step, rows in left.items() if rows and step != "forbid"} == {}
    with contextlib.closing(stage.connect(store.url)) as connection:
        Projector(connection, OTHER).catch_up_all()
        batch.run(connection)
        assert find_rows(connection) == []
        assert find_traces(connection, *NEEDLES) == []
        schema.set_search_path(connection)
        assert not checks.run(connection).findings
