"""Decode the bytes of one message into events to append and rejections to keep as dead letters.

msgspec decodes a well-formed event in one step. Unusual JSON (an escaped NUL, a long run of
digits, many brackets, or anything that msgspec rejects) is decoded by slower code in `json_input`.
"""

from collections.abc import Iterable

import msgspec

from progress import masking
from progress.errors import SerializationError
from progress.event_store import bundles, json_input
from progress.event_store.event_parser import (
    EventParser,
    Mask,
    Message,
    ParsedEvent,
    drop_event_id,
    keep_event_attributes,
)

_MOST_BYTES = 1_048_576


class Rejection(msgspec.Struct, kw_only=True):
    """A rejected event: the broken rule, and the payload with e-mail addresses masked.

    `event` is set if the payload could be parsed. If the log already has the same event (recorded
    under older rules), the append writes no dead letter. Only a bundle has `indexes`: the ranges of
    its entries' indexes in the message, as pairs (first, last).
    """

    index: int
    kind: str
    reason: str
    payload: str
    event_id: str | None = None
    event_type: str | None = None
    attributes: dict[str, str] = {}
    event: ParsedEvent | None = None
    indexes: list[list[int]] | None = None


def decode(payload: bytes, message: Message) -> list[ParsedEvent | Rejection]:
    """Return one entry for each event of the message, in message order; [] for an empty array.

    The first 999 malformed or invalid entries get separate rejections. All others share one.
    """
    try:
        parts = json_input.elements(payload)
        if parts is not None:
            return _decode_parts(enumerate(parts), message)
    except json_input.NotJson as error:
        return [reject_bytes(payload, 0, str(error))]
    return [_decode_part(payload, 0, message, single=True)]


def decode_bundle(
    payload: bytes, runs: Iterable[list[int]], message: Message
) -> list[ParsedEvent | Rejection]:
    """Return a bundle's entries with their indexes, which `runs` lists as ranges.

    Raise ValueError if the payload is not an array with exactly one entry for each index.
    """
    parts = json_input.elements(payload) or []
    return _decode_parts(zip(bundles.indexes(runs), parts, strict=True), message)


def reject_bytes(payload: bytes, index: int, reason: str) -> Rejection:
    """Return a rejection of bytes that are not JSON."""
    return _reject(payload, index, reason, masking.mask_shapes)


def _decode_parts(
    parts: Iterable[tuple[int, bytes]], message: Message
) -> list[ParsedEvent | Rejection]:
    entries: list[ParsedEvent | Rejection] = []
    rejections, rest = 0, bundles.Bundle()
    for index, part in parts:
        entry = None
        if rejections < bundles.MOST_REJECTIONS or not bundles.is_malformed(part):
            entry = _decode_part(part, index, message, single=False)
        if isinstance(entry, ParsedEvent):
            entries.append(entry)
        elif entry is not None and rejections < bundles.MOST_REJECTIONS:
            entries.append(entry)
            rejections += 1
        else:
            rest.add(part, index)
    if rest.runs:
        bundle = _reject(rest.payload(), rest.runs[0][0], bundles.REASON)
        bundle.indexes = rest.runs
        bundle.attributes = keep_event_attributes(drop_event_id(message.attributes))
        entries.append(bundle)
    return entries


def _decode_part(
    part: bytes, index: int, message: Message, *, single: bool
) -> ParsedEvent | Rejection:
    if len(part) > _MOST_BYTES:
        # An array's elements have been checked: they are JSON. A single entry has not been checked,
        # so it is masked as text.
        mask = masking.mask_shapes if single else masking.mask_json
        return _reject(part, index, f"expected at most {_MOST_BYTES} bytes - at $", mask)
    try:
        body, unstorable = json_input.decode(part)
    except json_input.NotJson as error:
        return reject_bytes(part, index, str(error))
    if type(body) is not dict:
        return _reject(part, index, "expected an object - at $")
    parser = EventParser(body, message, single=single)
    missing = parser.missing_field()
    if missing:
        return _reject(part, index, f"expected {missing}, found none - at $.{missing}")
    try:
        if unstorable:
            raise SerializationError(unstorable)
        return parser.parse(index, may_hold_email=b"email" in part or b"\\u00" in part)
    except SerializationError as error:
        return _reject_invalid(part, index, parser, str(error))


def _reject_invalid(part: bytes, index: int, parser: EventParser, reason: str) -> Rejection:
    rejection = _reject(part, index, reason)
    rejection.kind = "invalid"
    rejection.attributes = keep_event_attributes(parser.attributes)
    rejection.event_id = json_input.printable(parser.event_id)
    rejection.event_type = json_input.printable(parser.event_type)
    rejection.event = parser.event
    return rejection


def _reject(payload: bytes, index: int, reason: str, mask: Mask = masking.mask_json) -> Rejection:
    text = payload.decode("utf-8", "backslashreplace").replace("\0", "\\x00")
    return Rejection(index=index, kind="malformed", reason=reason, payload=mask(text))
