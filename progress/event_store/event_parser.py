"""Parse one JSON object of a message as an event, and check it against the catalogue."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import msgspec

from progress import masking
from progress.errors import SerializationError
from progress.event_store import events, timestamps

Mask = Callable[[str], str]

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# The ids that are checked in the data of every event. The check of LATER_IDS was added later, so
# recorded events may have invalid LATER_IDS. Redeliveries of these events are still recognized.
IDS = ("user_id", "session_id", "item_id")
LATER_IDS = ("group_id",)
_ATTRIBUTES = frozenset(
    {"event_id", "event_type", "occurred_at", "user_id", "correlation_id", "causation_id"}
)

# The metadata key that marks an event whose time is the publish time of its message. A redelivery
# may have another publish time. Therefore, this time is ignored when a redelivered event is
# compared with the recorded event.
TIME_SOURCE = "occurred_at_source"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """The message that contained the events; a field is empty if the transport does not set it."""

    subscription: str = ""
    topic: str = ""
    message_id: str = ""
    published_at: datetime | None = None
    attributes: dict[str, str] = {}
    is_replay: bool = False  # if true, events keep the TIME_SOURCE that ingest has set


class ParsedEvent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A valid event; SQL reads its JSON as an `event_store.incoming_event`."""

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


class EventParser:
    """A parser of one JSON object and the attributes of its message."""

    __slots__ = ("attributes", "body", "data", "event", "event_id", "event_type", "message")

    def __init__(self, body: dict[str, Any], message: Message, *, single: bool) -> None:
        self.body = body
        self.message = message
        self.attributes = message.attributes
        if self.attributes and not single:
            self.attributes = drop_event_id(self.attributes)
        self.data = body.get("data")
        self.event_id = body.get("event_id")
        if self.event_id is None:
            self.event_id = self.attributes.get("event_id")
        self.event_type = body.get("event_type")
        if self.event_type is None and type(self.data) is dict:
            self.event_type = self.data.get("type")
        if self.event_type is None:
            self.event_type = self.attributes.get("event_type")
        # `parse` sets this event even if the event breaks a rule of its type.
        self.event: ParsedEvent | None = None

    def missing_field(self) -> str | None:
        """Return a missing field that makes the object malformed, or None."""
        if self.event_id is None:
            return "event_id"
        return "event_type" if self.event_type is None else None

    def parse(self, index: int, *, may_hold_email: bool) -> ParsedEvent:
        """Return the event; raise SerializationError if it is invalid."""
        event_type = _parse_id(self.event_type, "$.event_type")
        data = _parse_object(self.data, "$.data")
        metadata = self._complete_metadata(data)
        event_id = _parse_id(self.event_id, "$.event_id")
        if not _UUID.fullmatch(event_id):
            metadata["source_id"] = event_id
            event_id = str(uuid5(NAMESPACE_OID, event_id))
        occurred_at = self._parse_time(metadata)
        _check_ids(data, IDS)
        if metadata.get("user_id") is not None:
            _parse_id(metadata["user_id"], "$.metadata.user_id")
        if may_hold_email:
            masked = masking.mask_emails({"data": data, "metadata": metadata})
            data, metadata = masked["data"], masked["metadata"]
        event = _assign_stream(event_id, event_type, occurred_at, data, metadata)
        event.index = index
        self.event = event
        _check_rules(event)
        return event

    def _complete_metadata(self, data: dict[str, Any]) -> dict[str, Any]:
        metadata = _parse_object(self.body.get("metadata"), "$.metadata")
        if not self.message.is_replay:
            metadata.pop(TIME_SOURCE, None)
        if self.attributes:
            for name in ("user_id", "correlation_id", "causation_id"):
                attribute = self.attributes.get(name)
                own = data.get(name) if name == "user_id" else None
                if attribute is not None and metadata.get(name) is None and own is None:
                    metadata[name] = attribute
        return metadata

    def _parse_time(self, metadata: dict[str, Any]) -> datetime:
        """Return `occurred_at`, from the first of its four sources that is present."""
        for text, where in (
            (self.body.get("occurred_at"), "$.occurred_at"),
            (metadata.get("timestamp"), "$.metadata.timestamp"),
            (self.attributes.get("occurred_at"), "attributes.occurred_at"),
        ):
            if text is not None:
                return timestamps.parse(text, where)
        if self.message.published_at is None:
            raise SerializationError(f"expected {timestamps.RULE}, found none - at $.occurred_at")
        metadata[TIME_SOURCE] = "publish_time"
        return self.message.published_at


def _assign_stream(
    event_id: str,
    event_type: str,
    occurred_at: datetime,
    data: dict[str, Any],
    metadata: dict[str, Any],
) -> ParsedEvent:
    """Create the event; its stream is the learner's, the session's learner's or `stream_id`."""
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
    return ParsedEvent(
        index=0,
        event_id=event_id,
        event_type=event_type,
        occurred_at=occurred_at,
        data=data,
        metadata=metadata,
        learner=learner,
        session_id=session_id,
        stream_id=stream_id,
    )


def _check_rules(event: ParsedEvent) -> None:
    """Raise SerializationError if the event breaks a rule of the catalogue.

    The log may nevertheless hold such an event, from a time before the rule was changed.
    """
    if event.occurred_at < timestamps.EARLIEST:
        raise SerializationError("expected a time from 2000-01-01 on - at $.occurred_at")
    _check_ids(event.data, LATER_IDS)
    declared = events.CATALOGUE.get(event.event_type)
    if declared is None:
        return
    data = event.data
    if event.learner is not None and data.get("user_id") is None:
        data = {**data, "user_id": event.learner}
    events.check(declared, data)


def keep_event_attributes(attributes: dict[str, str]) -> dict[str, str]:
    """Return the masked attributes that a replay may use to fill in missing fields of an event."""
    return {n: masking.mask_shapes(v) for n, v in attributes.items() if n in _ATTRIBUTES}


def drop_event_id(attributes: dict[str, str]) -> dict[str, str]:
    """Return the attributes without `event_id`, which cannot belong to all events of an array."""
    return {name: value for name, value in attributes.items() if name != "event_id"}


def _parse_object(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if type(value) is not dict:
        raise SerializationError(f"expected an object - at {where}")
    return value


def _check_ids(data: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if data.get(name) is not None:
            _parse_id(data[name], f"$.data.{name}")


def _parse_id(value: Any, where: str) -> str:
    if type(value) is not str or not 1 <= len(value) <= 200:
        raise SerializationError(f"expected a string of 1 to 200 characters - at {where}")
    return value
