"""A result that is joined from its fields is the one that graphql-core makes of them.

It has the same data, errors and extensions. Its SELECTs, traces and log are the same, too.
"""

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, ClassVar

import pytest
from graphql import ExecutionResult
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from progress.adapters.redis.async_client import Client
from progress.auth import Caller
from progress.errors import DatabaseUnavailable, ProgressError, StatementFailed
from progress.query.cache.keys import CacheKey
from progress.query.cache.rate_limit import RateLimiter
from progress.query.cache.responses import Lookup, ResponseCache
from progress.query.execution import execute
from progress.query.execution.compiled import InvalidRows
from progress.query.execution.execute import GraphQLRequest, RequestLog
from progress.query.execution.executor import Answers
from progress.query.execution.fields import PlannedField
from progress.query.graphql.context import Context
from progress.query.read_models.accesses import AccessTrace
from progress.query.read_models.queries import Queries
from progress.query.read_models.reader import Reader
from tests.query.test_compiled import LOG, MARCH, NOW, PHASES, Query, fold_log, query
from tests.support.postgres_servers import EMBEDDED, Server

FAILURES = (None, DatabaseUnavailable("away"), StatementFailed("broken", "XX000"), InvalidRows())
STREAK = Query("{ streak { current longest } }", {}, None)
FIELDS_THAT_JOIN = f"""query Q($no: Boolean = false) {{
  streak {{ ...Of }} days: {MARCH % "date answers"} goal {{ answersToday }}
  restDays @include(if: $no) mine: streak {{ current @skip(if: $no) kind: __typename }}
}}
fragment Of on Streak {{ longest atRisk }}
query Other {{ __typename }}"""


class Joining(Answers):
    """Answers that count the results that they have joined, by their missing fields."""

    joined: ClassVar[Counter[str]] = Counter()

    async def join(self, plan: Sequence[PlannedField]) -> ExecutionResult | None:
        way = "SELECT" if len(self.found) < len(self.fields) else "cached"
        result = await super().join(plan)
        self.joined[way] += result is not None
        return result


class Leaving(Answers):
    """Answers that leave every operation to graphql-core."""

    async def join(self, _: Sequence[PlannedField]) -> ExecutionResult | None:
        return None


class Forgetful(ResponseCache):
    """A cache that does not find the first `forgets` entries of a request."""

    forgets = 0
    counted = 0

    async def lookup(self, caller: str, keys: Sequence[CacheKey], **options: Any) -> Lookup:
        lookup = await super().lookup(caller, keys, **options)
        self.counted += options["requests"]
        lost = min(self.forgets, len(keys))
        if lost:
            lookup.entries[:lost] = [None] * lost
            lookup.result = "miss"
        return lookup


class Failing(Reader):
    """A reader whose SELECTs of compiled fields fail with `failure`, and are counted."""

    failure: Exception | None = None
    selects = 0

    async def fetch_columns(self, *arguments: Any, **options: Any) -> Any:
        self.selects += 1
        if self.failure:
            raise self.failure
        return await super().fetch_columns(*arguments, **options)


class Traces(AccessTrace):
    """Traces that are also kept in memory."""

    written: list[object]

    async def write(
        self, caller: Caller, learners: Iterable[str], trails: Iterable[str] = ()
    ) -> None:
        self.written.append((caller, sorted(learners), sorted(trails)))
        await super().write(caller, learners, trails)


class World:
    """A database and a cache, on which each operation runs in both ways."""

    def __init__(self, database: str, redis: str) -> None:
        self._runner = asyncio.Runner()
        self._reader, self._redis = Failing(database), Client(redis, timeout_s=10)
        limiter = RateLimiter(self._redis, 10**9)
        self._cache = Forgetful(self._redis, limiter, self._reader)

    def run(self, asked: Query, role: Any, answers: type[Answers], **state: Any) -> object:
        """Return all that can be seen of the response."""
        self._cache.forgets = state.get("forgets", 0)
        self._cache.counted = self._reader.selects = 0
        self._reader.failure = state.get("failure")
        return self._runner.run(self._run(asked, role, answers))

    async def _run(self, asked: Query, role: Any, answers: type[Answers]) -> object:
        traces = Traces(self._reader)
        traces.written = []
        context = Context(Caller("ann", role), Queries(self._reader), NOW, traces)
        request = GraphQLRequest(asked.text, asked.variables, asked.operation_name)
        line = RequestLog("query", LOG.traceparent)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(execute, "Answers", answers)
            response: object
            try:
                response = await execute.run(
                    request, context, cache=self._cache, introspection=False, log=line
                )
            except ProgressError as error:
                response = repr(error)
        seen = (line.cache_result, line.has_failed, traces.written)
        return response, seen, self._reader.selects, self._cache.counted

    def close(self) -> None:
        self._runner.run(self._redis.close())
        self._runner.run(self._reader.close())
        self._runner.close()


@pytest.fixture(scope="module")
def database(servers: Callable[[str], Server]) -> Iterator[str]:
    with servers(EMBEDDED).open_database() as url:
        fold_log(url).connection.close()
        yield url


@pytest.fixture
def world(database: str, redis_with_notifications: str) -> Iterator[World]:
    Joining.joined.clear()
    with closing(World(database, redis_with_notifications)) as made:
        yield made


def test_a_joined_result_is_that_of_graphql_core(world: World) -> None:
    def compare(asked: Query, role: str, **state: Any) -> None:
        world.run(asked, role, Leaving)  # fills the cache
        assert world.run(asked, role, Joining, **state) == world.run(asked, role, Leaving, **state)

    for forgets in range(4):
        for failure in FAILURES:
            for asked in (STREAK, *(Query(FIELDS_THAT_JOIN, {"no": no}, "Q") for no in (0, 1))):
                compare(asked, "learner", forgets=forgets, failure=failure)
    assert Joining.joined["cached"] >= 4
    assert Joining.joined["SELECT"] >= 2
    Joining.joined.clear()
    for number in range(60):
        role = "support" if number % 3 else "learner"
        for forgets in (0, 1):
            compare(
                query(number),
                role,
                forgets=forgets,
                failure=None if number % 2 else FAILURES[number // 2 % 4],
            )
    assert Joining.joined["cached"] > 1
    assert Joining.joined["SELECT"] > 1

    @settings(max_examples=60, suppress_health_check=list(HealthCheck), phases=PHASES)
    @given(
        seed=st.integers(0, 2**32),
        role=st.sampled_from(["learner", "support", "teacher"]),
        forgets=st.integers(0, 3),
        failure=st.sampled_from(FAILURES),
    )
    def check(seed: int, role: str, forgets: int, failure: Exception | None) -> None:
        compare(query(seed), role, forgets=forgets, failure=failure)

    check()


@pytest.mark.parametrize("forgets", [0, 1])
def test_a_request_leaves_nothing_to_the_garbage_collector(world: World, forgets: int) -> None:
    for answers in (Joining, Leaving):
        for _ in range(2):
            world.run(STREAK, "learner", answers, forgets=forgets)
        gc.collect()
        gc.disable()
        try:
            world.run(STREAK, "learner", answers, forgets=forgets)
            assert gc.collect() == 0
        finally:
            gc.enable()
