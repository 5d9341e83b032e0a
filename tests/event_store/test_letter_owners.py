"""Whose a dead letter is, and what an erasure leaves of it, compared with the rule in words."""

import json
from contextlib import closing
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.event_store import dead_letters, envelope, owners
from tests.conftest import Store
from tests.event_store.test_erased import (
    LATE,
    OLD,
    abandoned,
    answered,
    append,
    bundle,
    forbid,
    letters,
    redact_letters,
    started,
)

NO_TEXT: list[Any] = [7, True, ["ann"], {}]
NO_ID = ["", "x" * 201]
NO_OBJECT = ["5", '"ann"', "[[]]"]
_learners = st.sampled_from([None, "gone", "kept", "gone", "kept", *NO_TEXT, *NO_ID])
_sessions = st.sampled_from([None, "of gone", "of kept", "later of gone", "of gone", 7, ""])


class Entry(NamedTuple):
    """An entry in a form, with the ids or other values that it holds."""

    form: str
    in_data: Any
    in_metadata: Any
    session: Any
    no_object: str | None

    def text(self, names: dict[str, str]) -> str:
        if self.no_object:
            return self.no_object
        ids = {"user_id": self.in_data, "session_id": self.session}
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
        """Return the id that owns the entry, NOBODY or UNKNOWN, as the contract says."""
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
    st.none() | st.none() | st.none() | st.sampled_from(NO_OBJECT),
)


def _name(are_addresses: bool) -> dict[str, str]:
    """Return ids that no other example has; in a payload, addresses are masked."""
    tail = "@example.org" if are_addresses else ""
    known = ("gone", "kept", "of gone", "of kept", "later of gone")
    return {name: f"{name[::-1]}-{uuid4()}{tail}".replace(" ", "-") for name in known}


class Letters(NamedTuple):
    """What is delivered: each entry alone, all in a batch, or in a bundle."""

    entries: list[Entry]
    shape: str
    attribute: str | None
    are_addresses: bool
    is_earlier: bool  # whether an earlier version has written them

    @property
    def groups(self) -> list[list[int]]:
        """The entries of each letter."""
        numbers = [*range(len(self.entries))]
        return [numbers] if self.shape == "bundle" else [[n] for n in numbers]

    def owned(self) -> list[Any]:
        return [entry.owner(self.attribute) for entry in self.entries]

    def known(self) -> list[Any]:
        """Return the owners that are recorded."""
        is_masked = self.are_addresses and self.is_earlier
        special = (owners.NOBODY, owners.UNKNOWN)
        return [o if o in special or not is_masked else owners.UNKNOWN for o in self.owned()]

    def deliver(self, connection: Connection, names: dict[str, str]) -> list[str]:
        """Deliver the entries; return the id of each one's message."""
        texts = [entry.text(names) for entry in self.entries]
        named = {} if self.attribute is None else {"user_id": names.get(self.attribute, "")}
        bodies = [(text.encode(), str(uuid4())) for text in texts]
        if self.shape != "each":
            body = f"[{','.join(texts)}]".encode()
            bodies = [(bundle(*texts) if self.shape == "bundle" else body, str(uuid4()))]
        for body, message_id in bodies:
            append(connection, body, message_id=message_id, attributes=named)
        return [message_id for _, message_id in bodies * (len(texts) // len(bodies))]

    def read(self, connection: Connection, ids: list[str]) -> list[tuple[str, str | None] | None]:
        """Return the payload of each letter, and why it is closed; None if it is not there."""
        first = {"each": None, "batch": 0, "bundle": envelope.MOST_REJECTIONS}[self.shape]
        found = {
            (letter["message_id"], letter["index_in_message"]): letter
            for letter in letters(connection)
        }
        places = [
            (ids[group[0]], 0 if first is None else first + group[0]) for group in self.groups
        ]
        rows = [found.get(place) for place in places]
        return [None if row is None else (row["payload"], row["discard_reason"]) for row in rows]

    def expect(self, before: list[Any], *gone: str) -> list[Any]:
        """Return what an erasure of these owners leaves of the letters that were there."""
        known = self.known()
        left = []
        for group, letter in zip(self.groups, before, strict=True):
            of_group = {known[n] for n in group}
            is_theirs = of_group & {*gone}
            closed = ("", "erased") if is_theirs else letter
            left.append(("", None) if owners.UNKNOWN in of_group else closed)
        return left


_cases = st.builds(
    Letters,
    st.lists(_entries, min_size=1, max_size=6),
    st.sampled_from(["each", "batch", "batch", "bundle"]),
    st.sampled_from([None, None, "gone", "kept", ""]),
    st.booleans(),
    st.booleans(),
)


@given(case=_cases)
def test_an_erasure_leaves_of_letters_what_the_rule_says(store: Store, case: Letters) -> None:
    names = _name(case.are_addresses)
    with closing(store.connect()) as connection:
        append(connection, started(names["gone"], names["of gone"]))
        append(connection, started(names["kept"], names["of kept"]))
        first = case.deliver(connection, names)
        stored = case.read(connection, first)
        if case.is_earlier:
            connection.run("UPDATE event_store.dead_letters SET owners = NULL WHERE payload <> ''")
        digest = forbid(connection, names["gone"])
        while dead_letters.record_owners(connection):
            pass
        redact_letters(connection, digest)
        assert case.read(connection, first) == case.expect(stored, "gone", "of gone")

        second = case.deliver(connection, names)
        arrived = case.read(connection, second)
        owned = case.owned()
        rests = [[n for n in group if owned[n] not in {"gone", "of gone"}] for group in case.groups]
        for group, rest, before, letter in zip(case.groups, rests, stored, arrived, strict=True):
            assert bool(letter) == bool(rest)
            assert letter == before or len(rest) < len(group)

        start = started(names["gone"], names["later of gone"])
        assert append(connection, start) == {"erased": 1}
        every = ("gone", "of gone", "later of gone")
        assert case.read(connection, first) == case.expect(stored, *every)
        is_theirs = ["later of gone" in {owned[n] for n in rest} for rest in rests]
        assert case.read(connection, second) == [
            ("", "erased") if gone else letter
            for gone, letter in zip(is_theirs, arrived, strict=True)
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
    assert dead_letters.record_owners(connection) == 3
    assert dead_letters.record_owners(connection) == 0
    reasons = [letter["discard_reason"] for letter in letters(connection)]
    assert reasons == ["erased", "erased", None]


def test_every_writer_of_a_letter_records_its_owner(connection: Connection) -> None:
    digests = {
        kind: f"{kind[0]}:{digest.hex()}"
        for kind, digest in zip(
            ("learner", "session"),
            connection.run(
                "SELECT event_store.erasure_digest('ann'), event_store.erasure_digest('a-1')"
            )[0],
            strict=True,
        )
    }
    first = started("ann", "a-1")
    append(connection, first)
    append(connection, first | {"data": first["data"] | {"item_count": 2}})  # a conflict
    append(connection, started("ann", "a-1") | {"data": first["data"] | {"user_id": "ben"}})
    append(connection, answered("a-1") | LATE)
    append(connection, abandoned("ann") | OLD)
    connection.run("SELECT event_store.mark_poisoned('0123456789ab', 1, 'test')")
    found = [(letter["kind"], letter["owners"]) for letter in letters(connection)]
    assert found.pop(1)[0] == "session_owner"
    assert found == [
        ("conflict", [digests["learner"]]),
        ("future", [digests["session"]]),
        ("invalid", [digests["learner"]]),
        ("poisoned", [digests["learner"]]),
    ]


def test_a_replayed_bundle_keeps_the_owners_that_were_sent(connection: Connection) -> None:
    """Its payload is masked, so the entries name somebody else."""
    event = json.dumps(abandoned("ann@example.org") | OLD)
    append(connection, bundle("{}", event, event))
    before = letters(connection)[-1]
    dead_letters.replay(connection, before["letter_id"])
    after = letters(connection)[envelope.MOST_REJECTIONS :]
    assert [letter["owners"] for letter in after] == [
        [o] for o in (*before["owners"], before["owners"][1])
    ]
    redact_letters(connection, forbid(connection, "ann@example.org"))
    left = letters(connection)[envelope.MOST_REJECTIONS :]
    assert [letter["discard_reason"] for letter in left] == [None, "erased", "erased"]


def test_a_large_entry_has_an_owner(connection: Connection) -> None:
    event = abandoned("ann")
    event["data"]["note"] = "x" * (1 << 20)
    append(connection, event)
    append(connection, json.dumps(event).encode()[:-1])
    redact_letters(connection, forbid(connection, "ann"))
    closed, emptied = letters(connection)
    assert (closed["payload"], closed["discard_reason"]) == ("", "erased")
    assert (emptied["payload"], emptied["discard_reason"]) == ("", None)
