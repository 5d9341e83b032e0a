"""What learners post with their own token: checked, made their own, recorded."""

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import pytest
import redis
from starlette.requests import Request
from starlette.responses import Response

from progress import settings
from progress.adapters.postgres import database
from progress.event_store import dead_letters, events, learner_post_check
from progress.operations import erasure_rows
from progress.projections.projector import Projector
from progress.query.http import events_endpoint as endpoint
from progress.query.http import protocol
from tests.conftest import Store
from tests.event_store.test_erased import forbid
from tests.event_store.test_events import GOOD
from tests.support import api, http_client, token_issuer
from tests.support.api import Api
from tests.support.fake_publisher import FakePublisher
from tests.support.postgres_servers import url_of
from tests.support.pushes import record_push
from tests.support.stage import connect

AT = "2024-05-01T12:00:00Z"
NOW = datetime(2024, 6, 1, 12, 0, 10, tzinfo=UTC)
JSON = "application/json"
Entry = dict[str, Any]


def entry(kind: str = "GoalSet", at: str = AT, **data: Any) -> Entry:
    """Return an event as a phone has it, which names no learner."""
    data = data or {"answers_per_day": 5}
    return {"event_id": str(uuid.uuid4()), "event_type": kind, "occurred_at": at, "data": data}


def answer(session: str = "s", item: str = "i", **more: Any) -> Entry:
    return entry("CorrectAnswerGiven", session_id=session, item_id=item, **more)


def own(*identity: str) -> str:
    array = json.dumps(identity, ensure_ascii=False, separators=(",", ":"))
    return str(uuid5(uuid5(NAMESPACE_OID, "learner"), array))


class World:
    """The API of learners, with the rights of the query function; `sent` has its wake-ups."""

    def __init__(self, store: Store, served: Api, sent: FakePublisher) -> None:
        self.api, self.sent, self.connection = served, sent, connect(store.url)

    def record(self, entries: list[Entry]) -> dict[str, int]:
        """Record what a publisher sends."""
        return record_push(self.connection, entries).outcomes

    def send(
        self, body: object, user: str = "ann", /, roles: Any = None, **headers: str
    ) -> Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = self.api.request("POST", "/events", data, api.headers(user, roles) | headers)
        if response.status_code > 299:
            http_client.assert_ours(response.body, response.headers)
        return response

    def post(self, *entries: object, user: str = "ann") -> list[tuple[int, str]]:
        """Post entries; return the index and the reason of each that is refused."""
        response = self.send([*entries], user)
        assert response.status_code == 202, response.body
        told = api.read(response)
        assert told["accepted"] + len(told["refused"]) == len(entries)
        for each in told["refused"]:
            sent = entries[each["index"]]
            assert each["event_id"] == (sent.get("event_id") if isinstance(sent, dict) else None)
        return [(each["index"], each["reason"]) for each in told["refused"]]

    def rows(self, user: str = "%") -> list[Any]:
        rows: list[Any] = self.connection.run(
            "SELECT event_id::text, stream_id, event_type, event_data, metadata "
            "FROM event_store.events WHERE stream_id LIKE 'learner-' || :user "
            "ORDER BY global_position",
            user=user,
        )
        return rows

    def letters(self) -> list[tuple[str, str]]:
        found = dead_letters.list_letters(self.connection)
        return [(letter.kind.value, letter.reason) for letter in found]

    def conflicts(self) -> list[Any]:
        found = self.connection.run("SELECT user_id, conflicts FROM event_store.learner_conflicts")
        return [tuple(row) for row in found]


@contextmanager
def serve(store: Store, sent: FakePublisher, **changed: Any) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUBSUB_EMULATOR_HOST", sent.address)
        settings.current.cache_clear()
        options = {"learners_may_post": True} | changed
        with api.serve(url_of(store.url, "query"), **options) as served:
            world = World(store, served, sent)
            with closing(world.connection):
                yield world


@pytest.fixture
def world(store: Store, fake_publisher: FakePublisher) -> Iterator[World]:
    with serve(store, fake_publisher) as made:
        yield made


def test_a_post_is_recorded_as_the_learners_own(world: World) -> None:
    start = entry("SessionStarted", session_id="s") | {"event_id": str(uuid.uuid4()).upper()}
    metadata = {"correlation_id": "c", "posted_by": "school", "source_id": "x", "timestamp": AT}
    given = answer("s", "i") | {"metadata": metadata | {"user_id": "ann"}}
    retracted = entry("EventRetracted", retracted_event_id=given["event_id"].upper())
    assert world.post(start, given, retracted) == []
    first, second, third = rows = world.rows()
    assert first == [
        own("ann", start["event_id"].lower()),
        "learner-ann",
        "SessionStarted",
        {"session_id": own("ann", "s")},
        {"user_id": "ann", "source_id": start["event_id"], "posted_by": "learner"},
    ]
    assert second[4] == {
        "user_id": "ann",
        "correlation_id": "c",
        "source_id": given["event_id"],
        "posted_by": "learner",
    }
    assert third[3] == {"retracted_event_id": second[0]}
    assert {row[1] for row in rows} == {"learner-ann"}
    ((shard,),) = world.connection.run("SELECT event_store.shard_of('learner-ann')")
    assert world.sent.shards() == [shard]
    told = "SELECT event_store.published_event(e)::json #>> '{metadata,posted_by}' FROM "
    assert world.connection.run(told + "event_store.events e") == [["learner"]] * 3
    query = '{ events(first: 3, userId: "ann") { edges { node { eventId postedBy sourceId } } } }'
    edges = world.api.post(query, "support", roles="support")["data"]["events"]["edges"]
    assert edges[1]["node"] == {
        "eventId": second[0],
        "postedBy": "learner",
        "sourceId": given["event_id"],
    }
    assert world.post(start, given) == []
    assert world.rows() == rows


TYPE = "expected a type that learners post - at $.event_type"
REFUSED: dict[str, tuple[Any, str]] = {
    "no object": (5, "expected an object - at $"),
    "no id": ({"event_type": "GoalSet"}, "expected event_id, found none - at $.event_id"),
    "a number as id": (
        entry() | {"event_id": "7", "occurred_at": "x"},
        "expected a UUID - at $.event_id",
    ),
    "an undeclared type": (entry("CardSeen", item_id="i"), TYPE),
    "a type that is no text": (entry() | {"event_type": ["GoalSet"]}, TYPE),
    "another learner": (
        entry(answers_per_day="x", user_id="bob"),
        "expected the token's learner - at $.data.user_id",
    ),
    "another learner beside the own": (
        entry(answers_per_day=1, user_id="ann") | {"metadata": {"user_id": "bob"}},
        "expected the token's learner - at $.metadata.user_id",
    ),
    "another learner in a flat form": (
        {"type": "GoalSet", "event_id": str(uuid.uuid4()), "user_id": "bob"},
        "expected the token's learner - at $.user_id",
    ),
    "invalid": (
        entry(answers_per_day=-1, at="2999-01-01T00:00:00Z"),
        "expected an integer from 0 to 1,000 - at $.data.answers_per_day",
    ),
    "no time": (
        {**entry(), "occurred_at": None},
        "expected an RFC 3339 time with an offset, found none - at $.occurred_at",
    ),
    "a name": (
        entry("UserPreferencesChanged", display_name=None),
        "expected none, because teachers read it - at $.data.display_name",
    ),
    "long": (entry(answers_per_day=1, x="x" * 8_192), "expected at most 8,192 bytes - at $"),
    "long as sent": (
        entry(answers_per_day=1, x="x" * 65_536),
        "expected at most 65,536 bytes as sent - at $",
    ),
    "long and ahead of the clock": (
        entry(answers_per_day=1, x="x" * 8_192, at="2999-01-01T00:00:00Z"),
        "expected at most 8,192 bytes - at $",
    ),
    "numbers that grow": (
        json.dumps(entry(answers_per_day=1, x=[])).replace("[]", f"[{'1e9,' * 1_000}1]"),
        "expected at most 8,192 bytes - at $",
    ),
    "deep only as recorded": (
        json.dumps({"type": "GoalSet", **entry(), "data": None, "event_type": None})[:-1]
        + f', "answers_per_day": 1, "x": {"[" * 63}{"]" * 63}}}',
        "expected at most 64 levels - at $",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_entry_is_not_stored_and_the_others_are(world: World, name: str) -> None:
    sent, reason = REFUSED[name]
    text = sent if isinstance(sent, str) else json.dumps(sent)
    response = world.send(f"[{json.dumps(answer())}, {text}]".encode())
    assert response.status_code == 202
    told = api.read(response)
    assert told["accepted"] == 1
    assert [(each["index"], each["reason"]) for each in told["refused"]] == [(1, reason)]
    assert (len(world.rows()), world.letters()) == (1, [])


def test_a_client_finds_what_is_refused_by_its_id(world: World) -> None:
    sent = [entry() | {"event_id": id_} for id_ in ("ann@example.com", "7\0", "7" * 201)]
    assert len(world.post(*sent, entry(x="x" * 65_536))) == 4
    told = api.read(world.send([entry() | {"event_id": id_} for id_ in ("\ud800", 7)]))
    assert [each["event_id"] for each in told["refused"]] == ["\\ud800", None]


@pytest.mark.parametrize("fast", [timedelta(), timedelta(hours=1)])
def test_what_is_ahead_of_the_databases_clock_is_refused_with_its_time(
    store: Store, fake_publisher: FakePublisher, fast: timedelta
) -> None:
    with serve(store, fake_publisher, parts={"clock": lambda: datetime.now(UTC) + fast}) as world:
        late = [entry(at=(datetime.now(UTC) + timedelta(minutes=11)).isoformat()) for _ in "ab"]
        told = api.read(world.send([late[0], 5, entry(), late[1]]))
        assert (told["accepted"], [each["index"] for each in told["refused"]]) == (1, [0, 1, 3])
        for sent, refused in zip(late, told["refused"][::2], strict=True):
            assert refused["event_id"] == sent["event_id"]
            now = datetime.fromisoformat(refused["reason"].split("which shows ")[1].split()[0])
            assert abs(now - datetime.now(UTC)) < timedelta(seconds=10)
        assert (len(world.rows()), world.letters()) == (1, [])


def test_a_long_post_is_recorded_in_parts_and_goes_on_after_one_has_failed(world: World) -> None:
    sent = [answer("s", f"{n}") for n in range(250)]
    bad = sent[120]["data"]["item_id"]
    world.connection.run(
        "CREATE FUNCTION event_store.fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
        "RAISE EXCEPTION 'down' USING ERRCODE = 'serialization_failure'; END$$"
    )
    world.connection.run(
        "CREATE TRIGGER fail BEFORE INSERT ON event_store.events FOR EACH ROW WHEN "
        f"(NEW.event_data ->> 'item_id' = '{bad}') EXECUTE FUNCTION event_store.fail()"
    )
    response = world.send(sent)
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert (len(world.rows()), len(world.sent.shards())) == (100, 1)
    world.connection.run("DROP TRIGGER fail ON event_store.events")
    assert world.post(*sent) == []
    counts = "SELECT count(*) FROM event_store.events GROUP BY created_at ORDER BY created_at"
    assert world.connection.run(counts) == [[100], [100], [50]]


def test_the_parsed_event_is_recorded_and_nothing_of_the_bytes(world: World) -> None:
    id_ = str(uuid.uuid4())
    body = (
        f'{{"event_id": "x", "event_id": "{id_}", "event_type": "GoalSet", "occurred_at": "{AT}",'
        ' "event_data": {"user_id": "bob"}, "secret": 1,'
        ' "data": {"answers_per_day": 1, "answers_per_day": 2, "email": "ann@example.com"}}'
    )
    assert world.send(body.encode()).status_code == 202
    ((*_, data, metadata),) = world.rows()
    assert data == {"answers_per_day": 2, "email": "a***@example.com"}
    assert metadata == {"user_id": "ann", "source_id": id_, "posted_by": "learner"}


def test_nobody_takes_what_is_somebody_elses(world: World) -> None:
    """Another learner's ids of events and sessions, and what the school has recorded."""
    theirs = entry("SessionStarted", session_id="s", user_id="bob")
    school = entry("CorrectAnswerGiven", session_id="s", item_id="i", user_id="ann")
    assert world.record([theirs, school]) == {"appended": 2, "redelivered": 0}
    start = entry("SessionStarted", session_id="s") | {"event_id": theirs["event_id"]}
    retraction = entry("EventRetracted", retracted_event_id=school["event_id"])
    assert world.post(start, answer("s"), retraction) == []
    assert len(world.rows("ann")) == 4
    assert (world.letters(), world.conflicts()) == ([], [])
    sessions = world.connection.run("SELECT session_id, user_id FROM event_store.sessions")
    assert {tuple(row) for row in sessions} == {("s", "bob"), (own("ann", "s"), "ann")}
    query = '{ events(userId: "ann", first: 9) { edges { node { retracted } } } }'
    edges = world.api.post(query, "support", roles="support")["data"]["events"]["edges"]
    assert not any(edge["node"]["retracted"] for edge in edges)


def test_a_conflict_is_dropped_and_counted(world: World) -> None:
    first = entry()
    world.post(first)
    world.post(first | {"data": {"answers_per_day": 6}})
    world.post(entry(), first | {"data": {"answers_per_day": 7}})
    assert (world.letters(), world.conflicts()) == ([], [("ann", 2)])
    Projector(world.connection).catch_up_all()
    query = "query($id: ID) { ownPosts(userId: $id) { recently conflicts } }"
    assert world.api.data(query, "ann") == {"ownPosts": {"recently": True, "conflicts": 2}}
    answer = world.api.post(query, "staff", roles="support", id="nobody")
    assert answer["data"] == {"ownPosts": {"recently": False, "conflicts": 0}}
    beside = world.api.data("{ ownPosts { conflicts } streak { current } }", "ann")
    assert beside == {"ownPosts": {"conflicts": 2}, "streak": {"current": 0}}
    counts = database.fetch(world.connection, "event_store/status", "counts")[0]
    assert counts["learner_conflicts"] == 2
    erasure_rows.redact_accesses(world.connection, "ann", lambda: None)
    assert world.conflicts() == []
    assert [row[3] for row in world.rows()] == [{"answers_per_day": 5}] * 2


def test_what_an_import_has_recorded_first_is_dropped_and_no_fault_of_the_app(world: World) -> None:
    posted, waiting = entry("CardReviewed", item_id="i", rating=3, interval_days=2), answer("t")
    imported = posted | {"data": posted["data"] | {"user_id": "ann", "session_id": "import"}}
    first = [each | {"event_id": own("ann", each["event_id"])} for each in (imported, waiting)]
    assert world.record(first) == {"appended": 1, "pending": 1}
    assert world.post(posted, waiting) == []
    assert world.post(posted) == []
    assert len(world.rows()) == 1
    assert (world.letters(), world.conflicts()) == ([], [])


def test_nobody_else_says_that_a_learner_has_posted(world: World) -> None:
    forged = entry("GoalSet", user_id="ann", answers_per_day=5)
    forged["metadata"] = {"posted_by": "learner", "source_id": "x"}
    world.record([forged])
    ((*_, metadata),) = world.rows()
    assert metadata == {"source_id": "x"}
    bad = forged | {"event_id": str(uuid.uuid4()), "data": {"user_id": "ann"}}
    world.record([bad])
    (letter,) = dead_letters.list_letters(world.connection)
    world.connection.run(
        "UPDATE event_store.dead_letters SET payload = replace(payload, '\"data\": {', "
        '\'"data": {"answers_per_day": 1, \')'
    )
    assert dead_letters.replay(world.connection, letter.letter_id) is None
    assert "posted_by" not in world.rows()[1][4]


def test_nothing_of_a_gone_learner_is_recorded_and_nothing_of_others_is_lost(world: World) -> None:
    """An erased learner names, with a valid token, a session for which answers of others wait."""
    world.record([entry("CorrectAnswerGiven", session_id="s", item_id="i")])
    forbid(world.connection, "ann")
    assert world.post(entry("SessionStarted", session_id="s"), answer("s")) == []
    assert world.rows() == []
    assert world.connection.run("SELECT session_id FROM event_store.pending") == [["s"]]
    world.record([entry("SessionStarted", session_id="s", user_id="bob")])
    assert [row[1] for row in world.rows()] == ["learner-bob"] * 2
    world.record([entry("UserDeleted", user_id="carl")])
    assert world.post(answer(), user="carl") == []
    assert (len(world.rows("carl")), world.letters()) == (2, [])


def test_the_head_and_the_body_are_checked(world: World) -> None:
    for body, headers, status in (
        (b"[]", {"authorization": ""}, 401),
        (b"[]", {"content-type": "application/json; charset=latin-1"}, 415),
        (b"[]", {"content-encoding": "gzip"}, 415),
        (b"[" + b" " * learner_post_check.MOST_BYTES + b"]", {}, 413),
        (json.dumps([5] * 1_001).encode(), {}, 413),
        (b"[1,", {}, 400),
        (b"\xff", {}, 400),
        (b"", {}, 400),
    ):
        assert world.send(body, **headers).status_code == status, (body[:9], headers)


def test_a_slow_body_and_a_defect_are_answered_in_our_form(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send_half() -> Response:
        async def receive() -> Any:
            await asyncio.Event().wait()

        head = [(name.encode(), value.encode()) for name, value in api.headers().items()]
        scope = {"type": "http", "method": "POST", "path": "/events", "headers": head}
        return await world.api._api.answer(Request(scope, receive))

    with monkeypatch.context() as patch:
        patch.setattr(protocol, "_BODY_TIMEOUT_S", 0.05)
        response = world.api.run(send_half())
    http_client.assert_ours(response.body, response.headers)
    assert response.status_code == 408
    monkeypatch.setattr(learner_post_check, "check", None)
    assert world.send([entry()]).status_code == 500


TYPES = """SessionStarted CorrectAnswerGiven IncorrectAnswerGiven SessionCompleted SessionAbandoned
  CardReviewed ReviewProcessed ItemSetAside ItemResumed UserPreferencesChanged GoalSet RestDayTaken
  EventRetracted ListPublished ListArchived ItemListed ItemUnlisted"""


def test_each_type_of_the_list_is_taken(world: World) -> None:
    """A rest day of any date, too."""
    named = {kind: dict(GOOD[kind]) for kind in TYPES.split()}
    for data in named.values():
        data.pop("user_id", None)
        data.pop("display_name", None)
    sent = (entry() | {"event_type": kind, "data": data} for kind, data in named.items())
    assert world.post(*sent) == []
    assert [row[2] for row in world.rows()] == list(named)
    assert world.letters() == []
    others = sorted(events.EVENT_TYPES.keys() - named.keys())
    refused = world.post(*(entry(kind, item_id="i") for kind in others))
    assert [reason for _, reason in refused] == [TYPE] * len(others)


def test_any_role_but_publisher_posts_about_oneself(world: World) -> None:
    for role in ("learner", "support", "admin"):
        assert world.send([entry()], role, [role]).status_code == 202
    assert [row[1] for row in world.rows()] == [
        f"learner-{r}" for r in ("learner", "support", "admin")
    ]
    response = world.send([entry()], "app", "publisher")
    assert (response.status_code, "address of ingest" in str(response.body)) == (403, True)
    for method in ("GET", "PUT", "HEAD"):
        response = world.api.request(method, "/events", b"", api.headers())
        assert (response.status_code, response.headers["allow"]) == (405, "OPTIONS, POST")
        http_client.assert_ours(response.body, response.headers)


def test_a_post_leaves_no_access_trace(world: World) -> None:
    """Unlike a read by the same caller, also where the post is about somebody else and refused."""
    traces = "SELECT read_by, user_id FROM event_store.accesses"
    named = entry(user_id="ann", answers_per_day=5)
    assert world.post(answer(), named) == []
    Projector(world.connection).catch_up_all()
    refused = api.read(world.send([named], "staff", roles="support"))["refused"]
    assert [each["reason"] for each in refused] == [
        "expected the token's learner - at $.data.user_id"
    ]
    assert world.connection.run(traces) == []
    query = '{ userProgress(userId: "ann") { totalItemsLearned } }'
    assert world.api.post(query, "staff", roles="support")["data"]["userProgress"]
    assert world.connection.run(traces) == [["staff", "ann"]]


def test_a_system_takes_posts_of_learners_only_if_it_says_so(
    store: Store, fake_publisher: FakePublisher
) -> None:
    with serve(store, fake_publisher, learners_may_post=None) as world:
        response = world.send([entry()])
        assert (response.status_code, api.read(response)) == (403, {"error": endpoint.OFF})
        assert world.api.request("POST", "/events", b"[]").status_code == 401


def test_a_page_of_an_allowed_origin_posts_and_reads_the_time(
    store: Store, fake_publisher: FakePublisher
) -> None:
    origin = {"origin": "https://app.example.com"}
    with serve(store, fake_publisher, cors_origins=origin["origin"]) as world:
        asks = {"access-control-request-method": "POST", **origin}
        for path in ("/events", "/health"):
            preflight = world.api.request("OPTIONS", path, b"", asks)
            assert preflight.status_code == 204
            assert preflight.headers["access-control-allow-origin"] == origin["origin"]
        response = world.send([entry()], **origin)
        exposed = response.headers["access-control-expose-headers"].split(", ")
        assert {"Retry-After", "Progress-Error"} <= {*exposed}
        health = world.api.request("GET", "/health", b"", origin)
        assert health.headers["access-control-allow-origin"] == origin["origin"]
        assert "no-store" in health.headers["cache-control"]
        now = datetime.fromisoformat(api.read(health)["now"])
        assert abs(now - datetime.now(UTC)) < timedelta(seconds=10)


def test_while_the_database_does_not_answer_nothing_is_taken_or_counted(
    store: Store, fake_publisher: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(store, fake_publisher, learner_entries_per_day=2) as world:
        with database.transaction(world.connection), monkeypatch.context() as patch:
            world.connection.run(
                "SELECT pg_advisory_xact_lock(hashtextextended('event_store.append', 0))"
            )
            patch.setattr(endpoint, "_TIMEOUT_S", 0.2)
            for _ in range(3):
                response = world.send([entry()])
                assert (response.status_code, response.headers["retry-after"]) == (503, "2")
        assert world.post(entry(), entry()) == []


def test_posts_and_mutations_that_wait_for_another_append_do_not_stop_queries(
    store: Store, fake_publisher: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the connections is for queries, and no wait of a post opens the breaker."""
    lock, key = "SELECT pg_advisory_{}lock({})", "hashtextextended('event_store.append', 0)"
    goal = (
        b'{"query": "mutation { setGoal(answersPerDay: 1, idempotencyKey: \\"k\\") { eventId } }"}'
    )
    monkeypatch.setenv("DATABASE_POOL_SIZE", "8")
    monkeypatch.setattr(endpoint, "_TIMEOUT_S", 1.5)  # longer than what counts as an outage
    with serve(store, fake_publisher, database_pool_size=8) as world:
        world.post(entry())
        posted, asked = json.dumps([entry()]).encode(), b'{"query": "{ streak { current } }"}'

        def call(path: str, body: bytes, user: str) -> asyncio.Task[Response]:
            return asyncio.create_task(world.api.answer("POST", path, body, api.headers(user)))

        async def run() -> None:
            posts = [call("/events", posted, f"u{n}") for n in range(8)]
            choice = call("/graphql", goal, "ann")
            await asyncio.sleep(0)
            assert "errors" not in api.read(await call("/graphql", asked, "ben"))
            assert not any(each.done() for each in (*posts, choice))
            assert {(await each).status_code for each in posts} == {503}
            assert "errors" not in api.read(await call("/graphql", asked, "ben"))
            world.connection.run(lock.format("un", key))
            assert "errors" not in api.read(await choice)

        world.connection.run(lock.format("", key))
        world.api.run(run())
        assert world.post(entry()) == []


LIMITED = {"clock": lambda: NOW}  # all counts belong to one minute
MINUTE_S, DAY_S = 50, 43_190  # until the next ones begin


@pytest.fixture(params=["redis", "instance"])
def limited(
    request: pytest.FixtureRequest, store: Store, fake_publisher: FakePublisher
) -> Iterator[World]:
    url = request.getfixturevalue("patient_redis") if request.param == "redis" else None
    options = {"redis_url": url, "learner_entries_per_day": 100_000, "parts": LIMITED}
    with serve(store, fake_publisher, **options) as made:
        yield made


def wait(response: Response, allowance: str = "entries") -> int:
    """Return for how long a client waits that has passed a limit."""
    assert response.status_code == 429, response.body
    assert response.headers["progress-limit"] == allowance
    return int(response.headers["retry-after"])


def test_a_learner_posts_sixty_times_a_minute(limited: World) -> None:
    for number in range(60):  # 20,000 entries fit
        body = [5] * 1_000 if number < 23 else []
        assert limited.send(body).status_code == (429 if 20 <= number < 23 else 202)
    assert wait(limited.send([]), "posts") == MINUTE_S
    assert limited.send(b"no JSON", **{"content-type": "text/plain"}).status_code == 415
    assert limited.send(b" " * 2_000_000).status_code == 429  # before the body is read
    assert limited.send([], "bob").status_code == 202


def test_every_entry_counts_whatever_becomes_of_it(limited: World) -> None:
    for _ in range(20):
        assert limited.send([5] * 1_000).status_code == 202
    assert wait(limited.send([entry()])) == DAY_S
    assert limited.send([]).status_code == 202
    assert limited.rows() == []
    assert limited.send([entry()], "bob").status_code == 202


@pytest.mark.first_in_gate
def test_changes_of_lists_have_an_allowance_of_their_own(limited: World) -> None:
    """A large deck holds up no answer, and answers hold up no deck. What is refused counts, too."""
    kinds = ("ListPublished", "ListArchived", "ItemListed", "ItemUnlisted")
    refused = [entry(kind, list_id="") for kind in kinds]
    for _ in range(25):
        assert limited.send(refused * 250).status_code == 202
    named = entry("ListPublished", list_id="l", name="Verbs")
    for body in ([named], [named, answer()]):
        assert wait(limited.send(body), "lists") == DAY_S
    for _ in range(20):
        assert limited.send([answer(), *[5] * 999]).status_code == 202
    assert wait(limited.send([answer()])) == DAY_S
    assert limited.send(refused * 250, "bob").status_code == 202
    for user, used, other in (("ben", named, answer()), ("eva", answer(), named)):
        long = used | {"data": used["data"] | {"x": "x" * 7_000}}
        bodies = 0
        while (response := limited.send([long] * 130, user)).status_code == 202:
            bodies += 1
        assert wait(response, "lists" if used is named else "entries") == DAY_S
        assert (bodies, limited.send([used], user).status_code) == (10, 202)
        assert limited.send([other] * 900, user).status_code == 202


def test_the_counts_in_redis_expire(
    store: Store, fake_publisher: FakePublisher, empty_redis: str
) -> None:
    with serve(store, fake_publisher, redis_url=empty_redis) as world:
        assert [world.send([answer()]).status_code for _ in range(2)] == [202, 202]
        forbid(world.connection, "gone")
        assert world.send([answer()], "gone").status_code == 202  # the token is still valid
    client: Any
    with closing(redis.Redis.from_url(empty_redis)) as client:
        times = {key: client.ttl(key) for key in client.scan_iter()}
    assert len(times) > 3
    assert [key for key, seconds in times.items() if seconds < 86_400] == []
    shared = {key for key in times if b"ann" not in key and b"gone" not in key}
    assert shared == {b"everybody:", b"newcomers:"}
    long = {key: seconds // 86_400 for key, seconds in times.items() if seconds > 172_800}
    assert long in ({b"poster:ann": 39}, {b"poster:ann": 40})


def test_a_body_that_would_pass_a_limit_counts_in_none(limited: World) -> None:
    def send(number: int) -> Response:
        zone = entry("UserPreferencesChanged", timezone="Europe/Paris")
        return limited.send([zone | {"event_id": str(uuid.uuid4())} for _ in range(number)])

    assert send(49).status_code == 202
    assert wait(send(2)) == DAY_S
    assert send(1).status_code == 202
    assert wait(send(1)) == DAY_S
    retraction = entry("EventRetracted", retracted_event_id="x")
    assert limited.send([retraction] * 1_000).status_code == 202
    assert wait(limited.send([retraction])) == DAY_S
    assert limited.send([entry()]).status_code == 202


def test_half_of_all_entries_is_kept_for_those_who_have_posted_on_an_earlier_day(
    store: Store, fake_publisher: FakePublisher, patient_redis: str
) -> None:
    options = {"redis_url": patient_redis, "learner_entries_per_day": 10, "parts": LIMITED}
    with serve(store, fake_publisher, **options) as world:
        with closing(redis.Redis.from_url(patient_redis)) as client:
            assert world.send([entry()], "regular").status_code == 202
            (mark,) = client.keys("poster:*")
            client.decr(mark)  # yesterday
            client.expire(mark, 60)
        assert world.send([entry() for _ in range(5)], "new").status_code == 429
        assert world.send([entry() for _ in range(4)], "new").status_code == 202
        assert world.send([entry()], "newer").status_code == 429
        assert world.send([5] * 100, "newer").status_code == 202  # counts for its sender alone
        assert world.send([entry(), *[5] * 100], "regular").status_code == 202
        assert world.send([entry() for _ in range(4)], "regular").status_code == 202
        assert world.send([entry()], "regular").status_code == 429
        assert 0 < redis.Redis.from_url(patient_redis).ttl(mark) <= 60  # not renewed


def test_a_long_body_does_not_hold_up_other_requests(world: World) -> None:
    """While bodies of 1 MB are decoded, the event loop answers within milliseconds of CPU time."""
    body = json.dumps([answer(x="x" * 750) for _ in range(1_000)]).encode()
    assert len(body) < learner_post_check.MOST_BYTES
    waits: list[float] = []

    async def look() -> None:
        while True:
            began = time.process_time()
            await asyncio.sleep(0.001)
            waits.append(time.process_time() - began)

    async def run() -> list[int]:
        looking = asyncio.create_task(look())
        responses = await asyncio.gather(
            *(world.api.answer("POST", "/events", body, api.headers(f"u{n}")) for n in range(4))
        )
        looking.cancel()
        return [response.status_code for response in responses]

    assert world.api.run(run()) == [202] * 4
    assert sorted(waits)[int(len(waits) * 0.95)] < 0.05, max(waits)


def test_a_token_counts_as_the_head_arrives(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    end = time.time() + 60
    short = api.headers() | http_client.headers(token_issuer.token("ann", exp=end))

    def body() -> Iterator[bytes]:
        yield json.dumps([entry()]).encode()
        monkeypatch.setattr(time, "time", lambda: end)
        yield api.END

    assert world.api.request("POST", "/events", body(), short).status_code == 202
    assert world.send([entry()], **short).status_code == 401
