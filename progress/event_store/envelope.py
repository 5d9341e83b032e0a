"""The bytes of one message, read: events to append, and letters about what is none.

A well-formed event takes one decoding by msgspec; what looks unusual (an escape, a long run of
digits, many brackets, whatever the decoder refuses) is read again by `json_input`, with care.
"""

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import msgspec

from progress import masking
from progress.errors import SerializationError
from progress.event_store import bundles, events, json_input, timestamps

_Mask = Callable[[str], str]
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ATTRIBUTES = frozenset(
    {"event_id", "event_type", "occurred_at", "user_id", "correlation_id", "causation_id"}
)
_MOST_BYTES = 1_048_576

# In the metadata of an event whose time is its message's publish time: another delivery of the
# event may carry another, so that it is not compared.
TIME_SOURCE = "occurred_at_source"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Where events came from. `''` for a subscription or topic that the transport does not tell."""

    subscription: str = ""
    topic: str = ""
    message_id: str = ""
    published_at: datetime | None = None
    attributes: dict[str, str] = {}
    is_replay: bool = False  # the events are ours: their metadata keeps our own marks


class Arrival(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A valid event, as `event_store.arrival` has it."""

    index: int
    event_id: str
    event_type: str
    occurred_at: datetime
    data: dict[str, Any]
    metadata: dict[str, Any]
    learner: str | None = None
    session_id: str | None = None
    stream_id: str | None = None
    message: int = 0


class Letter(msgspec.Struct, kw_only=True):
    """What is no event: the rule that it breaks, and itself with its addresses masked.

    `arrival` is there where the event could be read, to tell whether it is stored already.
    `indexes` is a bundle's: runs of the places where its entries stood, first and last of each.
    """

    index: int
    kind: str
    reason: str
    payload: str
    event_id: str | None = None
    event_type: str | None = None
    attributes: dict[str, str] = {}
    arrival: Arrival | None = None
    indexes: list[list[int]] | None = None


def decode(payload: bytes, message: Message) -> list[Arrival | Letter]:
    """One entry for each event of the message, in its order; none for an empty array.

    Of the entries that are malformed or invalid, those after the first 999 share one letter.
    """
    try:
        parts = json_input.elements(payload)
        if parts is not None:
            return _entries(enumerate(parts), message)
    except json_input.NotJson as fault:
        return [malformed(payload, 0, str(fault))]
    return [_entry(payload, 0, message, single=True)]


def decode_bundle(
    payload: bytes, runs: Iterable[list[int]], message: Message
) -> list[Arrival | Letter]:
    """Decode a bundle's entries, each with its index in the message; ValueError if it is none."""
    parts = json_input.elements(payload) or []
    return _entries(zip(bundles.indexes(runs), parts, strict=True), message)


def _entries(parts: Iterable[tuple[int, bytes]], message: Message) -> list[Arrival | Letter]:
    entries: list[Arrival | Letter] = []
    letters, others = 0, bundles.Bundle()
    for index, part in parts:
        entry = None
        if letters < bundles.MOST_LETTERS or not bundles.is_faulty(part):
            entry = _entry(part, index, message, single=False)
        if isinstance(entry, Arrival):
            entries.append(entry)
        elif entry is not None and letters < bundles.MOST_LETTERS:
            entries.append(entry)
            letters += 1
        else:
            others.add(part, index)
    if others.runs:
        bundle = _letter(others.payload(), others.runs[0][0], bundles.REASON)
        bundle.indexes = others.runs
        bundle.attributes = _used(_without_id(message.attributes))
        entries.append(bundle)
    return entries


def malformed(payload: bytes, index: int, reason: str) -> Letter:
    """A letter about what is no JSON, as it was received."""
    return _letter(payload, index, reason, masking.mask_shapes)


def _letter(payload: bytes, index: int, reason: str, mask: _Mask = masking.mask_json) -> Letter:
    readable = payload.decode("utf-8", "backslashreplace").replace("\0", "\\x00")
    return Letter(index=index, kind="malformed", reason=reason, payload=mask(readable))


def _entry(part: bytes, index: int, message: Message, *, single: bool) -> Arrival | Letter:
    if len(part) > _MOST_BYTES:
        mask = masking.mask_shapes if single else masking.mask_json  # one alone may be no JSON
        return _letter(part, index, f"expected at most {_MOST_BYTES} bytes - at $", mask)
    try:
        body, strange = json_input.decode(part)
    except json_input.NotJson as fault:
        return malformed(part, index, str(fault))
    if type(body) is not dict:
        return _letter(part, index, "expected an object - at $")
    reading = _Reading(body, message, single=single)
    missing = reading.missing()
    if missing:
        return _letter(part, index, f"expected {missing}, found none - at $.{missing}")
    try:
        if strange:
            raise SerializationError(strange)
        return reading.arrival(index, may_hold_email=b"email" in part or b"\\u00" in part)
    except SerializationError as fault:
        letter = _letter(part, index, str(fault))
        letter.kind = "invalid"
        letter.attributes = _used(reading.attributes)
        letter.event_id = json_input.printable(reading.event_id)
        letter.event_type = json_input.printable(reading.event_type)
        letter.arrival = reading.read
        return letter


class _Reading:
    """One object on its way to be an arrival."""

    __slots__ = ("attributes", "body", "data", "event_id", "event_type", "message", "read")

    def __init__(self, body: dict[str, Any], message: Message, *, single: bool) -> None:
        self.body = body
        self.message = message
        self.attributes = message.attributes
        if self.attributes and not single:
            self.attributes = _without_id(self.attributes)
        self.data = body.get("data")
        self.event_id = body.get("event_id")
        if self.event_id is None:
            self.event_id = self.attributes.get("event_id")
        self.event_type = body.get("event_type")
        if self.event_type is None and type(self.data) is dict:
            self.event_type = self.data.get("type")
        if self.event_type is None:
            self.event_type = self.attributes.get("event_type")
        self.read: Arrival | None = None

    def missing(self) -> str | None:
        """What it is malformed without."""
        if self.event_id is None:
            return "event_id"
        return "event_type" if self.event_type is None else None

    def arrival(self, index: int, *, may_hold_email: bool) -> Arrival:
        """The event; SerializationError where it is invalid."""
        event_type = _bounded(self.event_type, "$.event_type")
        data = _object(self.data, "$.data")
        metadata = self._metadata(data)
        event_id = _bounded(self.event_id, "$.event_id")
        if not _UUID.fullmatch(event_id):
            metadata["source_id"] = event_id
            event_id = str(uuid5(NAMESPACE_OID, event_id))
        moment = self._moment(metadata)
        for name in ("user_id", "session_id", "item_id"):
            if data.get(name) is not None:
                _bounded(data[name], f"$.data.{name}")
        if metadata.get("user_id") is not None:
            _bounded(metadata["user_id"], "$.metadata.user_id")
        if may_hold_email:
            masked = masking.mask_emails({"data": data, "metadata": metadata})
            data, metadata = masked["data"], masked["metadata"]
        arrival = self._placed(event_id, event_type, moment, data, metadata)
        arrival.index = index
        self._check(arrival)
        return arrival

    def _metadata(self, data: dict[str, Any]) -> dict[str, Any]:
        metadata = _object(self.body.get("metadata"), "$.metadata")
        if not self.message.is_replay:
            metadata.pop(TIME_SOURCE, None)
        if self.attributes:
            for name in ("user_id", "correlation_id", "causation_id"):
                given = self.attributes.get(name)
                held = data.get(name) if name == "user_id" else None
                if given is not None and metadata.get(name) is None and held is None:
                    metadata[name] = given
        return metadata

    def _moment(self, metadata: dict[str, Any]) -> datetime:
        """When it happened: the first that is given of its four sources."""
        for given, where in (
            (self.body.get("occurred_at"), "$.occurred_at"),
            (metadata.get("timestamp"), "$.metadata.timestamp"),
            (self.attributes.get("occurred_at"), "attributes.occurred_at"),
        ):
            if given is not None:
                return timestamps.read(given, where)
        if self.message.published_at is None:
            raise SerializationError(f"expected {timestamps.RULE}, found none - at $.occurred_at")
        metadata[TIME_SOURCE] = "publish_time"
        return self.message.published_at

    @staticmethod
    def _placed(
        event_id: str,
        event_type: str,
        moment: datetime,
        data: dict[str, Any],
        metadata: dict[str, Any],
    ) -> Arrival:
        """The event with its stream, or with the session that leads to it: no other is read."""
        declared = events.CATALOGUE.get(event_type)
        learner, session_id, stream_id = data.get("user_id"), data.get("session_id"), None
        if learner is None:
            learner = metadata.get("user_id")
        if declared is None:
            stream_id = f"other-{event_type}"
        elif issubclass(declared, events.ItemEvent):
            learner = session_id = None
            stream_id = f"item-{data.get('item_id')}"
        if learner is not None and event_type != "SessionStarted":
            session_id = None
        return Arrival(
            index=0,
            event_id=event_id,
            event_type=event_type,
            occurred_at=moment,
            data=data,
            metadata=metadata,
            learner=learner,
            session_id=session_id,
            stream_id=stream_id,
        )

    def _check(self, arrival: Arrival) -> None:
        """The rules that may be others one day: an event that breaks them may be stored."""
        self.read = arrival
        if arrival.occurred_at < timestamps.EARLIEST:
            raise SerializationError("expected a time from 2000-01-01 on - at $.occurred_at")
        declared = events.CATALOGUE.get(arrival.event_type)
        if declared is None:
            return
        data = arrival.data
        if arrival.learner is not None and data.get("user_id") is None:
            data = {**data, "user_id": arrival.learner}
        events.check(declared, data)


def _used(attributes: dict[str, str]) -> dict[str, str]:
    """Those that fill in for a body, as a letter keeps them for its replay."""
    return {n: masking.mask_shapes(v) for n, v in attributes.items() if n in _ATTRIBUTES}


def _without_id(attributes: dict[str, str]) -> dict[str, str]:
    """An id in the attributes is one event's, not an array's."""
    return {name: value for name, value in attributes.items() if name != "event_id"}


def _object(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if type(value) is not dict:
        raise SerializationError(f"expected an object - at {where}")
    return value


def _bounded(value: Any, where: str) -> str:
    if type(value) is not str or not 1 <= len(value) <= 200:
        raise SerializationError(f"expected a text of 1 to 200 characters - at {where}")
    return value
