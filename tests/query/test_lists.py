"""Lists, their members and own words equal the oracle's results, for each reader, at any moment."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.projections import batch
from progress.projections.projector import Projector
from progress.query.read_models import rows
from tests import oracle
from tests.oracle import word_lists
from tests.oracle.word_lists import LEARNER, STAFF, Reader
from tests.support import model_rows, rows_by_hand, sample_events
from tests.support.api import Api, QueryClient
from tests.support.event_logs import (
    GROUPS,
    ITEMS,
    LEARNERS,
    SESSIONS,
    Disturbance,
    Envelope,
    Log,
    logs,
)
from tests.support.stage import Stage, append

pytestmark = [pytest.mark.timeout(900)]

PLAINLY = Disturbance(sizes=(100,), every=None, limit=1000, workers=1, tasks=1, crashes=())
EVERYONE = (*LEARNERS, "nobody")
READERS = (LEARNER, STAFF, Reader(is_learner=False, groups=GROUPS[:1]))
LISTS = ("l1", "l2", "L")
SCALES = ("JLPT", "HSK 2025")
TAGS = ("de", "DE-AT", "en")
CARDS = ("c1", "c2", "c3", "c4")
NEAR = (timedelta(0), timedelta(microseconds=-1), timedelta(days=1), timedelta(days=40))
LATEST = datetime(2100, 1, 1, tzinfo=UTC)

Told = Sequence[tuple[str, dict[str, Any]]]  # kinds of events, and their fields


def either(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


def optional(**values: tuple[Any, ...]) -> dict[str, st.SearchStrategy[Any]]:
    return {name: either(None, *some) for name, some in values.items()}


@st.composite
def dated(
    draw: st.DrawFn, times: Sequence[str], told: Told, first: int, bytes_: Sequence[int] = (0,)
) -> list[Envelope]:
    """Draw a time for each event, and a byte that begins its id, which ends with a number."""
    return [
        {
            "event_id": str(UUID(int=draw(either(*bytes_)) << 120 | first + number)),
            "event_type": kind,
            "occurred_at": draw(either(*times)),
            "data": data,
        }
        for number, (kind, data) in enumerate(told)
    ]


def of_kinds(
    kinds: Sequence[str], fields: dict[str, dict[str, Any]]
) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Draw one of the kinds, and its fields."""
    return either(*kinds).flatmap(
        lambda kind: st.tuples(st.just(kind), st.fixed_dictionaries(fields[kind]))
    )


@st.composite
def list_events(draw: st.DrawFn, times: Sequence[str]) -> list[Envelope]:
    drawn = draw(st.lists(_data(), max_size=30))
    told = [(kind, {k: v for k, v in data.items() if v is not None}) for kind, data in drawn]
    return draw(dated(times, told, 1000, (0, 1, 128, 255)))


@st.composite
def cards(draw: st.DrawFn, times: Sequence[str]) -> list[Envelope]:
    """Draw a list of several cards of few words, of which ann has met some."""
    kinds = {"headword": either(*["verb"] * 4, ""), "kind": either("reading", "typing", None)}
    card = st.fixed_dictionaries({**kinds, "language": either(*["de"] * 3, *TAGS, None)})
    met = draw(st.sets(either(*CARDS), min_size=1, max_size=2))
    answer = {"user_id": "ann", "rating": 3, "interval_days": 30}
    told: Told = [
        ("ListPublished", {"list_id": "l1", "name": "A", "scale": "JLPT"}),
        *(("ItemPublished", {"item_id": item, **draw(card)}) for item in CARDS),
        *(
            ("ItemListed", {"list_id": "l1", "item_id": item, **own})
            for own in ({}, {"user_id": "ann", "headword": "Wort", "kind": "r"})
            for item in CARDS
        ),
        ("ListAssigned", {"list_id": "l1", "group_id": "g1", "due_on": "2024-03-05"}),
        ("LearnerJoinedGroup", {"user_id": "ann", "group_id": "g1"}),
        *(("CardReviewed", {"item_id": item, **answer}) for item in sorted(met)),
    ]
    return draw(dated(times, told, 3000))


def _data() -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    whose = {"list_id": either(*LISTS), "user_id": either(None, "ann", "ann", "bob")}
    item, group = {"item_id": either(*ITEMS)}, {"group_id": either(*GROUPS)}
    assigned = {"list_id": either(*LISTS), **group}
    named = {"name": either("A", "Z", "é")}
    described = optional(scale=("", *SCALES), rank=(0, 2, 2**31 - 1))
    word = optional(position=(0, 1, 2**31 - 1), headword=("", "Wort", "VERB"), kind=("", "reading"))
    card = optional(headword=("", "verb"), kind=("typing",), language=TAGS)
    fields = {
        "ListPublished": {**whose, **named, **described},
        "ListArchived": whose,
        "ItemListed": {**whose, **item, **word},
        "ItemUnlisted": {**whose, **item},
        "ListAssigned": {**assigned, "due_on": st.just("2024-03-05")},
        "ListUnassigned": assigned,
        "LearnerJoinedGroup": {"user_id": either("ann", "bob"), **group},
        "ItemPublished": {**item, **card},
        "ItemArchived": item,
        "ReviewProcessed": {**item, "user_id": st.just("ann"), "new_interval": either(1, 7, 30)},
    }
    often = ("ListPublished", "ListAssigned", "LearnerJoinedGroup")
    return of_kinds((*often * 2, *("ItemListed",) * 6, *fields), fields)


def full(record: Any) -> Any:
    return msgspec.to_builtins(record, builtin_types=(date, datetime))


def paged(fetch: QueryClient, read: Any, **options: Any) -> list[Any]:
    """Return the records of all pages; the last page has the number of all."""
    found: list[Any] = []
    after = None
    while True:
        page = fetch(read(after=after, **options))
        found += [full(record) for _, record in page.items]
        if not page.has_next:
            assert page.total_count == len(found)
            return found
        after = page.items[-1][0]


def check(fetch: QueryClient, world: oracle.World, user: str, reader: Reader, moment: Any) -> None:
    mine: Any = {"is_learner": True} if reader.is_learner else {}
    queries, seen = fetch.queries, {**mine, **moment}
    for scale in (None, *SCALES):
        get_lists = functools.partial(queries.get_lists, user, scale=scale, groups=reader.groups)
        lists = paged(fetch, get_lists, first=2, **seen)
        assert lists == word_lists.lists(world, user, scale, reader)
    if not moment.get("as_of") and not moment.get("known_at"):
        scales = fetch(queries.get_scales(user, **mine))
        assert full(scales) == word_lists.scales(world, user, reader)
        for item_id in (*ITEMS, "i5"):
            naming = fetch(queries.get_item_lists(user, item_id, **mine))
            assert full(naming) == word_lists.item_lists(world, user, item_id, reader)
    for list_id in (*LISTS, *(f"own:{one}" for one in LISTS), "unheard of"):
        found = fetch(queries.get_list(user, list_id, **seen))
        wanted = word_lists.find_list(world, user, list_id, reader)
        numbers = wanted and word_lists.list_numbers(world, user, wanted)
        assert (found and {name: full(found)[name] for name in numbers or ()}) == numbers
        get_items = functools.partial(queries.get_list_items, user, list_id, first=2)
        rows_ = word_lists.list_items(world, user, wanted, reader) if wanted else []
        assert paged(fetch, get_items, **seen) == rows_
        page = fetch(queries.get_item_stats(user, first=9, list_id=list_id, **seen))
        met = {row["item_id"] for row in rows_} & oracle.item_stats(world, user).keys()
        assert {item.item_id for _, item in page.items} == met
    for item_id in (*ITEMS, "i5"):
        item = fetch(queries.get_item(user, item_id, **seen))
        assert full(item) == word_lists.find_item(world, user, item_id, reader)
    for text in ("", "WORT", "erb"):
        page = fetch(queries.get_item_stats(user, first=99, search=text, **seen))
        wanted_items = word_lists.search(world, user, text, reader)
        shown = {item: word_lists.shown_item(world, user, item, reader) for item in wanted_items}
        assert {item.item_id: full(item) for _, item in page.items} == shown
    languages = fetch(queries.run(rows.languages(user, **seen)))
    assert full(languages) == word_lists.languages(world, user, reader)
    for session in SESSIONS[:2]:
        sitting = fetch(queries.get_session(user, session, **seen))
        for answer in (sitting and sitting.given) or ():
            word = word_lists.headword(world, user, answer.item_id, reader)
            assert answer.headword == word["headword"]


def moments(draw: st.DataObject, stored: list[oracle.Event]) -> Iterator[dict[str, Any]]:
    """Yield the present, and a moment of the past by one time or both."""
    happened = [event.occurred_at + near for event in stored for near in NEAR] or [LATEST]
    recorded = [event.created_at for event in stored] or [LATEST]
    yield {"at": draw.draw(st.sampled_from(happened))}
    as_of = draw.draw(st.none() | st.sampled_from(happened))
    known_at = draw.draw(st.none() | st.sampled_from(recorded))
    yield {"at": LATEST, "as_of": as_of, "known_at": known_at}


@given(log=logs(), data=st.data())
def test_lists_their_members_and_own_words_equal_the_oracle_s(
    stage: Stage, fetch: QueryClient, log: Log, data: st.DataObject
) -> None:
    stage.sweep()
    stage.deliver(log, PLAINLY)
    seen = model_rows.read_events(stage.admin)
    times = [envelope["occurred_at"] for envelope in log.envelopes]
    events = data.draw(cards(times)) + data.draw(list_events(times))
    last_run = data.draw(st.integers(0, 8))
    for number in range(0, len(events), 5):  # in several windows, recorded at several times
        append(stage.admin, events[number : number + 5])
        Projector(stage.admin).catch_up_all()
        if number == 5 * last_run:
            batch.run(stage.admin)
            seen = model_rows.read_events(stage.admin)
    stored = model_rows.read_events(stage.admin)
    for moment in moments(data, stored):
        past = {name: moment.get(name) for name in ("as_of", "known_at")}
        world = oracle.see(stored, moment["at"], **past)
        if not any(past.values()):
            world = replace(world, run=oracle.see(seen, moment["at"]))
        for user in EVERYONE:
            for reader in READERS:
                check(fetch, world, user, reader, moment)


OWN, OTHER = {"user_id": "ann", "list_id": "l1"}, {"list_id": "l2"}
BOB: Told = (  # who shares ann's items, and lists them under the same id
    ("LearnerJoinedGroup", {"group_id": "g1"}),
    ("ListPublished", {"list_id": "l1", "name": "Y", "scale": "HSK 2025"}),
    *(("ReviewProcessed", {"item_id": one, "new_interval": 30}) for one in (*ITEMS, "i5")),
    *(("ItemListed", {"list_id": "l1", "item_id": one, "headword": "Verbum"})
      for one in (*ITEMS, "i5")),
    ("ItemUnlisted", {"list_id": "l1", "item_id": "i2"}),
)  # fmt: skip
EXAMPLE: Told = (
    ("ItemPublished", {"item_id": "i2", "headword": "verb", "kind": "typing"}),
    ("ItemPublished", {"item_id": "i3", "headword": "", "kind": "typing"}),
    ("ItemArchived", {"item_id": "i3"}),
    *(("ListPublished", {"list_id": one, "name": one}) for one in LISTS),
    ("ListPublished", {"list_id": "l1", "name": "A", "scale": "JLPT", "rank": 2}),
    ("ListPublished", {"list_id": "L", "name": "A", "scale": "JLPT"}),
    *(("ItemListed", {"list_id": "l1", "item_id": one}) for one in ITEMS),
    ("ItemListed", {"list_id": "l1", "item_id": "i44", "position": 3}),
    ("ItemUnlisted", {"list_id": "l1", "item_id": "i1"}),
    *(("ListAssigned", {**list_, "group_id": "g1", "due_on": "2024-05-01"})
      for list_ in ({"list_id": "l1"}, OTHER, {"list_id": "new"})),
    *(("ItemListed", {"list_id": one, "item_id": "i2"}) for one in ("L", "new")),
    ("ListAssigned", {**OTHER, "group_id": "g2", "due_on": "2024-05-01"}),
    ("ListAssigned", {"list_id": "L", "group_id": "g2", "due_on": "2024-05-01"}),
    ("ListUnassigned", {"list_id": "l1", "group_id": "g1"}),
    *(("ReviewProcessed", {"user_id": "ann", "item_id": one, "new_interval": 7}) for one in ITEMS),
    ("ReviewProcessed", {"user_id": "ann", "item_id": "i2", "new_interval": 1}),
    ("ReviewProcessed", {"user_id": "ann", "item_id": "i44", "new_interval": 21}),
    ("CorrectAnswerGiven", {"user_id": "ann", "session_id": "s1", "item_id": "i44"}),
    *(("LearnerJoinedGroup", {"user_id": "ann", "group_id": one}) for one in GROUPS),
    *(("ListPublished", {**OWN, **one, "name": "Z", "scale": "JLPT"}) for one in ({}, OTHER)),
    *(("ItemListed", {**OWN, "item_id": one, "headword": "Wort", "kind": "reading"})
      for one in (*ITEMS, "i5")),
    ("ItemListed", {**OWN, "item_id": "i1", "headword": ""}),
    ("ItemListed", {**OWN, "item_id": "i44", "position": 1}),
    *(("ItemUnlisted", {**OWN, "item_id": one}) for one in ("i1", "i5")),
    *((kind, {**data, "user_id": "bob"}) for kind, data in BOB),
    *(("ListArchived", one) for one in ({**OWN, **OTHER}, {"list_id": "L"})),
)  # fmt: skip


def test_the_lists_of_an_example_equal_the_oracle_s(stage: Stage, fetch: QueryClient) -> None:
    stage.sweep()
    events = [
        sample_events.envelope(kind, data, at=sample_events.BEGIN + timedelta(minutes=n))
        for n, (kind, data) in enumerate(EXAMPLE)
    ]
    for window in (events[:-2], events[-2:]):  # the last ones archive lists
        append(stage.admin, window)
        Projector(stage.admin).catch_up_all()
    stored = model_rows.read_events(stage.admin)
    times = [event.occurred_at for event in stored]
    for at, as_of in (
        (times[-1] + timedelta(days=27), None),
        (times[-1] + timedelta(days=28), None),
        (LATEST, times[5]),
        (LATEST, times[-13]),
    ):
        world = oracle.see(stored, at, as_of=as_of)
        for user, reader in itertools.product(("ann", "bob"), READERS):
            check(fetch, world, user, reader, {"at": at, "as_of": as_of})


def test_a_page_of_members_has_at_most_200(query_api: Api, connection: Connection) -> None:
    append(connection, [list_event("ItemListed", item_id="i1")])
    Projector(connection).catch_up_all()
    query = '{ list(listId: "l1") { members(first: 201) { totalCount } } }'
    message = "first: expected an integer from 1 to 200 - found 201"
    assert query_api.error(query) == ("BAD_USER_INPUT", message)


def list_event(kind: str, **data: Any) -> Envelope:
    return sample_events.envelope(kind, {"list_id": "l1", **data}, at=sample_events.BEGIN)


def test_a_list_counts_its_first_20_000_items(query_api: Api, connection: Connection) -> None:
    answered = {"user_id": "ann", "session_id": "s"}
    answers = [
        list_event("CorrectAnswerGiven", item_id=item, **answered) for item in ("i00000", "last")
    ]
    append(connection, [list_event("ListPublished", name="Long"), *answers])
    Projector(connection).catch_up_all()
    items = ["last", *(f"i{n:05}" for n in range(20_000))]
    decided = {"decided_at": sample_events.BEGIN, "decided_id": str(UUID(int=1))}
    listed = {"list_id": "l1", "is_listed": True, "position": None, **decided}
    rows_by_hand.insert(connection, "listed_items", *({**listed, "item_id": i} for i in items))
    numbers = "items itemsStudied answers expected members(first: 1) { totalCount }"
    found = query_api.data(
        f'{{ list(listId: "l1") {{ {numbers} }} itemStats(list: "l1") {{ totalCount }} }}'
    )
    assert found["list"] == {
        "items": 20_000,
        "itemsStudied": 1,
        "answers": 1,
        "expected": found["list"]["expected"],
        "members": {"totalCount": 20_000},
    }
    assert found["itemStats"] == {"totalCount": 1}
    assert 0 < found["list"]["expected"] <= 1
