"""Compiled subscription results equal the executor's results for any selection."""

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

from graphql import Executor, GraphQLObjectType, get_named_type, parse
from hypothesis import given
from hypothesis import strategies as st

from progress.operations.records import (
    Operation,
    OperationKind,
    OperationState,
    OperationStep,
)
from progress.query.auth import Caller
from progress.query.execution.access_log import RequestLog
from progress.query.execution.selections import GRAPHQL
from progress.query.graphql.context import Context
from progress.query.graphql.downloads import Downloads
from progress.query.http import subscription_results
from progress.query.read_models.queries import Queries
from progress.query.read_models.reader import Reader
from progress.query.read_models.rows import MasteryStats, Streak, UserProgress
from progress.settings import Settings

LOG = RequestLog("stream", f"00-{32 * 'a'}-{16 * 'b'}-01")
ID = "3f0c1f0e-6a43-4c0e-9a53-0d2c6c1c7a11"

counts = st.integers(0, 2**40)
texts = st.text(max_size=5)
moments = st.datetimes(timezones=st.just(UTC))
dates = st.none() | st.dates()
states = st.sampled_from(OperationState)
progress = st.builds(
    UserProgress,
    user_id=texts,
    total_items_learned=counts,
    total_sessions_completed=counts,
    total_study_time_minutes=counts,
    current_streak=counts,
    accuracy_rate=st.none() | st.floats(0, 1),
    mastery_stats=st.builds(MasteryStats, counts, counts, counts, counts),
    last_updated=moments,
)
flags = st.booleans()
streaks = st.builds(Streak, counts, counts, dates, dates, dates, flags, flags, flags)
steps = st.builds(OperationStep, texts, states, st.integers(0, 9), st.none() | texts)
operations = st.builds(
    Operation,
    id=st.just(ID),
    number=counts,
    version=counts,
    kind=st.sampled_from(OperationKind),
    state=states,
    started_by=texts,
    progress=st.floats(0, 1),
    error=st.none() | texts,
    result=st.none() | texts,
    started_at=moments,
    finished_at=st.none() | moments,
    steps=st.lists(steps, max_size=3),
)
SUBSCRIPTIONS = {
    "progressUpdated": ("progressUpdated", st.none() | progress),
    "streakUpdated": ("streakUpdated", streaks),
    "operationUpdated": (f'operationUpdated(id: "{ID}")', operations),
}
DIRECTIVES = ("", "", "", " @include(if: $on)", " @skip(if: $on)", " @skip(if: true)")


@st.composite
def selections(draw: st.DrawFn, shape: GraphQLObjectType) -> str:
    """Draw a selection of the type's fields, with aliases, fragments and directives."""
    fields = []
    names = draw(st.lists(st.sampled_from(["__typename", *shape.fields]), min_size=1, max_size=6))
    for number, name in enumerate(names):
        member = get_named_type(shape.fields[name].type) if name in shape.fields else None
        text = (
            draw(st.sampled_from(["", f"a{number}: "])) + name + draw(st.sampled_from(DIRECTIVES))
        )
        if isinstance(member, GraphQLObjectType):
            text += draw(selections(member))
        fields.append(draw(st.sampled_from([text, f"... on {shape.name} {{ {text} }}"])))
    return " { " + " ".join(fields) + " }"


@given(st.data(), st.sampled_from(sorted(SUBSCRIPTIONS)), st.sampled_from([True, False, None]))
def test_a_result_equals_the_executor_s_result(
    data: st.DataObject, name: str, on: bool | None
) -> None:
    field, rows = SUBSCRIPTIONS[name]
    assert GRAPHQL.subscription_type
    shape = get_named_type(GRAPHQL.subscription_type.fields[name].type)
    assert isinstance(shape, GraphQLObjectType)
    tree = parse(
        f"subscription($on: Boolean = true) {{ it: {field}{data.draw(selections(shape))} }}"
    )
    executor: Any = Executor.build(GRAPHQL, tree, raw_variable_values={"on": on})
    state = data.draw(rows)
    written = asyncio.run(subscription_results.compile_result(tree, executor, LOG)(state))
    assert written == asyncio.run(subscription_results._execute(executor, state, LOG))


def test_numbers_and_times_are_formatted_as_in_query_results() -> None:
    moment = datetime(2024, 3, 1, 12, 30, 0, 250, UTC)
    row = UserProgress("ann", 2**40, 0, 0, 0, None, MasteryStats(0, 0, 0, 0), moment)
    tree = parse("subscription { progressUpdated { totalItemsLearned lastUpdated } }")
    executor: Any = Executor.build(GRAPHQL, tree, raw_variable_values={})
    expected = b'{"totalItemsLearned":2147483647,"lastUpdated":"2024-03-01T12:30:00.000250Z"}'
    written = asyncio.run(subscription_results.compile_result(tree, executor, LOG)(row))
    assert written == b'{"data":{"progressUpdated":' + expected + b"}}"
    streak = Streak(
        1, 2, date(2024, 3, 1), None, None, active_today=True, at_risk=False, rest_today=False
    )
    tree = parse("subscription { streakUpdated { longestStart longestEnd activeToday } }")
    executor = Executor.build(GRAPHQL, tree, raw_variable_values={})
    expected = b'{"longestStart":"2024-03-01","longestEnd":null,"activeToday":true}'
    written = asyncio.run(subscription_results.compile_result(tree, executor, LOG)(streak))
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
    field, _ = SUBSCRIPTIONS["operationUpdated"]
    text = f"subscription {{ it: {field} {{ download {{ bytes expiresAt }} }} }}"
    executor: Any = Executor.build(
        GRAPHQL, tree := parse(text), context_value=context, raw_variable_values={}
    )
    written = asyncio.run(subscription_results.compile_result(tree, executor, LOG)(row))
    download = json.loads(written)["data"]["it"]["download"]
    assert download["bytes"] == 7
    assert datetime.fromisoformat(download["expiresAt"]) >= now + timedelta(minutes=10)
