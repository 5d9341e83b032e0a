"""Invalid input to a whole local stack becomes dead letters and does not affect valid input."""

import contextlib
import json
import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import fault_stack, sample_events
from tests.support.fault_stack import Envelope, Stack
from tests.support.pushes import encode_push

PERSON = "confidential.person"
ADDRESS = f"{PERSON}@example.com"

MANY = "expected a string of 1 to 200 characters - at $.data."
NUMBER = "expected an integer from 0 to 9,223,372,036,854,775,807 - at $.data.response_time_ms"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with fault_stack.run_stack() as made:
        yield made


def answer(**changed: Any) -> Envelope:
    data = {"session_id": "s", "user_id": "ann", "item_id": "i", "response_time_ms": 900}
    return sample_events.envelope("CorrectAnswerGiven", {**data, **changed}, at=sample_events.BEGIN)


def literal(text: str, **fields: Any) -> bytes:
    """Return an event with this JSON text as its response_time_ms."""
    return json.dumps(answer(response_time_ms="?", **fields)).replace('"?"', text).encode()


def changed(**fields: Any) -> bytes:
    return json.dumps({**answer(), **fields}).encode()


TAKEN = answer(note="the first")

# Invalid elements of an array, each with the kind and a part of the reason of its dead letter.
ELEMENTS: list[tuple[bytes, str, str]] = [
    (b"null", "malformed", "expected an object - at $"),
    (b'"text"', "malformed", "expected an object - at $"),
    (b"{}", "malformed", "expected event_type, found none - at $.event_type"),
    (changed(event_type=None), "malformed", "expected event_type, found none - at $.event_type"),
    (b"[" * 4_999 + b"]" * 4_999, "malformed", "expected an object - at $"),
    (literal("1", note="x" * 1_100_000), "malformed", "expected at most 1048576 bytes - at $"),
    (literal("[" * 5_000 + "]" * 5_000), "invalid", "expected at most 64 levels - at $"),
    (literal('"\\u0000"'), "invalid", "U+0000 - at $.data.response_time_ms"),
    (literal('"\\ud800"'), "invalid", "lone surrogates - at $.data.response_time_ms"),
    (literal("1e400"), "invalid", "a finite double - at $.data.response_time_ms"),
    (literal("true"), "invalid", NUMBER),
    (literal("5.0"), "invalid", NUMBER),
    (literal('"5"'), "invalid", NUMBER),
    (literal("-1"), "invalid", NUMBER),
    (literal(str(2**63)), "invalid", NUMBER),
    (literal("9" * 300), "invalid", NUMBER),
    (changed(data=None), "invalid", "the event has no data - at $.data"),
    (changed(data={"session_id": "s"}), "invalid", "$.data.item_id"),
    (changed(data="DROP"), "invalid", "expected an object - at $.data"),
    (json.dumps(answer(user_id=7)).encode(), "invalid", MANY + "user_id"),
    (json.dumps(answer(item_id="i" * 201)).encode(), "invalid", MANY + "item_id"),
    (json.dumps(answer(session_id="")).encode(), "invalid", MANY + "session_id"),
    (changed(occurred_at="yesterday"), "invalid", "$.occurred_at"),
    (changed(occurred_at="1999-12-31T23:59:59Z"), "invalid", "2000-01-01"),
    (changed(occurred_at="2100-01-01T00:00:00Z"), "future", "10 minutes ahead"),
    (changed(event_id=TAKEN["event_id"]), "conflict", "$.event_id"),
]

# Messages that cannot be split into events, each with a part of the reason of its dead letter.
WHOLES: list[tuple[bytes, str]] = [
    (b"", "expected JSON, found nothing - at $"),
    (b"    ", "expected JSON, found nothing - at $"),
    (b"[" * 5_000, "expected JSON"),
    (b"\xff\xfe" + changed(), "expected UTF-8 - at byte 0"),
    (b'[{"a": "\xc3\x28"}]', "expected UTF-8"),
    (b'{"a": "\x00"}', "expected JSON - at character"),
    (b"'; DROP TABLE event_store.events; --", "expected JSON - at character 0"),
    (b"[" + changed() + b",", "expected JSON"),
]

BODIES = [b"", b"{}", b"\xff", b"null", b'{"message": 5}', b"[" * 5_000]  # not pushes

STRANGE = [
    *("x'; DROP SCHEMA event_store CASCADE; --", 'quo"te', "back\\slash\\u0041", "learner-"),
    *("\U0001f9e0\U0001f469\u200d\U0001f680", "שלום\u202e العربية", "\uffff"),
    *(unicodedata.normalize(form, "é") for form in ("NFC", "NFD")),
    *("a" * 200, "\U0001d54f" * 200, " ", "\t\n", "%_", ":user $1 {0} %s", "null"),
    "../../etc/passwd",
]


def letters(stack: Stack) -> list[tuple[str, str, str, str, int]]:
    with contextlib.closing(stack.connect()) as connection:
        return [tuple(row) for row in connection.run(fault_stack.BLOCKS["letters"])]


def test_each_invalid_event_becomes_a_dead_letter_and_its_neighbours_are_recorded(
    stack: Stack,
) -> None:
    stack.publish([TAKEN])
    stack.await_delivery()
    messages = []
    for bad, _, _ in ELEMENTS:
        first, last = answer(), answer()
        stack.envelopes += [first, last]
        messages.append(b",".join([json.dumps(first).encode(), bad, json.dumps(last).encode()]))
    ids = stack.publish_raw(*(b"[%b]" % message for message in messages))
    stack.await_delivery()
    stored = {message: (kind, reason, at) for kind, reason, _, message, at in letters(stack)}
    for (bad, kind, rule), message in zip(ELEMENTS, ids, strict=True):
        assert stored[message][0] == kind, bad[:200]
        assert rule in stored[message][1], bad[:200]
        assert stored[message][2] == 1, bad[:200]
    stack.letters += len(ELEMENTS)
    stack.check()


def test_a_message_that_is_not_valid_json_becomes_one_dead_letter(stack: Stack) -> None:
    ids = stack.publish_raw(
        *(payload for payload, _ in WHOLES), note="a message with attributes may have empty data"
    )
    stack.await_delivery()
    stored = {message: (kind, reason, at) for kind, reason, _, message, at in letters(stack)}
    for (payload, rule), message in zip(WHOLES, ids, strict=True):
        assert (stored[message][0], stored[message][2]) == ("malformed", 0), payload[:200]
        assert rule in stored[message][1], payload[:200]
    stack.letters += len(WHOLES)
    stack.check()


def test_ingest_accepts_invalid_pushes_and_records_each_push_once(stack: Stack) -> None:
    good = answer(item_id="at the door")
    stack.envelopes.append(good)
    for number, payload in enumerate([*(p for p, _ in WHOLES), *(p for p, _, _ in ELEMENTS)]):
        body = encode_push(payload, message_id=f"door-{number}", attributes={"kind": "bad"})
        assert [stack.post("ingest", body) for _ in range(2)] == [204, 204], payload[:200]
    for number, body in enumerate(BODIES):
        assert [stack.post("ingest", body) for _ in range(2)] == [204, 204], number
    stack.letters += len(WHOLES) + len(ELEMENTS) + len(BODIES)
    assert stack.post("ingest", encode_push([good])) == 204
    stack.check()


def test_a_learner_id_may_be_any_text(stack: Stack) -> None:
    for strange in STRANGE:
        names = {"session_id": strange, "item_id": strange}
        rows = [
            ("SessionStarted", {**names, "user_id": strange, "item_count": 1}),
            ("CorrectAnswerGiven", {**names, "response_time_ms": 900}),
            ("SessionCompleted", {"session_id": strange, "score": 70, "duration_seconds": 60}),
        ]
        stack.publish([sample_events.envelope(*one, at=sample_events.BEGIN) for one in rows])
    stack.await_delivery()
    stack.await_projection()
    stack.check()
    query = """query ($item: ID!) {
        userProgress { userId totalSessionsCompleted }
        itemStats { edges { node { itemId } } }
        item(itemId: $item) { itemId answers }
        events { edges { node { eventType } } } }"""
    for strange in STRANGE:
        data = stack.ask(strange, query, item=strange)
        assert data["userProgress"] == {"userId": strange, "totalSessionsCompleted": 1}
        assert data["itemStats"] == {"edges": [{"node": {"itemId": strange}}]}
        assert data["item"] == {"itemId": strange, "answers": 1}
        assert len(data["events"]["edges"]) == 3


def test_no_unmasked_email_address_is_stored_or_logged(stack: Stack) -> None:
    named = {"user_id": "ben", "email": ADDRESS}
    good = sample_events.envelope(
        "UserCreated", {**named, "note": f"<{ADDRESS}>"}, at=sample_events.BEGIN
    )
    # One event has an unknown type. In another event, a field's name is the e-mail address.
    # Some events are invalid or malformed.
    events: list[Any] = [
        {**good, "event_id": f"created-{ADDRESS}"},
        {**good, "event_id": "e1", "data": {**named, "timezone": "Mars/Base"}},
        {**good, "event_id": "e2", "data": {**named, "timezone": ADDRESS}},
        {**good, "event_id": "e3", "occurred_at": ADDRESS},
        {**good, "event_id": "e4", "event_type": "Invited", "metadata": {"by": ADDRESS}},
        {**good, "event_id": "e5", "data": {**named, ADDRESS: {"email": [ADDRESS]}}},
        {**good, "event_id": "e6", "data": ADDRESS},
        {**good, "event_id": 5, "event_type": ADDRESS},
        ADDRESS,
    ]
    whole = json.dumps(good).encode()
    payloads = [
        json.dumps(events).encode(),
        whole[:-9],
        b"\xff" + whole,
        whole.replace(b"@", b"\\u0040") + b"}",
        whole[:-1] + b',"x":' + b"[" * 5_000,
        whole[:-1] + b',"x":"\\u0000"}',
        ADDRESS.encode(),
    ]
    before = len(letters(stack))
    stack.publish([good])
    stack.publish_raw(*payloads, user_id=ADDRESS, event_type=ADDRESS)
    stack.await_delivery()
    stack.run("batch")
    assert len(letters(stack)) >= before + len(payloads)
    with contextlib.closing(stack.connect()) as connection:
        for (count,) in connection.run(fault_stack.BLOCKS["tables"]):
            assert connection.run(count, needle=PERSON) == [[0]], count
    for log in (stack.folder.path / "logs").iterdir():
        assert PERSON not in log.read_text(encoding="utf-8", errors="replace"), log.name
