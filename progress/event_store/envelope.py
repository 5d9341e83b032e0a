"""Decode the bytes of one message into events to append and rejections to keep as dead letters.

`json_input` decodes the JSON, and `forms` makes an envelope of an object in another form. A parser
completes the envelope from its message, and checks it against the catalogue.
"""

import contextlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from progress import masking
from progress.errors import SerializationError
from progress.event_store import events, forms, json_input, owners, rejections, timestamps
from progress.event_store.entries import (
    IDS,
    LATER_IDS,
    POSTED_BY,
    TIME_SOURCE,
    Message,
    ParsedEvent,
    Rejection,
    to_uuid,
)

_MOST_BYTES = 1_048_576
MOST_REJECTIONS = 999  # at most this many entries of a message get separate dead letters

_CARD = events.CardReviewed.__name__


def decode(payload: bytes, message: Message, *, index: int = 0) -> list[ParsedEvent | Rejection]:
    """Return one entry for each event of the message, in message order; [] for an empty array.

    The first 999 malformed or invalid entries get separate rejections. All others share one. A
    replay gives the `index` that an object had in its message.
    """
    try:
        parts = json_input.elements(payload)
        if parts is not None:
            return decode_parts(enumerate(parts), message)
    except json_input.NotJson as error:
        return [rejections.reject_bytes(payload, index, str(error))]
    return [decode_part(payload, index, message, single=True)]


def decode_parts(
    parts: Iterable[tuple[int, bytes]], message: Message, owner_of: Mapping[int, str] = {}
) -> list[ParsedEvent | Rejection]:
    """Return one entry for each part, which is JSON, with its index in the message.

    `owner_of` has the owners of a bundle that is replayed.
    """
    entries: list[ParsedEvent | Rejection] = []
    alone, bundle = 0, None
    needs_id, needs_type = not message.has_id, "event_type" not in message.attributes
    for index, part in parts:
        owner = owner_of.get(index, "")
        if alone < MOST_REJECTIONS or not _is_malformed(part, needs_id, needs_type):
            entry = decode_part(part, index, message, owner=owner)
            if isinstance(entry, ParsedEvent) or alone < MOST_REJECTIONS:
                entries.append(entry)
                alone += isinstance(entry, Rejection)
                continue
            owner = entry.owners[0]
        bundle = bundle or rejections.Bundle()
        bundle.add(part, index, owner or owners.find(part, message.attributes))
    if bundle:
        entries.append(bundle.to_rejection(message))
    return entries


def decode_part(
    part: bytes,
    index: int,
    message: Message,
    *,
    single: bool = False,
    owner: str = "",
) -> ParsedEvent | Rejection:
    """Return the event of one entry, a `single` one or of a list; a masked one has an `owner`."""
    # What a learner may not record leaves no dead letter.
    mask: rejections.Mask = (lambda _: "") if message.learner else masking.mask_json
    if len(part) > _MOST_BYTES:
        # An array's elements have been checked: they are JSON. A single entry has not been checked,
        # so it is masked as text.
        mask = masking.mask_shapes if single else mask
        owner = owner or owners.find(part, message.attributes)
        reason = f"expected at most {_MOST_BYTES} bytes - at $"
        return rejections.reject(part, index, reason, owner, mask)
    try:
        body, unstorable = json_input.decode(part)
    except json_input.NotJson as error:
        return rejections.reject_bytes(part, index, str(error))
    if type(body) is not dict:
        owner = owner or owners.UNKNOWN
        return rejections.reject(part, index, "expected an object - at $", owner, mask)
    parser = _EventParser(body, message, index, single=single)
    malformed = parser.find_malformed()
    reason = malformed or unstorable
    try:
        if message.learner and not malformed:
            parser.check_own(message.learner)
        if not reason:
            return parser.parse(index, may_hold_email=b"email" in part or b"\\u00" in part)
    except SerializationError as error:
        reason = forms.locate(str(error), parser.form)
    owner = owner or owners.of(body, message.attributes)
    rejection = rejections.reject(part, index, reason, owner, mask)
    if not malformed:
        parser.describe(rejection)
    return rejection


class _EventParser:
    __slots__ = (
        *("attributes", "body", "data", "event", "event_id", "event_type", "form", "message"),
    )

    def __init__(self, body: dict[str, Any], message: Message, index: int, *, single: bool) -> None:
        self.message = message
        self.attributes = message.attributes
        if self.attributes and not single:
            self.attributes = rejections.drop_event_id(self.attributes)
        self.form = forms.ENVELOPE
        if body.get("data") is None or body.get("event_type") is None or "specversion" in body:
            body, self.form = forms.to_envelope(body)
        self.body, self.data, self.event_type = body, body.get("data"), body.get("event_type")
        self.event_id = body.get("event_id")
        if self.event_id is None:
            self.event_id = self.attributes.get("event_id", message.derive_id(index))
        if self.event_type is None:
            self.event_type = forms.find_type(body, self.attributes)
        if self.event_type in events.ASSIGNMENTS:
            self._forget_learner()
        # `parse` sets this event even if the event breaks a rule of its type.
        self.event: ParsedEvent | None = None

    def _forget_learner(self) -> None:
        self.attributes = {n: v for n, v in self.attributes.items() if n != "user_id"}
        for part in (self.data, self.body.get("metadata")):
            if type(part) is dict:
                part.pop("user_id", None)

    def find_malformed(self) -> str:
        """Return why the object is malformed; '' if it is not."""
        if self.form is forms.CLOUD_EVENT and self.body["data_base64"] is not None:
            return "expected data, found data_base64 - at $.data_base64"
        if self.event_id is None or self.event_type is None:
            missing = "$.event_id" if self.event_id is None else "$.event_type"
            missing = self.form.get(missing, missing)
            return f"expected {missing[2:]}, found none - at {missing}"
        return ""

    def check_own(self, learner: str) -> None:
        """Raise SerializationError if the learner may not record it, or if it is about another."""
        events.check_own(self.event_type, self.data)
        for part, where in ((self.data, "data"), (self.body.get("metadata"), "metadata")):
            named = part.get("user_id") if type(part) is dict else None
            if named is not None and named != learner:
                raise SerializationError(f"expected the token's learner - at $.{where}.user_id")

    def parse(self, index: int, *, may_hold_email: bool) -> ParsedEvent:
        """Return the event; raise SerializationError if it is invalid."""
        event_type = parse_id(self.event_type, "$.event_type")
        data = _parse_object(self.data, "$.data")
        metadata = self._complete_metadata(data)
        event_id = to_uuid(parse_id(self.event_id, "$.event_id"))
        if self.message.learner and event_id != self.event_id:
            raise SerializationError("expected a UUID - at $.event_id")
        if event_id != self.event_id:
            metadata["source_id"] = self.event_id
        occurred_at = self._parse_time(metadata)
        _check_ids(data, IDS)
        if metadata.get("user_id") is not None:
            parse_id(metadata["user_id"], "$.metadata.user_id")
        if may_hold_email:
            masked = masking.mask_emails({"data": data, "metadata": metadata})
            data, metadata = masked["data"], masked["metadata"]
        if event_type == _CARD and data.get("due") is not None and _CARD in events.EVENT_TYPES:
            with contextlib.suppress(SerializationError):  # `_check_rules` rejects it
                data = {**data, "due": timestamps.to_stored(data["due"], "$.data.due")}
        event = self.event = ParsedEvent(
            index=index,
            event_id=event_id,
            event_type=event_type,
            occurred_at=occurred_at,
            data=data,
            metadata=metadata,
            learner=self.message.learner or None,
        )
        if event.learner is None:
            _assign_stream(event)
        if self.message.is_replay:
            _check_unmasked(event)
        _check_rules(event, has_data=self.data is not None)
        return event

    def describe(self, rejection: Rejection) -> None:
        rejection.kind = "invalid"
        rejection.attributes = rejections.keep_event_attributes(self.attributes)
        rejection.event_id = json_input.printable(self.event_id)
        rejection.event_type = json_input.printable(self.event_type)
        rejection.event = self.event
        with contextlib.suppress(SerializationError, UnicodeEncodeError):  # the id itself is wrong
            rejection.uuid = to_uuid(parse_id(self.event_id, "$.event_id"))

    def _complete_metadata(self, data: dict[str, Any]) -> dict[str, Any]:
        metadata = _parse_object(self.body.get("metadata"), "$.metadata")
        if not self.message.is_replay:
            metadata.pop(TIME_SOURCE, None)
        metadata.pop(POSTED_BY, None)
        if self.message.learner:
            metadata["user_id"] = self.message.learner
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


def _assign_stream(event: ParsedEvent) -> None:
    """Set whose stream it is: the learner's, the session's learner's or that of `stream_id`."""
    declared, data = events.EVENT_TYPES.get(event.event_type), event.data
    event.learner, event.session_id = data.get("user_id"), data.get("session_id")
    if event.learner is None:
        event.learner = event.metadata.get("user_id")
    if declared is None:
        event.stream_id = f"other-{event.event_type}"
    elif issubclass(declared, events.ItemEvent):
        event.learner = event.session_id = None
        event.stream_id = f"item-{data.get('item_id')}"
    elif issubclass(declared, events.ListEvent):
        event.session_id, event.stream_id = None, f"list-{data.get('list_id')}"
    elif issubclass(declared, events.AssignmentEvent):
        event.learner = event.session_id = None
        event.stream_id = f"group-{data.get('group_id')}"
    if event.learner is not None and event.event_type != "SessionStarted":
        event.session_id = None


def _check_unmasked(event: ParsedEvent) -> None:
    """Raise SerializationError if the dead letter masks an id: two ids may have become equal."""
    ids = {f"data.{name}": event.data.get(name) for name in (*IDS, *LATER_IDS)}
    if event.event_type in {*events.OF_LISTS, *events.ASSIGNMENTS}:
        ids["data.list_id"] = event.data.get("list_id")
    ids["metadata.user_id"] = event.metadata.get("user_id")
    ids["event_id"] = event.metadata.get("source_id")
    for name, text in ids.items():
        if type(text) is str and masking.MASKED in text:
            raise SerializationError(
                f"expected an id, found a masked address: publish the event again - at $.{name}"
            )


def _check_rules(event: ParsedEvent, *, has_data: bool) -> None:
    """Raise SerializationError if the event breaks a rule; the log may hold older ones that do."""
    if event.occurred_at < timestamps.EARLIEST:
        raise SerializationError("expected a time from 2000-01-01 on - at $.occurred_at")
    _check_ids(event.data, LATER_IDS)
    declared = events.EVENT_TYPES.get(event.event_type)
    if declared is None:
        return
    data = event.data
    if event.learner is not None and data.get("user_id") is None:
        data = {**data, "user_id": event.learner}
    try:
        events.check(declared, data)
    except SerializationError:
        if has_data:
            raise
        raise SerializationError(
            "expected an object, found none: the event has no data - at $.data"
        ) from None
    if event.learner is None:
        events.check_published(event.event_type, data)


def _parse_object(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if type(value) is not dict:
        raise SerializationError(f"expected an object - at {where}")
    return value


def _check_ids(data: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if data.get(name) is not None:
            parse_id(data[name], f"$.data.{name}")


def parse_id(value: Any, where: str) -> str:
    """Return an id; raise SerializationError if it is not a string of 1 to 200 characters."""
    if type(value) is not str or not 1 <= len(value) <= 200:
        raise SerializationError(f"expected a string of 1 to 200 characters - at {where}")
    return value


def _is_malformed(part: bytes, needs_id: bool, needs_type: bool) -> bool:
    """Return True if an array element is certainly malformed, False if only decoding can tell.

    Unless its message supplies them, an event is an object with a key for its type and one for its
    id (`id` in a CloudEvent). If the element contains a backslash, a key may have escapes.
    """
    if part[:1] != b"{":
        return True
    lacks_key = (needs_type and b"type" not in part) or (needs_id and b"id" not in part)
    return lacks_key and b"\\" not in part
