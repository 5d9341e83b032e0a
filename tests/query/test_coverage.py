"""How much of a text is known equals the oracle's result, for each reader and at any moment."""

import functools
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.projections.projector import Projector
from progress.query.read_models.coverage import (
    CatalogueKey,
    get_catalogue,
    get_coverage,
    get_group_coverage,
)
from progress.query.read_models.rows import Moment
from tests import oracle
from tests.oracle import coverage as wanted
from tests.oracle.memory import rounded
from tests.oracle.word_lists import find_list, members
from tests.query.test_lists import EVERYONE, LATEST, PLAINLY, READERS, cards, full, moments
from tests.support import model_rows, sample_events
from tests.support.api import Api, QueryClient
from tests.support.event_logs import GROUPS, ITEMS, Log, logs
from tests.support.stage import Stage, append

pytestmark = [pytest.mark.timeout(900)]

WORDS = (*ITEMS, "c1", "c2", "c3", "unheard of")
TEXTS = st.dictionaries(st.sampled_from(WORDS), st.integers(1, 1_000_000), min_size=1)
LANGUAGES = (None, "de", "en", "und")


def close(found: Any) -> Any:
    """Compare numbers of the database with the oracle's: powers differ in their last bits."""
    if isinstance(found, dict):
        return {name: close(value) for name, value in found.items()}
    if isinstance(found, list):
        return [close(value) for value in found]
    return pytest.approx(found, rel=1e-9, abs=1e-12) if isinstance(found, float) else found


@given(log=logs(), data=st.data())
def test_coverage_equals_the_oracle_s(
    stage: Stage, fetch: QueryClient, log: Log, data: st.DataObject
) -> None:
    stage.sweep()
    stage.deliver(log, PLAINLY)
    append(stage.admin, data.draw(cards([e["occurred_at"] for e in log.envelopes])))
    Projector(stage.admin).catch_up_all()
    stored, queries = model_rows.read_events(stage.admin), fetch.queries
    reader_ = queries.reader
    text = data.draw(TEXTS)
    for moment in moments(data, stored):
        past = {name: moment.get(name) for name in ("as_of", "known_at")}
        world = oracle.see(stored, moment["at"], **past)
        when = Moment(moment["at"], *past.values())
        for user in EVERYONE:
            for reader in READERS:
                read = get_coverage(reader_, user, text, when, is_learner=reader.is_learner)
                assert full(fetch(read)) == close(wanted.coverage(world, user, text, reader))
            for list_id in ("l1", "own:l1"):
                one = find_list(world, user, list_id)
                if one and (among := dict.fromkeys(members(world, user, one), 1)):
                    read = get_coverage(reader_, user, among, when, is_learner=True)
                    numbers = fetch(queries.get_list(user, list_id, is_learner=True, **moment))
                    assert numbers
                    assert numbers.expected == rounded(fetch(read).covered * len(among), 1)
        for group in () if any(past.values()) else GROUPS:
            found = fetch(get_group_coverage(reader_, group, text, at=moment["at"]))
            assert full(found) == close(wanted.group_coverage(world, group, text))


@given(log=logs())
def test_the_catalogue_equals_the_oracle_s(stage: Stage, fetch: QueryClient, log: Log) -> None:
    stage.sweep()
    stage.deliver(log, PLAINLY)
    world = oracle.see(model_rows.read_events(stage.admin), LATEST)
    for language in LANGUAGES:
        items = wanted.catalogue_items(world, language)
        read = functools.partial(get_catalogue, fetch.queries.reader, language)
        assert full(fetch(read(first=100, after=None))) == items
        for item in items[:1]:
            rest = fetch(read(first=1, after=CatalogueKey(item["item_id"])))
            assert full(rest) == items[1:2]


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEARNERS = """query ($items: [CoverageItem!]!, $user: ID) { coverage(userId: $user, items: $items) {
    covered learned gaps { itemId headword count adds } } }"""
GROUPS_ = """query ($items: [CoverageItem!]!) {
    group(groupId: "g1") { coverage(items: $items) {
        covered members { userId } gaps(first: 1) { itemId headword learners } } } }"""


def text(**counts: int | None) -> list[dict[str, Any]]:
    return [{"itemId": item, "count": count} for item, count in counts.items()]


@pytest.fixture
def school(connection: Connection) -> Connection:
    """A class of two, who share the items that they know, and a learner of another class."""
    told: list[tuple[str, dict[str, Any]]] = [
        ("ItemPublished", {"item_id": "i2", "headword": "verb", "cefr_level": "A1"}),
        ("ItemListed", {"user_id": "ann", "list_id": "l", "item_id": "i5", "headword": "eigen"}),
    ]
    for user, group, items in (("ann", "g1", 3), ("bob", "g1", 2), ("cyd", "g2", 4)):
        told.append(("LearnerJoinedGroup", {"user_id": user, "group_id": group}))
        for number in range(items):
            answered = {"user_id": user, "session_id": f"s-{user}", "item_id": f"i{number}"}
            told.append(("CorrectAnswerGiven", answered))
    append(connection, [sample_events.envelope(kind, data, at=NOON) for kind, data in told])
    Projector(connection).catch_up_all()
    return connection


def test_only_the_learner_is_shown_an_own_word_and_another_reader_leaves_a_trace_for_each_member(
    school: Connection, query_api: Api
) -> None:
    asked = {"items": [*text(i0=None, i5=2), *text(i5=1)]}
    own = query_api.data(LEARNERS, "ann", **asked)["coverage"]
    first = own["gaps"][0]
    assert (first["itemId"], first["headword"], first["count"]) == ("i5", "eigen", 3)
    assert (first["adds"], own["learned"]) == (0.75, 0.25)
    shown = query_api.post(LEARNERS, "sue", roles=["support"], user="ann", **asked)["data"][
        "coverage"
    ]
    assert shown["gaps"][0]["headword"] is None
    assert shown["covered"] == own["covered"]
    asked = {"items": text(i2=3, i9=1)}
    group = query_api.post(GROUPS_, "ada", roles=["support"], **asked)["data"]["group"]["coverage"]
    assert [member["userId"] for member in group["members"]] == ["bob", "ann"]
    assert group["gaps"][0]["headword"] == "verb"
    traces = school.run("SELECT user_id FROM event_store.accesses WHERE read_by = 'ada' ORDER BY 1")
    assert traces == [["ann"], ["bob"]]


def test_a_group_s_coverage_is_null_elsewhere_than_in_group_without_asof(
    school: Connection, query_api: Api
) -> None:
    field = 'coverage(items: [{itemId: "i0"}]) { covered }'
    query = f"""{{ now: group(groupId: "g1") {{ {field} }}
        then: group(groupId: "g1", asOf: "2026-04-01T00:00:00Z") {{ {field} }}
        groups {{ edges {{ node {{ {field} }} }} }} }}"""
    found = query_api.post(query, "sue", roles=["support"])["data"]
    assert found["now"]["coverage"]["covered"] > 0
    assert found["then"] == {"coverage": None}
    assert {edge["node"]["coverage"] for edge in found["groups"]["edges"]} == {None}


REFUSED = {
    "items: expected 1 to 1000 entries - found 0": [],
    "items: expected 1 to 1000 entries - found 1001": text(i0=1) * 1001,
    "items[1].itemId: expected 1 to 200 characters, none of them U+0000": [
        *text(i0=1),
        {"itemId": ""},
    ],
    "items[0].count: expected an integer from 1 to 1000000 - found 0": text(i0=0),
    "items[1].count: expected an integer from 1 to 1000000 - found 1000001": text(
        i0=1, i1=1_000_001
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_text_that_is_no_text_is_refused_by_its_first_bad_entry(
    school: Connection, query_api: Api, message: str
) -> None:
    for query in (LEARNERS, GROUPS_):
        answer = query_api.post(query, "sue", roles=["admin"], items=REFUSED[message])
        (error,) = answer["errors"]
        assert (error["extensions"]["code"], error["message"]) == ("BAD_USER_INPUT", message)


def test_an_operation_asks_about_two_texts_a_gap_list_has_200_and_a_group_100_members(
    school: Connection, query_api: Api
) -> None:
    field = 'coverage(items: [{itemId: "i0"}]) { covered }'
    two = f'group(groupId: "g1") {{ a: {field} b: {field} }}'
    assert "errors" not in query_api.post(f"{{ {two} }}", "sue", roles=["admin"])
    (error,) = query_api.post(f"{{ {two} {field} }}", "sue", roles=["admin"])["errors"]
    assert error["extensions"]["code"] == "QUERY_TOO_COMPLEX"
    many = text(**{f"word{number}": 1 for number in range(201)})
    longest = LEARNERS.replace("gaps {", "gaps(first: 200) {")
    assert len(query_api.data(longest, "ann", items=many)["coverage"]["gaps"]) == 200
    joined = [
        sample_events.envelope(
            "LearnerJoinedGroup", {"user_id": f"u{n}", "group_id": "g1"}, at=NOON
        )
        for n in range(99)
    ]
    append(school, joined)
    Projector(school).catch_up_all()
    (error,) = query_api.post(GROUPS_, "sue", roles=["support"], items=many[:1])["errors"]
    assert error["message"].startswith("coverage: expected a group of at most 100 members")
