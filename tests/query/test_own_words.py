"""Own lists and own words are shown to their learner, and to nobody else, in whatever order."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import redis
from graphql import GraphQLField, get_named_type

from progress.projections import batch, views
from progress.projections.projector import SHARDS, Projector
from tests.conftest import Store
from tests.support import api, http_client, pushes, subscription_client, token_issuer
from tests.support.api import QUERY, Api
from tests.support.fake_publisher import FakePublisher
from tests.support.model_rows import read_table
from tests.support.sample_events import BEGIN, Envelope, envelope
from tests.support.stage import append, connect
from tests.support.subscription_client import Stream

LEARNERS = ("ann", "bea", "cyd", "dee", "eve")
SECRETS = ("Zorbatisch", "geheimart", "Privatstapel", "Privatskala", "own:deck")
# Each reader of ann's record: the id, and what the token claims.
READERS: dict[str, tuple[str, dict[str, Any]]] = {
    "learner": ("ann", {}),
    "learner who teaches": ("ann", {"roles": ["teacher"], "groups": ["g1"]}),
    "learner who is an administrator": ("ann", {"roles": ["admin"]}),
    "teacher": ("tom", {"roles": ["teacher"], "groups": ["g1"]}),
    "support": ("sue", {"roles": ["support"]}),
    "administrator": ("ada", {"roles": ["admin"]}),
}
# The audit trail and dead letters hold the events as they were recorded; there is no operation.
NOT_WALKED = ("events", "deadLetters", "operation")
SHOWING = {"learner", "item", "itemStats", "session", "lists", "list", "scales", "itemLists"} | {
    "coverage"
}
VALUES: dict[str, list[Any]] = {
    "userId": ["ann"],
    "itemId": ["i1"],
    "items": ["i1"],
    "listId": ["own:deck", "N5"],
    "list": [None, "own:deck", "N5"],
    "search": [None, "zorba"],
    "scale": [None, "Privatskala", "JLPT"],
    "groupId": ["g1"],
    "id": ["s-ann"],
    "from": ["2024-04-01"],
    "to": ["2024-04-20"],
    "date": ["2024-04-01"],
    "text": ["zorba"],
    "asOf": [None, "2024-06-01T00:00:00Z"],
    "first": [5],
}
DATED = {"dailyStats", "weeklyStats", "monthlyStats", "retention", "restDays", "streakDays"}


def events() -> list[Envelope]:
    described = {"item_id": "i2", "headword": "known", "kind": "reading", "cefr_level": "A1"}
    found: list[tuple[str, dict[str, Any]]] = [("ItemPublished", described)]
    for user in LEARNERS:
        found.append(("LearnerJoinedGroup", {"user_id": user, "group_id": "g1"}))
        answered = {"user_id": user, "session_id": f"s-{user}"}
        found += [("IncorrectAnswerGiven", {**answered, "item_id": "i1"})] * 5
        found += [("CorrectAnswerGiven", {**answered, "item_id": "i1"})]
        found += [("ReviewProcessed", {"user_id": user, "item_id": "i1", "new_interval": 1})]
    deck = {"list_id": "deck", "user_id": "ann"}
    word = {"headword": "Zorbatisch", "kind": "geheimart", "position": 1}
    found += [
        ("ListPublished", {**deck, "name": "Privatstapel", "scale": "Privatskala", "rank": 1}),
        ("ItemListed", {**deck, "item_id": "i1", **word}),
        ("ItemListed", {**deck, "item_id": "i2", **word}),
        ("ListPublished", {"list_id": "N5", "name": "N5", "scale": "JLPT", "rank": 1}),
        ("ItemListed", {"list_id": "N5", "item_id": "i1"}),
        ("ListAssigned", {"list_id": "N5", "group_id": "g1", "due_on": "2024-05-01"}),
    ]
    return [
        envelope(kind, data, at=BEGIN + timedelta(seconds=n))
        for n, (kind, data) in enumerate(found)
    ]


@pytest.fixture
def populated(store: Store) -> Store:
    with closing(connect(store.url)) as connection:
        append(connection, events())
        Projector(connection).catch_up_all()
        batch.fold(connection, list(SHARDS))
    return store


# What several lists have of each, and, because it is too deep, what several groups have.
MEMBERS: tuple[str, ...] = ("members",)
SKIPPED = {"list": (), "groups": (*MEMBERS, "words")}


def select(field: GraphQLField, skipped: tuple[str, ...] = MEMBERS) -> str:
    """Return every field below but those `skipped`."""
    inside = getattr(get_named_type(field.type), "fields", {})
    parts = [
        f"{name}{_arguments(name, each, VALUES_OF_PARTS)}{select(each, skipped)}"
        for name, each in inside.items()
        if name not in skipped
    ]
    return f" {{ {' '.join(parts)} }}" if parts else ""


VALUES_OF_PARTS = {name: values[-1] for name, values in VALUES.items() if name != "list"}


def _arguments(name: str, field: GraphQLField, values: dict[str, Any]) -> str:
    given = {key: values.get(key) for key in field.args}
    if name == "since" and field.args:
        given = {"days": 7}
    if name not in DATED:
        given = {key: value for key, value in given.items() if key not in ("from", "to")}
    if name in ("knowledgeCurve", "masteryCurve"):
        given |= {"from": values["from"], "to": values["to"]}
    if name == "group":
        given.pop("asOf", None)
    texts = {key: json.dumps(value) for key, value in given.items() if value is not None}
    written = [
        f"{key}: {f'[{{itemId: {text}}}]' if key == 'items' else text}"
        for key, text in texts.items()
    ]
    return f"({', '.join(written)})" if written else ""


def documents() -> Iterator[tuple[str, str]]:
    """Yield a document for each field, and for each value of an argument that may tell a word."""
    for name, field in QUERY.fields.items():
        if name in NOT_WALKED:
            continue
        taken = [key for key in VALUES if key in field.args]
        selected = select(field, SKIPPED.get(name, MEMBERS))
        usual = {key: VALUES[key][0] for key in taken}
        for key in taken:
            for value in VALUES[key]:
                values = {**usual, key: value}
                arguments = _arguments(name, field, values)
                yield name, f"{{ {name}{arguments}{selected} }}"
        if not taken:
            yield name, f"{{ {name}{selected} }}"


DOCUMENTS = [*dict.fromkeys(documents())]


async def ask(served: Api, reader: str, document: str) -> str:
    user, claims = READERS[reader]
    headers = http_client.headers(token_issuer.token(user, **claims))
    body = msgspec.json.encode({"query": document})
    response = await served.answer("POST", "/graphql", body, headers)
    return bytes(response.body).decode()


def check(name: str, reader: str, document: str, text: str) -> bool:
    """Return whether a secret is shown; nobody but the learner is shown one."""
    codes = {error["extensions"]["code"] for error in json.loads(text).get("errors", ())}
    assert codes <= {"FORBIDDEN"}, (document, text)
    shown = [secret for secret in SECRETS if secret in text]
    assert not shown or reader.startswith("learner"), (reader, document, text)
    return bool(shown)


def test_no_field_shows_an_own_word_to_anybody_but_its_learner(
    populated: Store, patient_redis: str
) -> None:
    """The readers ask one after another, also what the cache has, and then together without it."""
    shown: dict[str, set[str]] = {reader: set() for reader in READERS}
    with api.serve(populated.url, redis_url=patient_redis) as served:
        for order in (READERS, [*reversed(READERS)]):
            for name, document in DOCUMENTS:
                for reader in order:
                    text = served.run(ask(served, reader, document))
                    if check(name, reader, document, text):
                        shown[reader].add(name)

        async def ask_together(document: str) -> list[str]:
            return await asyncio.gather(*(ask(served, one, document) for one in READERS))

        redis.Redis.from_url(patient_redis).flushall()
        for name, document in DOCUMENTS:
            texts = served.run(ask_together(document))
            for reader, text in zip(READERS, texts, strict=True):
                check(name, reader, document, text)
    assert {*map(frozenset, shown.values())} == {frozenset(SHOWING), frozenset()}


def test_no_stream_shows_an_own_word(populated: Store) -> None:
    selected = "hardestItems { headword } itemsFading { headword }"
    streams = (
        f'subscription {{ groupUpdated(groupId: "g1") {{ {selected} }} }}',
        'subscription { progressUpdated(userId: "ann") { displayName } }',
    )
    with subscription_client.query_function(populated.url) as function:
        for query in streams:
            with closing(Stream(function.port, query, "sue", roles=["support"])) as stream:
                text = json.dumps(stream.next_event())
                assert not [secret for secret in SECRETS if secret in text], text


FAULTS: tuple[dict[str, Any], ...] = (
    *({"headword": f"Zorbatisch{end}"} for end in ("\x07", "x" * 200)),
    *({name: "Zorbatisch"} for name in ("position", "occurred_at")),
    *({name: ["Zorbatisch"]} for name in ("headword", "kind", "list_id", "item_id")),
)
VIEWS = """SELECT format('SELECT CAST(v AS text) FROM %s v', oid::regclass) FROM pg_class
    WHERE relnamespace = 'progress'::regnamespace AND relkind = 'v'"""


def test_no_line_reason_response_or_view_shows_an_own_word(
    populated: Store, fake_publisher: FakePublisher, capsys: pytest.CaptureFixture[str]
) -> None:
    deck = {"user_id": "ann", "list_id": "deck", "item_id": "i1", "headword": "Zorbatisch"}
    faulty = [
        {**envelope("ItemListed", {**deck, **fault}, at=BEGIN), **fault}
        for fault in (*FAULTS, {"headword": "Zorbatisch"})
    ]
    headers = http_client.headers(token_issuer.token("poster", roles="publisher"))
    with token_issuer.serve() as issuer, closing(connect(populated.url)) as connection:
        environment = issuer.environment(populated.url)
        with pushes.load_ingest(populated.url, fake_publisher, environment) as ingest:
            assert ingest.post("/", data=pushes.encode_push(faulty)).status_code == 204
            texts = [ingest.post("/events", json=faulty, headers=headers).text]
        texts += [capsys.readouterr().out]
        texts += [row["reason"] for row in read_table(connection, "event_store.dead_letters")]
        assert len(texts) == 2 + 2 * len(FAULTS)
        views.follow(connection, None)
        for (statement,) in connection.run(VIEWS):
            texts += [row for (row,) in connection.run(statement)]
    assert "(ann," in "".join(texts)
    assert not [text for text in texts for secret in SECRETS if secret in text]
