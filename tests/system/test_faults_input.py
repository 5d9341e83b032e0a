"""Unusual and invalid input to a whole local stack: any text as an id, no address in any place."""

import contextlib
import json
import unicodedata
from typing import Any

from tests.support import local_stack, sample_events
from tests.support.local_stack import Envelope, Stack

PERSON = "confidential.person"
ADDRESS = f"{PERSON}@example.com"


def answer(**changed: Any) -> Envelope:
    data = {"session_id": "s", "user_id": "ann", "item_id": "i", "response_time_ms": 900}
    return sample_events.envelope("CorrectAnswerGiven", {**data, **changed}, at=sample_events.BEGIN)


STRANGE = [
    *("x'; DROP SCHEMA event_store CASCADE; --", 'quo"te', "back\\slash\\u0041", "learner-"),
    *("\U0001f9e0\U0001f469\u200d\U0001f680", "שלום\u202e العربية", "\uffff"),
    *(unicodedata.normalize(form, "é") for form in ("NFC", "NFD")),
    *("a" * 200, "\U0001d54f" * 200, " ", "\t\n", "%_", ":user $1 {0} %s", "null"),
    "../../etc/passwd",
]


def letters(stack: Stack) -> list[tuple[str, str, str, str, int]]:
    with contextlib.closing(stack.connect()) as connection:
        return [tuple(row) for row in connection.run(local_stack.BLOCKS["letters"])]


def test_a_learner_id_may_be_any_text(stack: Stack) -> None:
    for strange in STRANGE:
        names = {"session_id": strange, "item_id": strange}
        rows = [
            ("SessionStarted", {**names, "user_id": strange, "item_count": 1}),
            ("CorrectAnswerGiven", {**names, "response_time_ms": 900}),
            ("SessionCompleted", {"session_id": strange, "score": 70, "duration_seconds": 60}),
        ]
        stack.push([sample_events.envelope(*one, at=sample_events.BEGIN) for one in rows])
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
        {**good, "event_id": "e7", "occurred_at": "2100-01-01T00:00:00Z"},
        {**good, "data": {**named, "note": f"a conflict <{ADDRESS}>"}},
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
    stack.push([good])
    stack.push_raw(*payloads, user_id=ADDRESS, event_type=ADDRESS)
    stack.run("batch")
    assert len(letters(stack)) >= before + len(payloads)
    with contextlib.closing(stack.connect()) as connection:
        for (count,) in connection.run(local_stack.BLOCKS["tables"]):
            assert connection.run(count, needle=PERSON) == [[0]], count
    for log in (stack.folder.path / "logs").iterdir():
        assert PERSON not in log.read_text(encoding="utf-8", errors="replace"), log.name
