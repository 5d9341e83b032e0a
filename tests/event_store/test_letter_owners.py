"""Whose a dead letter is, and what an erasure leaves of it, compared with the rule in words."""

import json
from contextlib import closing
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.event_store import dead_letters, envelope, json_input, owners
from tests.conftest import Store
from tests.event_store.test_erased import (
    LATE,
    OLD,
    abandoned,
    answered,
    append,
    bundle,
    count_letters,
    forbid,
    letters,
    redact_letters,
    started,
)

NO_TEXT: list[Any] = [7, True, ["ann"], {}]
NO_ID = ["", "x" * 201]
NO_OBJECT = ["5", '"\U0001f600 gone@b.org"', "[[]]"]
_learners = st.sampled_from([*(None, "gone", "kept", "gone", "kept") * 4, *NO_TEXT, *NO_ID])
_sessions = st.sampled_from([*(None, "of gone", "of kept", "later of gone") * 3, 7, ""])
# What no owner depends on: a name, a number or a text in another field.
_notes = st.sampled_from(
    [None, "gone", ["gone"], {"user_id": "gone"}, 7, "\0", "\ud800", "\\ud83d"]
)


class Entry(NamedTuple):
    form: str
    in_data: Any
    in_metadata: Any
    session: Any
    note: Any
    no_object: str | None

    def text(self, names: dict[str, str]) -> str:
        if self.no_object:
            return self.no_object
        ids = {"user_id": self.in_data, "session_id": self.session, "note": self.note}
        data = {field: _rename(value, names) for field, value in ids.items() if value is not None}
        learner = _rename(self.in_metadata, names)
        metadata = {} if learner is None else {"metadata": {"user_id": learner}}
        event = {"event_id": "e", "event_type": "SessionAbandoned", **OLD}
        match self.form:
            case "envelope":
                return json.dumps(event | {"data": data} | metadata)
            case "recorded":
                return json.dumps(event | {"event_data": data} | metadata)
            case "bare":
                return json.dumps(event | data | metadata)
            case "flat":
                return json.dumps({"type": event.pop("event_type"), **event, **data, **metadata})
        cloud = {"specversion": "1.0", "id": "e", "type": "SessionAbandoned", "data": data}
        return json.dumps(cloud | {"time": OLD["occurred_at"]} | {"userid": learner})

    def owner(self, attribute: str | None) -> Any:
        ids = [self.in_data, self.in_metadata, attribute]
        if self.form == "bare":
            ids = [self.in_metadata, attribute, self.in_data]
        fields = [self.in_data, self.in_metadata, self.session]
        if self.no_object or any(f is not None and not isinstance(f, str) for f in fields):
            return owners.UNKNOWN
        ids.append(self.session)
        found = [value for value in ids if value is not None and value not in NO_ID]
        return (found or [owners.UNKNOWN if any(i is not None for i in ids) else owners.NOBODY])[0]


def _rename(value: Any, names: dict[str, str]) -> Any:
    return names.get(value, value) if isinstance(value, str) else value


_entries = st.builds(
    Entry,
    st.sampled_from(["envelope", "recorded", "bare", "flat", "cloud"]),
    _learners,
    _learners,
    _sessions,
    _notes,
    st.sampled_from([None] * 20 + NO_OBJECT),
)


def _name(are_addresses: bool) -> dict[str, str]:
    """Return ids that no other example has; in a payload, addresses are masked."""
    tail = "@example.org" if are_addresses else '\u00fc"\\x {'
    known = ("gone", "kept", "of gone", "of kept", "later of gone")
    return {name: f"{name[::-1]}-{uuid4()}{tail}".replace(" ", "-") for name in known}


def deliver(
    connection: Connection, texts: list[str], shape: str, ids: list[str], attribute: str | None
) -> list[tuple[str, str | None] | None]:
    """Deliver the entries alone, in a batch or in a bundle, as messages with these ids.

    Return the payload of each letter, and why it is closed; None if it is not there.
    """
    named = {} if attribute is None else {"user_id": attribute}
    bodies = [text.encode() for text in texts]
    if shape != "each":
        bodies = [bundle(*texts) if shape == "bundle" else f"[{','.join(texts)}]".encode()]
    for body, message_id in zip(bodies, ids, strict=False):
        append(connection, body, message_id=message_id, attributes=named)
    return read(connection, len(texts), shape, ids)


def read(
    connection: Connection, count: int, shape: str, ids: list[str]
) -> list[tuple[str, str | None] | None]:
    rows = {(row["message_id"], row["index_in_message"]): row for row in letters(connection)}
    first = envelope.MOST_REJECTIONS
    places = {
        "each": [(message_id, 0) for message_id in ids],
        "batch": [(ids[0], n) for n in range(count)],
        "bundle": [(ids[0], first)],
    }[shape]
    found = [rows.get(place) for place in places]
    return [(row["payload"], row["discard_reason"]) if row else None for row in found]


PLAIN = {"attribute": None, "are_addresses": False, "is_earlier": False}
EACH = [Entry("envelope", None, None, session, None, None) for session in ("of gone", "of kept")]
EACH += [entry._replace(in_data=entry.session[3:]) for entry in EACH]


@example(entries=[*EACH, EACH[0]._replace(session=7)], shape="bundle", **PLAIN)
@example(entries=EACH, shape="bundle", **PLAIN)
@example(entries=EACH, shape="batch", **PLAIN)
@given(
    entries=st.lists(_entries, min_size=1, max_size=6),
    shape=st.sampled_from(["each", "batch", "batch", "bundle"]),
    attribute=st.sampled_from([None, None, "gone", "kept", ""]),
    are_addresses=st.booleans(),
    is_earlier=st.booleans(),
)
def test_an_erasure_leaves_of_letters_what_the_rule_says(
    store: Store,
    *,
    entries: list[Entry],
    shape: str,
    attribute: str | None,
    are_addresses: bool,
    is_earlier: bool,
) -> None:
    """If `is_earlier`, an earlier version has written the letters that are there."""
    names = _name(are_addresses)
    texts = [entry.text(names) for entry in entries]
    sender = _rename(attribute, names)
    sent = [entry.owner(attribute) for entry in entries]
    special = (owners.NOBODY, owners.UNKNOWN)
    is_masked = are_addresses and is_earlier
    known = [owners.UNKNOWN if is_masked and owner not in special else owner for owner in sent]
    groups = [[*range(len(texts))]] if shape == "bundle" else [[n] for n in range(len(texts))]

    def expect(before: list[Any], of: list[Any], *gone: str) -> list[Any]:
        left = []
        for group, letter in zip(groups, before, strict=True):
            theirs = {of[n] for n in group if letter}
            closed = ("", "erased") if theirs & {*gone} else letter
            left.append(("", None) if owners.UNKNOWN in theirs else closed)
        return left

    with closing(store.connect()) as connection:
        append(connection, started(names["gone"], names["of gone"]))
        append(connection, started(names["kept"], names["of kept"]))
        ids = [str(uuid4()) for _ in texts]
        stored = deliver(connection, texts, shape, ids, sender)
        if is_earlier:
            connection.run("UPDATE event_store.dead_letters SET owners = NULL WHERE payload <> ''")
        dead_letters.record_owners(connection)
        digest = forbid(connection, names["gone"])
        theirs = ("gone", "of gone")
        first = expect(stored, known, *theirs)
        others = sum(owner not in theirs for owner in known) if shape == "bundle" else 0
        closed = first.count(("", "erased"))
        assert count_letters(connection, digest) == (closed, others if closed else 0)
        redact_letters(connection, digest)
        assert count_letters(connection, digest) == (0, 0)
        assert deliver(connection, texts, shape, ids, sender) == first

        later = [str(uuid4()) for _ in texts]
        arrived = deliver(connection, texts, shape, later, sender)
        for group, before, letter in zip(groups, stored, arrived, strict=True):
            rest = [n for n in group if sent[n] not in theirs]
            payload = before and before[0]
            if payload and shape == "bundle":
                parts = [*(json_input.elements(payload.encode()) or [])]
                payload = f"[{','.join(parts[n].decode() for n in rest)}]"
            assert letter == ((payload, None) if rest else None)

        start = started(names["gone"], names["later of gone"])
        assert append(connection, start) == {"erased": 1}
        assert read(connection, len(texts), shape, ids) == expect(
            stored, known, *theirs, "later of gone"
        )
        assert read(connection, len(texts), shape, later) == [
            ("", "erased") if letter and "later of gone" in {sent[n] for n in group} else letter
            for group, letter in zip(groups, arrived, strict=True)
        ]


@pytest.mark.every_postgres
def test_what_an_ingest_of_an_earlier_version_writes_is_read_later(connection: Connection) -> None:
    """Of an erased learner, it is redacted, by whoever reads it."""
    append(connection, started("ann", "a-1"))
    forbid(connection, "ann")
    for event in (abandoned("ann") | OLD, answered("a-1") | OLD, abandoned("ben") | OLD):
        batch = {"messages": [{"message_id": event["event_id"], "subscription": ""}], "events": []}
        letter = {
            "n": 0, "message": 0, "index": 0, "kind": "invalid", "reason": "of old",
            "payload": json.dumps(event), "attributes": {},
        }  # fmt: skip
        connection.run(
            "SELECT event_store.append(CAST(:b AS jsonb))",
            b=json.dumps(batch | {"letters": [letter]}),
        )
    assert [letter["owners"] for letter in letters(connection)] == [None] * 3
    dead_letters.record_owners(connection)
    reasons = [letter["discard_reason"] for letter in letters(connection)]
    assert reasons == ["erased", "erased", None]


def test_every_writer_of_a_letter_records_its_owner(connection: Connection) -> None:
    ((learner, other, session),) = connection.run(
        "SELECT 'l:' || encode(event_store.erasure_digest('ann'), 'hex'),"
        " 'l:' || encode(event_store.erasure_digest('ben'), 'hex'),"
        " 's:' || encode(event_store.erasure_digest('a-1'), 'hex')"
    )
    first = started("ann", "a-1")
    append(connection, first)
    append(connection, first | {"data": first["data"] | {"item_count": 2}})  # a conflict
    append(connection, started("ann", "a-1") | {"data": first["data"] | {"user_id": "ben"}})
    append(connection, answered("a-1") | LATE)
    append(connection, abandoned("ann") | OLD)
    connection.run("SELECT event_store.mark_poisoned('0123456789ab', 1, 'test')")
    found = [(letter["kind"], letter["owners"]) for letter in letters(connection)]
    assert found == [
        ("conflict", [learner]),
        ("session_owner", [other]),
        ("future", [session]),
        ("invalid", [learner]),
        ("poisoned", [learner]),
    ]


def test_an_erasure_redacts_no_letters_of_another_learner_who_is_erased(
    connection: Connection,
) -> None:
    for learner in ("ann", "ben"):
        append(connection, started(learner, f"of {learner}"))
        append(connection, answered(f"of {learner}") | OLD)
        append(connection, abandoned(learner) | OLD, attributes={"causation_id": learner})
    ann, _ = forbid(connection, "ann"), forbid(connection, "ben")
    assert count_letters(connection, ann) == (2, 0)
    redact_letters(connection, ann)
    found = letters(connection)
    assert [letter["discard_reason"] for letter in found] == ["erased", "erased", None, None]
    assert {(str(one["attributes"]), one["event_id"]) for one in found[:2]} == {("{}", None)}


def test_a_replayed_bundle_keeps_the_owners_that_were_sent(connection: Connection) -> None:
    """Its payload is masked, so the entries name somebody else."""
    event = json.dumps(abandoned("ann@example.org") | OLD)
    append(connection, bundle("{}", event, event), attributes={"causation_id": "of theirs"})
    before = letters(connection)[-1]
    dead_letters.replay(connection, before["letter_id"])
    after = letters(connection)[envelope.MOST_REJECTIONS :]
    assert [letter["owners"] for letter in after] == [
        [o] for o in (*before["owners"], before["owners"][1])
    ]
    redact_letters(connection, forbid(connection, "ann@example.org"))
    left = letters(connection)[envelope.MOST_REJECTIONS :]
    assert [letter["discard_reason"] for letter in left] == [None, "erased", "erased"]
    assert {(str(letter["attributes"]), letter["event_id"]) for letter in left} == {("{}", None)}


def test_a_large_entry_has_an_owner(connection: Connection) -> None:
    event = abandoned("ann")
    event["data"]["note"] = "x" * (1 << 20)
    append(connection, event)
    append(connection, json.dumps(event).encode()[:-1])
    redact_letters(connection, forbid(connection, "ann"))
    closed, emptied = letters(connection)
    assert (closed["payload"], closed["discard_reason"]) == ("", "erased")
    assert (emptied["payload"], emptied["discard_reason"]) == ("", None)
