"""The results of subscriptions: their formats, their links, and their errors."""

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

from graphql import Executor, parse

from progress.errors import Forbidden
from progress.operations.records import Operation, OperationKind, OperationState
from progress.query.auth import Caller
from progress.query.execution.request_log import RequestLog
from progress.query.graphql.context import Context
from progress.query.graphql.downloads import Downloads
from progress.query.graphql.schema import GRAPHQL
from progress.query.http import subscriptions
from progress.query.read_models.queries import Queries
from progress.query.read_models.reader import Reader
from progress.query.read_models.rows import MasteryStats, Streak, UserProgress
from progress.settings import Settings

LOG = RequestLog("stream", f"00-{32 * 'a'}-{16 * 'b'}-01")
ID = "3f0c1f0e-6a43-4c0e-9a53-0d2c6c1c7a11"


def test_numbers_and_times_are_formatted_as_in_query_results() -> None:
    moment = datetime(2024, 3, 1, 12, 30, 0, 250, UTC)
    row = UserProgress("ann", 2**40, 0, 0, 0, None, MasteryStats(0, 0, 0, 0), moment)
    tree = parse("subscription { progressUpdated { totalItemsLearned lastUpdated } }")
    executor: Any = Executor.build(GRAPHQL, tree, raw_variable_values={})
    expected = b'{"totalItemsLearned":2147483647,"lastUpdated":"2024-03-01T12:30:00.000250Z"}'
    written = asyncio.run(subscriptions.write_result(executor, row, LOG))
    assert written == b'{"data":{"progressUpdated":' + expected + b"}}"
    streak = Streak(
        1, 2, date(2024, 3, 1), None, None, active_today=True, at_risk=False, rest_today=False
    )
    tree = parse("subscription { streakUpdated { longestStart longestEnd activeToday } }")
    executor = Executor.build(GRAPHQL, tree, raw_variable_values={})
    expected = b'{"longestStart":"2024-03-01","longestEnd":null,"activeToday":true}'
    written = asyncio.run(subscriptions.write_result(executor, streak, LOG))
    assert written == b'{"data":{"streakUpdated":' + expected + b"}}"


def test_a_stream_sends_download_links_that_are_valid_for_ten_minutes() -> None:
    began, now = datetime(2026, 1, 1, tzinfo=UTC), datetime.now(UTC)
    caller, downloads = Caller("ann", "learner"), Downloads(Settings())
    context = Context(caller, Queries(Reader(Settings())), began, downloads=downloads)
    row = Operation(
        id=ID, number=1, version=1, kind=OperationKind.EXPORT_USER,
        state=OperationState.SUCCEEDED, started_by="ann", progress=1.0, error=None,
        result='{"object":"1.zip","file":"progress-2026-01-01.zip","bytes":7,"sha256":"ab"}',
        started_at=now, finished_at=now, steps=[], subject="ann", requesters=["ann"],
    )  # fmt: skip
    text = (
        f'subscription {{ it: operationUpdated(id: "{ID}") {{ download {{ bytes expiresAt }} }} }}'
    )
    executor: Any = Executor.build(
        GRAPHQL, parse(text), context_value=context, raw_variable_values={}
    )
    written = asyncio.run(subscriptions.write_result(executor, row, LOG))
    download = json.loads(written)["data"]["it"]["download"]
    assert download["bytes"] == 7
    assert datetime.fromisoformat(download["expiresAt"]) >= now + timedelta(minutes=10)


def test_an_error_is_reported_at_the_subscription_s_field() -> None:
    tree = parse(
        "subscription { ...s } fragment s on Subscription { it: streakUpdated { current } }"
    )
    executor: Any = Executor.build(GRAPHQL, tree, raw_variable_values={})
    written = asyncio.run(subscriptions.write_result(executor, Forbidden("no longer"), LOG))
    (error,) = json.loads(written)["errors"]
    assert error["message"] == "no longer"
    assert (error["path"], error["extensions"]["code"]) == (["it"], "FORBIDDEN")
    assert json.loads(written)["data"] is None
