"""The results of subscriptions: their formats, their links, and their errors."""

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

from graphql import Executor, parse

from progress.errors import Forbidden
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
from tests.query.test_exports import finished_export

LOG = RequestLog("stream", f"00-{32 * 'a'}-{16 * 'b'}-01")


def write(query: str, value: object, context: Context | None = None) -> bytes:
    """Return the result of a subscription whose event has this value."""
    executor: Any = Executor.build(
        GRAPHQL, parse(query), context_value=context, raw_variable_values={}
    )
    return asyncio.run(subscriptions.write_result(executor, value, LOG))


def test_numbers_and_times_are_formatted_as_in_query_results() -> None:
    moment = datetime(2024, 3, 1, 12, 30, 0, 250, UTC)
    row = UserProgress("ann", 2**40, 0, 0, 0, None, MasteryStats(0, 0, 0, 0), moment)
    written = write("subscription { progressUpdated { totalItemsLearned lastUpdated } }", row)
    expected = b'{"totalItemsLearned":2147483647,"lastUpdated":"2024-03-01T12:30:00.000250Z"}'
    assert written == b'{"data":{"progressUpdated":' + expected + b"}}"
    streak = Streak(
        1, 2, date(2024, 3, 1), None, None, active_today=True, at_risk=False, rest_today=False
    )
    query = "subscription { streakUpdated { longestStart longestEnd activeToday } }"
    expected = b'{"longestStart":"2024-03-01","longestEnd":null,"activeToday":true}'
    assert write(query, streak) == b'{"data":{"streakUpdated":' + expected + b"}}"


def test_a_stream_sends_download_links_that_are_valid_for_ten_minutes() -> None:
    began, now = datetime(2026, 1, 1, tzinfo=UTC), datetime.now(UTC)
    caller, downloads = Caller("ann", "learner"), Downloads(Settings())
    context = Context(caller, Queries(Reader(Settings())), began, downloads=downloads)
    query = 'subscription { it: operationUpdated(id: "1") { download { bytes expiresAt } } }'
    written = write(query, finished_export(now), context)
    download = json.loads(written)["data"]["it"]["download"]
    assert download["bytes"] == 7
    assert datetime.fromisoformat(download["expiresAt"]) >= now + timedelta(minutes=10)


def test_an_error_is_reported_at_the_subscription_s_field() -> None:
    query = "subscription { ...s } fragment s on Subscription { it: streakUpdated { current } }"
    written = json.loads(write(query, Forbidden("no longer")))
    (error,) = written["errors"]
    assert error["message"] == "no longer"
    assert (error["path"], error["extensions"]["code"]) == (["it"], "FORBIDDEN")
    assert written["data"] is None
