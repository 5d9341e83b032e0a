"""Unusual arguments and bodies do not cause internal errors."""

import base64
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import api
from tests.support.api import Api

ALL = """
query (
  $user: ID, $from: Date!, $to: Date!, $fill: Boolean, $filter: ItemFilter, $order: ItemOrder,
  $level: CefrLevel, $domain: Domain, $first: Int, $after: String, $item: ID!, $days: Int,
  $types: [String!], $search: String, $by: PeriodLength
) {
  userProgress(userId: $user) { userId accuracyRate masteryStats { unlearned } lastUpdated }
  dailyStats(userId: $user, from: $from, to: $to, zeroFill: $fill) { date accuracyRate }
  weeklyStats(userId: $user, from: $from, to: $to, zeroFill: $fill) { start end }
  monthlyStats(userId: $user, from: $from, to: $to) { start end }
  itemStats(
    userId: $user, filter: $filter, orderBy: $order, level: $level, domain: $domain,
    search: $search, first: $first, after: $after
  ) { edges { cursor node { itemId } } totalCount }
  item(userId: $user, itemId: $item) { itemId }
  domainStats(userId: $user) { domain }
  levelStats(userId: $user) { level }
  streak(userId: $user) { current }
  dueForecast(userId: $user, days: $days) { date }
  hourlyStats(userId: $user) { hour }
  workload(userId: $user) { minutes }
  itemHistory(userId: $user, itemId: $item) { reviews { at } }
  restDays(userId: $user, from: $from, to: $to)
  goal(userId: $user) { week }
  retention(userId: $user, from: $from, to: $to, by: $by) { start }
  events(userId: $user, types: $types, first: $first, after: $after) { edges { cursor } }
}"""
CODES = {"BAD_USER_INPUT", "FORBIDDEN"}

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
anything = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
ids = st.sampled_from(["ann", "i1"]) | st.text(max_size=210)
days = st.dates().map(str) | st.sampled_from(["2024-03-01", "2024-02-30", "0001-01-01"])
cursors = (
    st.tuples(
        st.sampled_from(["RECENT", "DUE", "ACCURACY"]) | st.integers(),
        st.none() | st.floats(allow_nan=False) | st.integers(),
        st.text(),
    )
    | st.tuples(st.integers())
    | st.binary()
).map(lambda c: base64.urlsafe_b64encode(c if isinstance(c, bytes) else msgspec.json.encode(c)))
ints = st.none() | st.integers(-1, 400) | st.integers()
likely: dict[str, st.SearchStrategy[Any]] = {
    "user": st.none() | ids,
    "from": days,
    "to": days,
    "fill": st.none() | st.booleans(),
    "filter": st.sampled_from([None, "ALL", "DUE", "LEECH"]),
    "order": st.sampled_from([None, "RECENT", "DUE", "ACCURACY", "LAPSES"]),
    "search": st.none() | st.text(),
    "level": st.sampled_from([None, "A1", "UNKNOWN"]),
    "by": st.sampled_from([None, "DAY", "WEEK", "MONTH"]),
    "domain": st.sampled_from([None, "R", "UNKNOWN"]),
    "first": ints,
    "after": st.none() | cursors.map(bytes.decode) | st.text(),
    "item": ids,
    "days": ints,
    "types": st.none() | st.lists(ids),
}


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(
    variables=st.fixed_dictionaries(likely),
    odd=st.dictionaries(st.sampled_from([*likely]), anything, max_size=1),
    role=st.sampled_from(["learner", "admin"]),
)
def test_unusual_arguments_do_not_cause_internal_errors(
    query_api: Api, variables: dict[str, Any], odd: dict[str, Any], role: str
) -> None:
    answer = query_api.post(ALL, roles=[role], **{**variables, **odd})
    assert {fault["extensions"]["code"] for fault in answer.get("errors", [])} <= CODES


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(body=st.binary() | anything.map(msgspec.json.encode), query=st.text())
def test_unusual_bodies_do_not_cause_internal_errors(
    query_api: Api, body: bytes, query: str
) -> None:
    for sent in (body, msgspec.json.encode({"query": query})):
        answer = api.read(query_api.request("POST", "/graphql", sent, api.headers()))
        assert {fault["extensions"]["code"] for fault in answer["errors"]} <= CODES
