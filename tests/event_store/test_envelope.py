"""Every payload is recorded, as events or as rejections that name the violated rule."""

import json
from typing import Any
from uuid import NAMESPACE_OID, uuid4, uuid5

from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.event_store import envelope, log
from progress.event_store.entries import TIME_SOURCE, Message, ParsedEvent, Rejection
from progress.event_store.timestamps import parse as moment
from progress.ingest import push
from tests.conftest import Store
from tests.support.pushes import encode_push

GOOD: dict[str, Any] = {
    "event_id": "0191F0C4-0000-4000-8000-00000000000A",
    "event_type": "CorrectAnswerGiven",
    "occurred_at": "2024-03-29T20:32:32.250Z",
    "data": {"session_id": "s-1", "item_id": "i-9", "response_time_ms": 2506},
    "metadata": {"user_id": "u-1", "correlation_id": "c-1"},
}
PUBLISHED = moment("2024-05-01T12:00:00Z", "")


def decoded(payload: bytes | Any, **attributes: str) -> list[ParsedEvent | Rejection]:
    text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return envelope.decode(text, Message(published_at=PUBLISHED, attributes=attributes))


def event(payload: bytes | Any, **attributes: str) -> ParsedEvent:
    (entry,) = decoded(payload, **attributes)
    assert isinstance(entry, ParsedEvent), entry
    return entry


def letter(payload: bytes | Any, **attributes: str) -> tuple[str, str]:
    (entry,) = decoded(payload, **attributes)
    assert isinstance(entry, Rejection), entry
    return entry.kind, entry.reason


def with_data(**fields: Any) -> dict[str, Any]:
    return {**GOOD, "data": {**GOOD["data"], **fields}}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def literal(text: str) -> bytes:
    return json.dumps(with_data(note="HERE")).replace('"HERE"', text).encode()


def test_an_empty_array_has_no_entries() -> None:
    assert decoded(b" [ ]\n") == []


def test_a_malformed_payload_is_rejected_with_the_reason() -> None:
    for payload, reason in [
        (b"", "expected JSON, found nothing - at $"),
        (b"null", "expected an object - at $"),
        (b"[" * 5_000 + b"]" * 5_000, "expected an object - at $"),
        (b"[" * 5_000, "expected JSON"),
        (b'{"a":' * 5_000, "expected JSON"),
        (b"\xff\xfe{}", "expected UTF-8 - at byte 0"),
        (b'[{"a": 1}, "\xff"]', "expected UTF-8 - at byte 12"),
        (b'[{"a": 1}, {"b": 2}', "expected JSON - at byte 19"),
        (b'[{"a": 1}] {}', "expected JSON - at byte 12"),
        (b'[{"a": 1}, {"a": "\\ud800"}, {"a": 1,}]', "expected JSON"),
        (b"[1,," + b"[" * 70 + b"]" * 71, "expected JSON"),
        (b'{"a": "\x00"}', "expected JSON - at character"),
        (b'{"a": NaN}', "expected JSON, found NaN"),
        (b"\xef\xbb\xbf{}", "expected JSON"),
        (b"{}", "expected event_id, found none - at $.event_id"),
        (without("event_id"), "expected event_id, found none - at $.event_id"),
        (without("event_type"), "expected event_type, found none - at $.event_type"),
        ({**GOOD, "event_type": None}, "expected event_type, found none - at $.event_type"),
        ({**GOOD, "event_type": None, "type": "New"}, "expected event_type, found none"),
        ({"event_id": "e", "type": 5}, "expected event_type, found none - at $.event_type"),
        ({**GOOD, "specversion": "1.0"}, "expected id, found none - at $.id"),
        ({"specversion": "1.0", "id": "e"}, "expected type, found none - at $.type"),
        (
            {"specversion": "1.0", "id": "e", "type": "New", "data": {}, "data_base64": "e30="},
            "expected data, found data_base64 - at $.data_base64",
        ),
        (with_data(note="x" * 1_048_576), "expected at most 1048576 bytes - at $"),
        ([[GOOD]], "expected an object - at $"),
    ]:
        kind, reported = letter(payload)
        assert kind == "malformed"
        assert reported.startswith(reason)


ID_RULE = "expected a string of 1 to 200 characters - at "
TIME_RULE = "expected an RFC 3339 time with an offset - at $.occurred_at"
GOAL_RULE = "expected an integer from 0 to 1,000, found none - at "
NO_DATA = "expected an object, found none: the event has no data - at $.data"
CLOUD_EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "source": "//app",
    "subject": "a learner",
    "id": GOOD["event_id"],
    "type": GOOD["event_type"],
    "time": GOOD["occurred_at"],
    "userid": "u-1",
    "data": GOOD["data"],
}
FLAT = {**GOOD["data"], "type": GOOD["event_type"]}


def test_an_invalid_event_is_rejected_with_the_violated_rule() -> None:
    for payload, reason in [
        ({**GOOD, "event_id": 5}, ID_RULE + "$.event_id"),
        ({**GOOD, "event_id": ""}, ID_RULE + "$.event_id"),
        ({**GOOD, "event_id": "x" * 201}, ID_RULE + "$.event_id"),
        ({**GOOD, "event_type": 5}, ID_RULE + "$.event_type"),
        ({**GOOD, "data": []}, "expected an object - at $.data"),
        ({**GOOD, "metadata": "x"}, "expected an object - at $.metadata"),
        ({**GOOD, "metadata": {"user_id": 5}}, ID_RULE + "$.metadata.user_id"),
        (with_data(user_id=""), ID_RULE + "$.data.user_id"),
        (with_data(session_id="s" * 201), ID_RULE + "$.data.session_id"),
        ({**GOOD, "event_type": "New", "data": {"item_id": 7}}, ID_RULE + "$.data.item_id"),
        ({**GOOD, "event_type": "New", "data": {"group_id": ""}}, ID_RULE + "$.data.group_id"),
        ({**without("data"), "event_data": [], "x": 1}, "expected an object - at $.event_data"),
        ({**without("data"), "event_data": {"user_id": 5}}, ID_RULE + "$.event_data.user_id"),
        ({"event_id": "e", "type": ""}, ID_RULE + "$.type"),
        ({"event_id": "e", "type": "New", "user_id": 5}, ID_RULE + "$.user_id"),
        ({"event_id": "e", "type": "GoalSet", "user_id": "u"}, GOAL_RULE + "$.answers_per_day"),
        ({"specversion": "1.0", "id": 5, "type": "New"}, ID_RULE + "$.id"),
        ({**CLOUD_EVENT, "time": 5}, "expected an RFC 3339 time with an offset - at $.time"),
        ({**CLOUD_EVENT, "userid": 5}, ID_RULE + "$.userid"),
        ({**CLOUD_EVENT, "data": "<x/>"}, "expected an object - at $.data"),
        ({**CLOUD_EVENT, "data": None, "session_id": "s"}, NO_DATA),
        (without("data"), NO_DATA),
        ({**without("data"), "data": None, **GOOD["data"]}, NO_DATA),
        ({**GOOD, "data": {}}, ID_RULE.replace(" -", ", found none -") + "$.data.session_id"),
        ({**GOOD, "occurred_at": 5}, TIME_RULE),
        ({**GOOD, "occurred_at": "2024-03-29T20:32:32"}, TIME_RULE),
        ({**GOOD, "occurred_at": "2024-03-29 20:32:32Z"}, TIME_RULE),
        ({**GOOD, "occurred_at": "2024-02-30T00:00:00Z"}, TIME_RULE),
        ({**GOOD, "occurred_at": "2024-03-29T24:00:00Z"}, TIME_RULE),
        (
            {**GOOD, "occurred_at": "2000-01-01T00:00:00+00:01"},
            "expected a time from 2000-01-01 on - at $.occurred_at",
        ),
        (literal('"\\u0000"'), "expected a string without U+0000 - at $.data.note"),
        (literal('"\\ud800"'), "expected a string without lone surrogates - at $.data.note"),
        (literal('{"\\udfff":1}'), "expected a string without lone surrogates - at $.data.note"),
        (literal('[1, "\\u0000"]'), "expected a string without U+0000 - at $.data.note[1]"),
        (literal("9" * 309), "expected a number that is a finite double - at $.data.note"),
        (literal("1e400"), "expected a number that is a finite double - at $.data.note"),
        (literal("-" + "9" * 400), "expected a number that is a finite double - at $.data.note"),
        (literal("9" * 9_000), "expected a number that is a finite double - at $.data.note"),
        (literal("[" * 63 + "]" * 63), "expected at most 64 levels - at $"),
        (literal('{"a":' * 5_000 + "1" + "}" * 5_000), "expected at most 64 levels - at $"),
    ]:
        assert letter(payload) == ("invalid", reason)


def test_the_largest_values_that_the_database_can_hold_are_appended(connection: Connection) -> None:
    for text in (
        *("[" * 62 + "]" * 62, "9" * 308, "1e308", "5e-324", "1e-400"),
        *('"\\ud83d\\ude00"', '"\\\\u0000"'),
    ):
        payload = literal(text).replace(GOOD["event_id"].encode(), str(uuid4()).encode())
        appended = log.append(connection, [push.parse_delivery(encode_push(payload))])
        assert appended.outcomes == {"appended": 1}, text


def test_an_invalid_event_does_not_affect_its_neighbours() -> None:
    deep = literal("[" * 5_000 + "]" * 5_000)
    array = (
        b"[" + b",".join([json.dumps(GOOD).encode(), deep, b'"\\ud800"', b"7", literal("1")]) + b"]"
    )
    kinds = [e.kind if isinstance(e, Rejection) else "event" for e in decoded(array)]
    assert kinds == ["event", "invalid", "malformed", "malformed", "event"]


def test_any_text_is_accepted_as_an_event_id() -> None:
    parsed = event({**GOOD, "event_id": "answer 17"})
    assert parsed.event_id == "cbf42f3c-68e2-5ea5-88ea-fd6c96d6b84a"
    assert parsed.metadata["source_id"] == "answer 17"


def test_an_event_may_have_another_form() -> None:
    for body, metadata in [
        ({**without("data"), "event_data": GOOD["data"]}, GOOD["metadata"]),
        ({**without("data"), "data": None, "event_data": GOOD["data"]}, GOOD["metadata"]),
        ({**GOOD, "event_data": {"other": 1}}, GOOD["metadata"]),
        ({**GOOD, "event_data": 5, "specversion": None}, GOOD["metadata"]),
        ({**GOOD, "type": "SessionAbandoned"}, GOOD["metadata"]),
        ({**GOOD, "metadata": {TIME_SOURCE: "publish_time"}}, {}),
        ({**GOOD, "event_type": None, "data": None, **FLAT}, GOOD["metadata"]),
        ({**FLAT, "event_id": GOOD["event_id"], "occurred_at": GOOD["occurred_at"]}, {}),
        (CLOUD_EVENT, {"user_id": "u-1"}),
        ({**CLOUD_EVENT, "userid": None, "data_base64": None}, {}),
        (
            {**CLOUD_EVENT, "event_id": 5, "event_type": 5, "occurred_at": 5, "event_data": 5}
            | {"metadata": {"user_id": "u-2"}},
            {"user_id": "u-1"},
        ),
    ]:
        parsed = event(body, event_type="New")  # the body wins
        assert (parsed.event_id, parsed.event_type) == (GOOD["event_id"], GOOD["event_type"])
        assert parsed.occurred_at == moment(GOOD["occurred_at"], "")
        assert (parsed.data, parsed.metadata) == (GOOD["data"], metadata)


def test_attributes_fill_in_what_a_cloud_event_and_a_flat_event_omit() -> None:
    attributes = {"event_id": "e", "occurred_at": "2024-01-02T00:00:00Z", "user_id": "u-7"}
    bare = {"specversion": "1.0", "type": GOOD["event_type"], "data": GOOD["data"]}
    for body in (bare, FLAT):
        parsed = event(body, **attributes)
        assert parsed.metadata == {"source_id": "e", "user_id": "u-7"}
        assert parsed.occurred_at == moment("2024-01-02T00:00:00Z", "")
    parsed = event({**bare, "type": None}, **attributes, event_type=GOOD["event_type"])
    assert parsed.event_type == GOOD["event_type"]


def derived(body: Any, message_id: str = "m") -> list[str]:
    entries = push.parse_delivery(encode_push(body, message_id=message_id)).entries
    return [entry.event_id or "" for entry in entries if isinstance(entry, ParsedEvent)]


def test_an_event_of_a_message_without_an_id_gets_that_of_its_message_and_index() -> None:
    names = [f"pubsub:projects/p/subscriptions/s:m:{index}" for index in range(3)]
    ids = [str(uuid5(NAMESPACE_OID, name)) for name in names]
    bare = without("event_id")
    assert derived(bare) == derived({**bare, "event_id": None}) == derived(FLAT) == ids[:1]
    assert derived([bare, {**bare, "event_id": "own"}, FLAT])[::2] == ids[::2]
    assert derived(bare, message_id="n") != ids[:1]
    (entry,) = push.parse_delivery(encode_push([without("event_type")])).entries
    assert isinstance(entry, Rejection)
    assert entry.reason == "expected event_type, found none - at $.event_type"
    unnamed = encode_push(bare).replace(b'"messageId"', b'"ignored"')
    (entry,) = push.parse_delivery(unnamed).entries
    assert isinstance(entry, Rejection)
    assert (entry.kind, entry.reason[:17]) == ("malformed", "expected event_id")


def test_an_rfc_3339_time_is_converted_to_utc() -> None:
    for written, read in [
        ("2024-03-29t20:32:32z", "2024-03-29T20:32:32Z"),
        ("2024-03-29T23:59:60Z", "2024-03-30T00:00:00Z"),
        ("2024-03-29T23:59:60.5+01:00", "2024-03-29T23:00:00.5Z"),
        ("2024-03-29T20:32:32.1234569Z", "2024-03-29T20:32:32.123456Z"),
        ("2024-03-29T20:32:32.5-23:59", "2024-03-30T20:31:32.5Z"),
        ("9999-12-31T23:59:59-01:00", "9999-12-31T23:59:59.999999Z"),
    ]:
        assert event({**GOOD, "occurred_at": written}).occurred_at == moment(read, "")


def test_the_event_time_is_taken_from_the_first_available_of_four_sources() -> None:
    bare = without("occurred_at")
    stamped = {**bare, "metadata": {"timestamp": "2024-01-01T00:00:00Z"}}
    attribute = "2024-01-02T00:00:00Z"
    assert event(stamped, occurred_at=attribute).occurred_at == moment("2024-01-01T00:00:00Z", "")
    assert event(bare, occurred_at=attribute).occurred_at == moment(attribute, "")
    last = event(bare)
    assert (last.occurred_at, last.metadata[TIME_SOURCE]) == (PUBLISHED, "publish_time")
    assert letter(bare, occurred_at="soon")[1].endswith("at attributes.occurred_at")
    (none,) = envelope.decode(json.dumps(bare).encode(), Message())
    assert isinstance(none, Rejection)
    assert none.reason.endswith("found none - at $.occurred_at")


def test_attributes_fill_in_fields_that_the_body_omits() -> None:
    body = {"data": GOOD["data"], "metadata": {"correlation_id": "mine"}}
    attributes = {
        "event_id": "e",
        "event_type": "CorrectAnswerGiven",
        "user_id": "u-7",
        "correlation_id": "theirs",
        "causation_id": "c",
    }
    parsed = event(body, **attributes)
    assert (parsed.learner, parsed.event_type) == ("u-7", "CorrectAnswerGiven")
    assert parsed.metadata == {
        "user_id": "u-7",
        "correlation_id": "mine",
        "causation_id": "c",
        "source_id": "e",
        TIME_SOURCE: "publish_time",
    }
    assert letter([body], **attributes)[0] == "malformed"  # each event of an array needs its own id
    data = {"user_id": "u-1", "causation_id": "of the data", **GOOD["data"]}
    own = event({**body, "event_id": "x", "data": data}, **attributes)
    assert own.learner == "u-1"
    assert "user_id" not in own.metadata
    assert own.metadata["causation_id"] == "c"


STARTED = {
    **GOOD,
    "event_type": "SessionStarted",
    "data": {"session_id": "s-1", "user_id": "u-1", "item_count": 1},
}


def test_the_learner_and_the_session_and_the_stream_are_derived_from_the_event() -> None:
    for payload, learner, session, stream in [
        (without("metadata"), None, "s-1", None),
        ({**GOOD, "event_type": "ItemArchived"}, None, None, "item-i-9"),
        (GOOD, "u-1", None, None),
        (STARTED, "u-1", "s-1", None),
        ({**GOOD, "event_type": "New"}, "u-1", None, "other-New"),
        ({"event_id": "e", "event_type": "New"}, None, None, "other-New"),
        ({**GOOD, "event_type": "UserDeleted", "data": {}}, "u-1", None, None),
    ]:
        parsed = event(payload)
        assert (parsed.learner, parsed.session_id, parsed.stream_id) == (learner, session, stream)


CREATED = {"event_id": "e", "event_type": "UserCreated", "occurred_at": "2024-01-01T00:00:00Z"}


def test_an_event_that_a_learner_posts_is_the_learner_s_whatever_else_its_metadata_says() -> None:
    message = Message(published_at=PUBLISHED, learner="ann")
    for metadata in (None, {}, {"correlation_id": "c"}, {"user_id": "ann"}):
        body = {**GOOD, "event_id": str(uuid4()), "metadata": metadata}
        (entry,) = envelope.decode(json.dumps(body).encode(), message)
        assert isinstance(entry, ParsedEvent), entry
        assert entry.metadata["user_id"] == entry.learner == "ann"


def test_email_addresses_are_masked() -> None:
    data = {"user_id": "ann@b.org", "email": "ann@b.org", "note": "write to ann@b.org"}
    parsed = event({**CREATED, "data": data, "metadata": {"by": "ann@b.org"}})
    assert parsed.data == {
        "user_id": "ann@b.org",
        "email": "a***@b.org",
        "note": "write to a***@b.org",
    }
    assert parsed.metadata["by"] == "a***@b.org"
    escaped = json.dumps({**CREATED, "data": data}).replace('"email"', '"\\u0065mail"').encode()
    assert event(escaped).data["email"] == "a***@b.org"
    assert event({**CREATED, "event_type": "New", "data": {"a": [{"email": "x@y.z"}]}}).data == {
        "a": [{"email": "x***@y.z"}]
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.text('\0\ud800@{"\\'),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)
near_events = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(["event_data", "userid", "data_base64", "score"], json_values),
        "specversion": st.just("1.0") | json_values,
        "type": st.sampled_from(["UserCreated", "SessionCompleted", "New"]) | json_values,
        **dict.fromkeys(["id", "user_id", "session_id"], st.text(max_size=2) | json_values),
        "time": st.datetimes().map(lambda t: t.isoformat() + "Z") | json_values,
        "event_id": st.uuids().map(str) | json_values,
        "event_type": st.sampled_from(["UserCreated", "ItemPublished", "New"]) | json_values,
        "occurred_at": st.datetimes().map(lambda t: t.isoformat() + "Z") | json_values,
        "data": st.dictionaries(
            st.sampled_from(["user_id", "item_id", "email", "domains", "timezone", "type"]),
            json_values,
        )
        | json_values,
        "metadata": json_values,
    },
)
payloads = (
    st.binary(max_size=60)
    | json_values.map(lambda v: json.dumps(v).encode())
    | near_events.map(lambda v: json.dumps(v).encode())
    | st.lists(near_events | json_values, max_size=4).map(lambda v: json.dumps(v).encode())
)


@given(
    payload=payloads,
    attributes=st.dictionaries(
        st.sampled_from(["event_id", "event_type", "occurred_at", "user_id"]),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9),
    ),
)
def test_every_entry_of_any_payload_is_recorded(
    store: Store, payload: bytes, attributes: dict[str, str]
) -> None:
    connection = store.connect()
    delivery = push.parse_delivery(encode_push(payload, attributes=attributes))
    appended = log.append(connection, [delivery])
    connection.close()
    assert sum(appended.outcomes.values()) == len(delivery.entries)
