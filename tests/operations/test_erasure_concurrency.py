"""What an erasure leaves in Redis, and the fold for which it waits."""

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.operations import erasure_rows
from progress.projections import schema
from tests.conftest import Store
from tests.support import api, model_rows, sample_events, stage
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
            call = pool.submit(erasure_rows.fold_deletion, erasing, LEARNER)
            model_rows.wait_for_lock(populated, pid, call)
        assert call.result() == []
