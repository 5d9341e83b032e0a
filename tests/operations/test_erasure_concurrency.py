"""What an erasure leaves in Redis, and the fold for which it waits."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from progress import settings
from progress.adapters import request_scope
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.redis import commands
from progress.operations import erasure_rows, erasure_steps
from progress.projections import schema
from progress.query.cache.keys import CacheKey
from tests.conftest import Store
from tests.support import api, cache_instances, model_rows, sample_events, stage
from tests.support.erasure_fixtures import (
    LEARNER,
    MARKER,
    NEEDLES,
    erase,
    find_in_redis,
    leave_traces,
    receipt,
)
from tests.support.operation_fixtures import Operator
from tests.support.postgres_servers import url_of

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
