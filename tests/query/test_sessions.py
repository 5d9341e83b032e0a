"""Lists of sessions, and one session with its answers."""

import json
from datetime import timedelta
from uuid import NAMESPACE_OID, uuid5

import pytest

from progress.projections.projector import Projector
from progress.query.read_models import rows
from tests.conftest import Store
from tests.support import api
from tests.support.api import QueryClient
from tests.support.sample_events import BEGIN, Envelope, envelope
from tests.support.stage import Stage, append

pytestmark = pytest.mark.every_postgres


def answer(session: str, second: int, item: str = "i") -> Envelope:
    data = {"user_id": "ann", "session_id": session, "item_id": item, "response_time_ms": 70_000}
    return envelope("CorrectAnswerGiven", data, at=BEGIN + timedelta(seconds=second))


def store(stage: Stage, *events: Envelope) -> None:
    stage.sweep()
    append(stage.admin, list(events))
    Projector(stage.admin).catch_up_all()


def test_the_pages_of_sessions_are_the_whole_list_newest_first_and_ties_by_id(
    stage: Stage, fetch: QueryClient
) -> None:
    sessions = ("b", "a", "B", "é", "c")
    store(stage, *(answer(one, n // 3) for n, one in enumerate(sessions)))
    after: rows.SessionKey | None = None
    found = []
    for rest in (5, 3, 1):
        page = fetch(fetch.queries.get_sessions("ann", first=2, after=after))
        found += [session.id for _, session in page.items]
        assert (page.total_count, page.has_next) == (5, rest > 2)
        after = page.items[-1][0]
    assert found == ["c", "é", "B", "a", "b"]
    assert fetch(fetch.queries.get_sessions("nobody", first=2)).items == []
    assert fetch(fetch.queries.get_sessions("ann", first=2, is_counted=False)).total_count is None


def test_a_list_of_sessions_is_counted_only_for_its_total(store: Store) -> None:
    with api.serve(store.url) as served:
        counts = [
            served.data(f"{{ sessions(first: 1) {{ pageInfo {{ hasNextPage }} {total} }} }}")
            for total in ("all: totalCount", "... on SessionConnection { totalCount }", "")
        ]
    assert [dict(one["sessions"]) for one in counts] == [
        {"pageInfo": {"hasNextPage": False}, "all": 0},
        {"pageInfo": {"hasNextPage": False}, "totalCount": 0},
        {"pageInfo": {"hasNextPage": False}},
    ]


def test_a_session_is_found_by_the_id_with_which_its_learner_posted_it(
    stage: Stage, fetch: QueryClient
) -> None:
    own = str(uuid5(uuid5(NAMESPACE_OID, "learner"), json.dumps(["ann", "s"]).replace(" ", "")))
    store(stage, answer(own, 1), answer("t", 2))
    posted = fetch(fetch.queries.get_session("ann", "s"))
    assert posted
    assert posted.id == own
    assert fetch(fetch.queries.get_session("ben", "s")) is None
    append(stage.admin, [answer("s", 3)])
    Projector(stage.admin).catch_up_all()
    exact = fetch(fetch.queries.get_session("ann", "s"))
    assert exact
    assert exact.id == "s"


def test_a_session_has_its_first_1_000_answers_with_their_whole_times(
    stage: Stage, fetch: QueryClient
) -> None:
    store(stage, *(answer("s", n, f"i{n % 400}") for n in range(1_002)))
    session = fetch(fetch.queries.get_session("ann", "s"))
    assert session
    assert session.given
    assert [one.item_id for one in session.given] == [f"i{n % 400}" for n in range(1_000)]
    assert {one.response_time_ms for one in session.given} == {70_000.0}
    assert (session.answers, session.items, session.average_response_ms) == (1_002, 400, 60_000.0)
