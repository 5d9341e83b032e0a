"""Posted events: the response says what became of each entry, as it would of a push's entry."""

import functools
import itertools
import json
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPResponse
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import Client, TestResponse

from progress.event_store import bodies, dead_letters, log
from progress.event_store.entries import Rejection
from progress.event_store.log import Delivery
from progress.ingest import publisher_post, push
from progress.serve.ports import HOST
from tests.conftest import Store
from tests.event_store.test_erased import forbid
from tests.ingest.test_ingest import count, letters
from tests.support import function_process, http_client, pushes, token_issuer
from tests.support.envelopes import answer, envelope, reshape, session_abandoned, session_started
from tests.support.fake_publisher import FakePublisher
from tests.support.pushes import encode_push
from tests.support.stage import Stage
from tests.support.token_issuer import Issuer

ID = "4a7d1c9e-0b7f-4b43-9d2c-6f1e8a5b3c21"
MIB = 1 << 20
COUNTS = ("appended", "redelivered", "pending", "erased", "unknown_types")
ZEROS = {**dict.fromkeys(COUNTS, 0), "dead_letters": []}
SOON = (datetime.now(UTC) + timedelta(days=1)).isoformat()


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with token_issuer.serve() as serving:
        yield serving


@pytest.fixture
def ingest(store: Store, fake_publisher: FakePublisher, issuer: Issuer) -> Iterator[Client]:
    environment = issuer.environment(store.url)
    with pushes.load_ingest(store.url, fake_publisher, environment) as client:
        yield client


@functools.cache
def token(**claims: Any) -> str:
    return token_issuer.token("poster", **{"roles": "publisher", **claims})


def send(
    client: Client, body: object, media_type: str = "application/json", **headers: str
) -> TestResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    authorization = {"Authorization": f"Bearer {token()}"}
    response = client.post(
        "/events", data=data, content_type=media_type, headers={**authorization, **headers}
    )
    if response.status_code > 299:
        http_client.assert_ours(response.text, response.headers)
    return response


def tell(client: Client, body: object, media_type: str = "application/json") -> dict[str, Any]:
    response = send(client, body, media_type)
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.get_json()
    assert told.keys() == ZEROS.keys()
    return {name: value for name, value in told.items() if value}


def letter(index: int, kind: str, reason: str, event_id: str | None) -> dict[str, Any]:
    return {"index": index, "kind": kind, "reason": reason, "event_id": event_id}


def test_each_entry_counts_once_by_what_became_of_it(
    ingest: Client, store: Store, fake_publisher: FakePublisher
) -> None:
    early, start = answer("s"), session_started("s")
    assert tell(ingest, early) == {"pending": 1}
    assert tell(ingest, early) == {"redelivered": 1}
    assert tell(ingest, [start, early]) == {"appended": 1, "redelivered": 1}
    assert count(store.url) == 2  # the pending event, too, although it is not counted again
    assert len(fake_publisher.shards()) == 1
    assert tell(ingest, []) == {}
    assert tell(ingest, [start, start]) == {"redelivered": 2}
    with closing(store.connect()) as connection:
        forbid(connection, "gone")
    assert tell(ingest, session_abandoned("gone")) == {"erased": 1}
    gone = envelope("CorrectAnswerGiven", {"user_id": "gone"})
    assert tell(ingest, [session_started("n", "new"), session_abandoned("gone"), gone, 5]) == {
        "appended": 1,
        "erased": 2,
        "dead_letters": [letter(3, "malformed", "expected an object - at $", None)],
    }


FUTURE = "expected a time at most 10 minutes ahead of the clock - at $.occurred_at"
TIME = re.compile(r", which shows (\S+)")


def assert_names_time(reason: str) -> None:
    (now,) = TIME.findall(reason)
    assert abs(datetime.fromisoformat(now) - datetime.now(UTC)) < timedelta(seconds=10)
    assert TIME.sub("", reason) == FUTURE


def test_the_caller_learns_why_an_entry_is_a_dead_letter_each_time_it_posts_the_entry(
    ingest: Client, store: Store
) -> None:
    tell(ingest, session_started("s", "u", event_id=ID))
    body = [
        session_started("t", "v"),
        session_started("s", "w", event_id="w starts"),
        {**answer(), "event_id": ID.upper()},
        session_started("x", event_id=ID[:-1] + "2", occurred_at=SOON),
        [session_started("y")],
        {"event_type": "SessionStarted"},
        answer(event_id="an id", occurred_at=None),
        {**answer(event_id=ID), "data": {"session_id": ""}},
        answer(event_id=""),
    ]
    told = tell(ingest, body)["dead_letters"]
    assert_names_time(told[2].pop("reason"))
    assert [(x["index"], x["kind"], x["event_id"]) for x in told] == [
        (1, "session_owner", str(uuid5(NAMESPACE_OID, "w starts"))),
        (2, "conflict", ID),
        (3, "future", ID[:-1] + "2"),
        (4, "malformed", None),
        (5, "malformed", None),
        (6, "invalid", str(uuid5(NAMESPACE_OID, "an id"))),
        (7, "invalid", ID),
        (8, "invalid", None),
    ]
    stored = letters(store)
    told[2]["reason"] = FUTURE
    assert sorted(x["reason"] for x in told) == sorted(reason for _, reason, *_ in stored)
    assert {topic for _, _, topic, *_ in stored} == {"posted"}
    assert {index for *_, index in stored} == set(range(1, 9))
    again = tell(ingest, body)
    again["dead_letters"][2]["reason"] = FUTURE
    assert again == {"redelivered": 1, "dead_letters": told}
    assert letters(store) == stored


def test_lines_and_arrays_have_the_same_outcomes(ingest: Client, store: Store) -> None:
    parts = [session_started(), 5, [session_started("t")], answer()]
    lines = "\n\r\n".join(["", *map(json.dumps, parts), "  \t", ""]).encode()
    not_object = "expected an object - at $"
    faults = [letter(n, "malformed", not_object, None) for n in (1, 2)]
    told = tell(ingest, lines, "Application/X-NDJSON; charset=UTF-8")
    assert told == {"appended": 2, "dead_letters": faults}
    assert tell(ingest, parts, "application/json;charset=utf8") == {
        "redelivered": 2,
        "dead_letters": faults,
    }
    assert tell(ingest, b" 5 ") == {"dead_letters": [letter(0, "malformed", not_object, None)]}
    assert count(store.url) == 2


GOOD = json.dumps(session_started()).encode()


NO_JSON: list[tuple[bytes, bool, str]] = [
    (b"", False, "expected JSON, found nothing - at $"),
    (b" \r\n\t", False, "expected JSON, found nothing - at $"),
    (b"", True, "expected JSON, found nothing - at $"),
    (b"\n \n", True, "expected JSON, found nothing - at $"),
    (b"\xef\xbb\xbf" + GOOD, False, "expected JSON - at byte 0"),
    (b"\xef\xbb\xbf" + GOOD, True, "expected JSON - at byte 0 of line 1"),
    (b"[%b, NaN]" % GOOD, False, f"expected JSON - at byte {len(GOOD) + 3}"),
    (b"%b\n\n{5}" % GOOD, True, "expected JSON - at byte 1 of line 3"),
    (b"%b\n-Infinity\n%b" % (GOOD, GOOD), True, "expected JSON - at byte 1 of line 2"),
    (b'[%b, "\xff"]' % GOOD, False, f"expected UTF-8 - at byte {len(GOOD) + 4}"),
    (b'%b\n"\xff"' % GOOD, True, "expected UTF-8 - at byte 1 of line 2"),
    (b"[%b" % GOOD, False, f"expected JSON - at byte {len(GOOD) + 1}"),
    (b"%b %b" % (GOOD, GOOD), True, f"expected JSON - at byte {len(GOOD) + 2} of line 1"),
    (b"%b\n%b" % (GOOD, GOOD), False, f"expected JSON - at byte {len(GOOD) + 2}"),
    (b"[" * 5_000, False, "expected JSON, found brackets that are not closed"),
]


def test_bodies_that_are_no_json_get_400_and_store_nothing(ingest: Client, store: Store) -> None:
    for body, is_lines, error in NO_JSON:
        media_type = "application/x-ndjson" if is_lines else "application/json"
        response = send(ingest, body, media_type)
        assert (response.status_code, response.get_json()) == (400, {"error": error})
    assert count(store.url) == 0
    assert letters(store) == []


def test_unusual_json_is_not_rejected_but_becomes_dead_letters(ingest: Client) -> None:
    data = [b'"\\ud800"', b'"\\u0000"', b"1e999", b"[" * 5_000 + b"]" * 5_000, b"9" * 400]
    parts = [json.dumps(answer(x="?")).encode().replace(b'"?"', value) for value in data]
    for body in (b"[%b]" % b",".join(parts), b"\n".join(parts)):
        media_type = "application/json" if body[:1] == b"[" else "application/x-ndjson"
        assert tell(ingest, body.replace(b'"x"', b'"metadata"'), media_type)["dead_letters"]


def test_limits_of_entries_and_of_bytes(ingest: Client, store: Store) -> None:
    event = session_started()
    assert tell(ingest, [event] * 1_000) == {"appended": 1, "redelivered": 999}
    lines = b"\n".join([GOOD] * 1_000 + [b"no JSON"])
    for body, media_type in (
        ([event] * 1_001, "application/json"),
        (b"[%b]" % b",".join([b"5"] * 200_000), "application/json"),
        (lines, "application/x-ndjson"),
    ):
        response = send(ingest, body, media_type)
        assert (response.status_code, response.get_json()) == (
            413,
            {"error": "expected at most 1000 events"},
        )
    full = b"[%b]" % b",".join([GOOD] * 900)
    assert send(ingest, full.ljust(10_000_000)).status_code == 200
    assert send(ingest, full.ljust(10_000_001)).get_json() == {
        "error": "expected at most 10000000 bytes"
    }
    assert letters(store) == []
    told = tell(ingest, [{}] * 1_000)["dead_letters"]
    assert [x["index"] for x in told] == [*range(1_000)] == [at for *_, at in letters(store)]


def test_the_checks_have_an_order(ingest: Client, store: Store) -> None:
    """Each request has the faults of all requests below it."""
    bad = {"content_type": "text/plain", "data": b"!" * 10_000_001}
    admin = token_issuer.token("ada", roles=["publisher", "admin"])
    allowed = {"Authorization": f"Bearer {token()}"}

    def status(method: str, headers: dict[str, str], **fields: Any) -> tuple[int, Any]:
        response = ingest.open("/events", method=method, headers=headers, **{**bad, **fields})
        http_client.assert_ours(response.text, response.headers)
        return response.status_code, response.headers

    missing, headers = status("PUT", {})
    assert (missing, headers["WWW-Authenticate"]) == (401, 'Bearer realm="progress"')
    wrong, headers = status("PUT", {"Authorization": "Bearer x"})
    assert (wrong, headers["WWW-Authenticate"][-14:]) == (401, 'invalid_token"')
    assert status("PUT", {"Authorization": f"Bearer {admin}"})[0] == 403
    unallowed, headers = status("PUT", allowed)
    assert (unallowed, headers["Allow"]) == (405, "POST")
    assert status("GET", allowed)[0] == 405
    assert status("POST", allowed)[0] == 415
    assert status("POST", allowed, content_type="application/json; charset=latin1")[0] == 415
    assert status("POST", allowed, content_type=None)[0] == 415
    zipped = {**allowed, "Content-Encoding": "gzip"}
    assert status("POST", zipped, content_type="application/json")[0] == 415
    assert status("POST", allowed, content_type="application/json")[0] == 413
    assert status("POST", allowed, content_type="application/json", data=b"!")[0] == 400
    assert (count(store.url), letters(store)) == (0, [])


def test_only_a_token_whose_one_role_is_publisher_may_post(ingest: Client) -> None:
    accepted: list[Any] = [["publisher"], "publisher"]
    refused = [None, [], "learner", "admin", ["publisher", "learner"], ["publisher", "publisher"]]
    for roles in (*accepted, *refused):
        authorization = f"Bearer {token_issuer.token('p', roles=roles)}"
        status = send(ingest, [], Authorization=authorization).status_code
        assert status == (200 if roles in accepted else 403), roles


def test_a_misspelt_type_is_recorded_and_told(ingest: Client) -> None:
    seen = [envelope("CardReveiwed", {"user_id": "ann"}), envelope("CardSeen", {})]
    assert tell(ingest, [*seen, session_started()]) == {"appended": 3, "unknown_types": 2}
    assert tell(ingest, seen) == {"redelivered": 2}


def test_a_command_on_the_machine_posts_with_the_key_of_the_system(
    store: Store, fake_publisher: FakePublisher
) -> None:
    body = json.dumps(session_started("s")).encode()
    for k_service, expected in (("", (200, 401, 401)), ("progress-ingest", (200, 200, 200))):
        environment = {"SERVE_KEY": "key", "K_SERVICE": k_service}
        with pushes.load_ingest(store.url, fake_publisher, environment) as client:
            for token, status in zip(("key", "kez", ""), expected, strict=True):
                headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
                assert client.post("/events", data=body, headers=headers).status_code == status


def test_without_an_issuer_no_token_is_accepted_except_on_cloud_run(
    store: Store, fake_publisher: FakePublisher
) -> None:
    with pushes.load_ingest(store.url, fake_publisher) as client:
        response = send(client, [])
        assert response.status_code == 401
        assert "AUTH_AUDIENCE is missing" in response.text
    with pushes.load_ingest(store.url, fake_publisher, {"K_SERVICE": "progress-ingest"}) as client:
        assert client.post("/events", data=GOOD, content_type="application/json").get_json() == {
            **ZEROS,
            "appended": 1,
        }


def test_other_paths_take_no_push(ingest: Client, store: Store) -> None:
    body = encode_push(session_started())
    for path in ("/event", "/events/", "/Events", "/learners", "/graphql", "/favicon.ico"):
        response = ingest.post(path, data=body)
        http_client.assert_ours(response.text, response.headers)
        assert response.status_code == 404
        assert ingest.get(path).status_code == 404
    for path in ("/health", "/startup"):
        assert ingest.post(path, data=body).status_code == 405
        assert ingest.get(path).status_code == 200
    assert count(store.url) == 0


def test_a_token_that_cloud_run_has_not_checked_is_refused_on_every_path(
    store: Store, fake_publisher: FakePublisher
) -> None:
    with pushes.load_ingest(store.url, fake_publisher, {"K_SERVICE": "progress-ingest"}) as client:
        for path, more in itertools.product(("/", "/learners", "/events"), ("", ", Bearer x")):
            headers = {} if more else {"X-Serverless-Authorization": ""}
            headers["Authorization"] = f"Bearer h.e30.s{more}"
            response = client.post(path, data=encode_push(session_started()), headers=headers)
            assert (response.status_code, "WWW-Authenticate" in response.headers) == (401, True)
            assert "in Authorization" in response.get_json()["error"]
    assert (count(store.url), letters(store)) == (0, [])


def test_while_the_database_is_down_a_post_gets_503_and_when_to_try_again(
    fake_publisher: FakePublisher, issuer: Issuer
) -> None:
    url = "postgresql://nobody@127.0.0.1:9/none"
    with pushes.load_ingest(url, fake_publisher, issuer.environment(url)) as client:
        response = send(client, session_started())
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0


def test_a_defect_is_answered_in_our_form(ingest: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher_post, "parse_delivery", None)
    assert send(ingest, []).status_code == 500


TEN = b"Content-Length: 10"
CHUNKED = b"Transfer-Encoding: chunked"
# The lines of the head, the body, and whether the client stops sending there.
BROKEN: list[tuple[bytes, bytes, bool, int]] = [
    (TEN, b"[]", False, 408),
    (TEN, b"[]", True, 408),
    (CHUNKED, b"a\r\n[]", False, 408),
    (CHUNKED, b"2\r\n[]", False, 408),
    (CHUNKED, b"2\r\n[]", True, 400),
    (CHUNKED, b"zz\r\n[]\r\n0\r\n\r\n", False, 400),
    (CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (10 * MIB, b" " * 10 * MIB), False, 413),
    (b"Content-Length: 10000001", b"[", False, 413),
    (TEN + b"\r\nContent-Length: 9", b"[]", False, 400),
    (b"X: " + b"x" * 100_000, b"", False, 431),
]


def test_a_body_that_breaks_off_is_answered_in_our_form(store: Store, issuer: Issuer) -> None:
    text = function_process.edit("ingest", "Admission()", "Admission(timeout_s=1)")
    with function_process.run(
        "ingest", issuer.environment(store.url), text, forks=True
    ) as function:
        for lines, body, is_end, status in BROKEN:
            with socket.create_connection((HOST, function.port), timeout=10) as connection:
                head = b"POST /events HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
                head += b"Authorization: Bearer %b\r\n" % token().encode()
                connection.sendall(head + lines + b"\r\n\r\n" + body)
                if is_end:
                    connection.shutdown(socket.SHUT_WR)
                with closing(HTTPResponse(connection)) as response:
                    response.begin()
                    assert response.status == status, (lines[:30], body[:30], response.read())
                    http_client.assert_ours(response.read(), response.headers)
    assert (count(store.url), letters(store)) == (0, [])


def test_a_process_checks_the_token_before_it_reads_the_body(store: Store, issuer: Issuer) -> None:
    with function_process.run("ingest", issuer.environment(store.url), forks=True) as function:
        for path, more in ((b"/events", b""), (b"/", b"X-Serverless-Authorization: Bearer x\r\n")):
            with socket.create_connection((HOST, function.port), timeout=10) as connection:
                head = b"POST %b HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
                connection.sendall(head % path + more + b"Content-Length: 1000\r\n\r\n")
                assert connection.recv(1_000).startswith(b"HTTP/1.1 401 ")
        send = functools.partial(http_client.fetch, function.port, "POST", "/events")
        headers = http_client.headers(token())
        for body in (b"x" * (20 * MIB), b"x" * (33 * MIB)):
            assert send(body, {"content-type": "application/json"})[0] == 401
            assert send(body, {**headers, "content-type": "text/plain"})[0] == 415
            assert send(body, headers)[0] == 413
        many = json.dumps([session_started(f"s{n}", f"u{n}") for n in range(1_000)]).encode()
        status, told = send(many.ljust(9_999_999), headers)
        assert (status, json.loads(told)) == (200, {**ZEROS, "appended": 1_000})


SESSIONS = st.sampled_from(["s", "t"])
USERS = st.sampled_from(["u", "v"])
IDS = st.sampled_from([f"e{n}" for n in range(6)])
# Only the erased learner starts this session.
ANSWERED = SESSIONS | st.just("of gone")
EVENTS = st.one_of(
    st.builds(lambda s, u, i: session_started(s, u, event_id=i), SESSIONS, USERS, IDS),
    st.builds(lambda i: session_started("of gone", "gone", event_id=i), IDS),
    st.builds(lambda s, i: answer(s, event_id=i), ANSWERED, IDS),
    st.builds(lambda u, i: {**session_abandoned(u), "event_id": i}, USERS | st.just("gone"), IDS),
    st.builds(lambda s, i: answer(s, event_id=i, occurred_at=SOON), ANSWERED, IDS),
    st.builds(lambda s, i: answer(s, event_id=i, occurred_at="soon"), ANSWERED, IDS),
)
ENTRIES: st.SearchStrategy[Any] = st.one_of(
    EVENTS,
    st.builds(reshape, EVENTS, st.sampled_from(["recorded", "flat", "cloud"])),
    st.builds(lambda s: {"data": {"session_id": s}}, ANSWERED),
    st.sampled_from([5, [], {}, {"event_id": "e1"}, {"type": "SessionAbandoned"}]),
)
# Requests that commit together; each is a post or a push of entries.
GROUPS = st.lists(
    st.lists(st.tuples(st.booleans(), st.lists(ENTRIES, max_size=6)), min_size=1, max_size=4),
    min_size=1,
    max_size=4,
)

NEWEST = "SELECT reason FROM event_store.dead_letters ORDER BY letter_id DESC LIMIT 1"


def take(is_post: bool, entries: list[Any]) -> Delivery:
    body = json.dumps(entries).encode()
    if is_post:
        return publisher_post.parse_delivery(bytearray(body), bodies.JSON)
    # Like a post, a push without an id of its message gives no id to its events.
    return push.parse_delivery(encode_push(body, message_id=f"sha256-{uuid.uuid4()}"))


def order(delivery: Delivery) -> int:
    """Return the place of a single entry among those that commit together.

    What an erased learner starts is dropped first; the rejected entries come last.
    """
    (entry,) = delivery.entries
    if isinstance(entry, Rejection):
        return 2
    return 0 if (entry.event_type, entry.learner) == ("SessionStarted", "gone") else 1


def rows(stage: Stage) -> tuple[list[Any], list[Any], set[Any]]:
    return (
        stage.admin.run(
            "SELECT global_position, event_id, stream_id, stream_version, event_data "
            "FROM event_store.events ORDER BY 1"
        ),
        stage.admin.run("SELECT event_id, session_id FROM event_store.pending ORDER BY 1"),
        {
            tuple(row)
            for row in stage.admin.run(
                "SELECT kind, reason, event_id, event_type FROM event_store.dead_letters"
            )
        },
    )


@given(groups=GROUPS)
def test_posts_in_any_batches_have_the_rows_letters_and_outcomes_of_pushes_of_single_entries(
    stage: Stage, groups: list[list[tuple[bool, list[Any]]]]
) -> None:
    stage.sweep()
    forbid(stage.admin, "gone")
    told = []
    for group in groups:
        deliveries = [take(*request) for request in group]
        posts = [place for place, (is_post, _) in enumerate(group) if is_post]
        others = log.append(stage.admin, deliveries).others
        for place in posts:
            delivery = deliveries[place]
            own = {index: (what, why) for n, index, what, why in others if n == place}
            summary = msgspec.to_builtins(publisher_post.describe(delivery, own))
            found = summary.pop("dead_letters")
            assert sum(summary.values()) + len(found) == len(delivery.entries)
            told.append(
                (summary, [(x["index"], x["kind"], TIME.sub("", x["reason"])) for x in found])
            )
    posted = rows(stage)
    stage.sweep()
    forbid(stage.admin, "gone")
    expected = []
    for group in groups:
        answers: list[tuple[dict[str, int], list[Any]]] = [
            (dict.fromkeys(COUNTS, 0), []) for _ in group
        ]
        entries = [
            (place, index, take(False, [entry]))
            for place, (_, parts) in enumerate(group)
            for index, entry in enumerate(parts)
        ]
        for place, index, delivery in sorted(entries, key=lambda each: order(each[2])):
            ((outcome, _),) = log.append(stage.admin, [delivery]).outcomes.items()
            summary, found = answers[place]
            if outcome in summary:
                summary[outcome] += 1
            else:
                found.append((index, outcome, stage.admin.run(NEWEST)[0][0]))
        expected += [
            (summary, sorted(found))
            for (summary, found), (is_post, _) in zip(answers, group, strict=True)
            if is_post
        ]
    assert told == expected
    assert posted == rows(stage)


LITTLE = """
    CREATE OR REPLACE FUNCTION event_store.most_letter_bytes(OUT of_all bigint, OUT of_one bigint)
    LANGUAGE sql IMMUTABLE RETURN (3600::bigint, 2000::bigint)
"""


def test_a_post_that_leaves_too_many_bytes_of_letters_is_refused_as_a_whole(
    ingest: Client, store: Store
) -> None:
    with closing(store.connect()) as connection:
        connection.run(LITTLE)
        full = [session_started("s"), ["x" * 1_400]]
        assert tell(ingest, full)["appended"] == 1
        early = session_started("t") | {"occurred_at": SOON}
        for more in ([session_started("u"), ["y" * 100]], [session_started("u"), early]):
            refused = send(ingest, more)
            assert (refused.status_code, "Retry-After" in refused.headers) == (429, True)
            assert "--poster '" in refused.get_json()["error"]
        assert tell(ingest, full)["redelivered"] == 1  # it adds nothing
        assert (count(store.url), len(letters(store))) == (1, 1)
        other = {"Authorization": f"Bearer {token_issuer.token('other', roles='publisher')}"}
        assert send(ingest, ["y" * 900], **other).status_code == 200
        assert push_status(ingest, ["z" * 900]) == 429  # above that of all
        (poster,) = re.findall("--poster '(.*)'", refused.get_json()["error"])
        assert "poster" not in poster
        numbers = dead_letters.select_open(connection, kind=None, saying=None, poster=poster)
        assert dead_letters.discard_letters(connection, numbers, "test") == 1
        assert send(ingest, [session_started("u"), early]).status_code == 200
        assert push_status(ingest, ["z" * 900]) == 204


LONG, UNHEARD = "y" * 3_000_000, envelope("Unheard", {})


@pytest.mark.parametrize("spaces", [0, 3_000_000])
@pytest.mark.parametrize("entries", [[LONG], [[LONG[:10_000]]] * 300, [UNHEARD, LONG], [UNHEARD]])
def test_a_large_post_whose_letters_have_space_is_taken(
    ingest: Client, store: Store, entries: list[object], spaces: int
) -> None:
    with closing(store.connect()) as connection:
        connection.run(LITTLE.replace("3600", "4000000").replace("2000", "4000000"))
    assert send(ingest, json.dumps(entries).encode() + b" " * spaces).status_code == 200


def push_status(client: Client, content: object) -> int:
    return client.post("/", data=encode_push(json.dumps(content).encode())).status_code


def test_a_large_post_is_recorded_in_parts_between_which_others_commit(
    ingest: Client, store: Store
) -> None:
    """If its letters may be too many, it is recorded at once or not at all."""
    padding = {"padding": "x" * 9_000}
    events = [envelope("Unheard", {"n": n, **padding}) for n in range(900)]
    others = [event | {"data": padding} for event in events]  # a conflict each, once these exist
    with closing(store.connect()) as connection:
        connection.run(LITTLE)
        assert send(ingest, [*events, ["y" * 2_000]]).status_code == 429
        assert count(store.url) == 0
        connection.run(LITTLE.replace("3600", "1073741824").replace("2000", "104857600"))
        told = tell(ingest, [*events, events[0], 5])
        assert (told["appended"], told["redelivered"], len(letters(store))) == (900, 1, 1)
        rows = connection.run(
            "SELECT count(*), count(DISTINCT created_at),"
            " bool_and(event_data -> 'n' = to_jsonb(global_position - 1)) FROM event_store.events"
        )
        connection.run(LITTLE.replace("3600", "6000000").replace("2000", "6000000"))
        assert send(ingest, others).status_code == 429
        assert (count(store.url), len(letters(store))) == (900, 1)
    assert rows == [[900, 4, True]]
