"""Check the lines of a file by the rules of ingest, and divide them for posts or messages."""

import difflib
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec

from progress.adapters.pubsub import publisher
from progress.adapters.pubsub.publisher import Packed
from progress.errors import ProgressError
from progress.event_store import envelope, events, forms, intake, json_input, timestamps
from progress.event_store.entries import TIME_SOURCE, Message, ParsedEvent, Rejection

MAX_EVENTS = 100  # in a message
# The lines in one message have at most this total size. A longer line gets a message of its own.
_PACKED_BYTES = 1 << 20
_ENVELOPE = ("event_id", "event_type", "occurred_at", "data", "metadata")
_ANY_DATA = ("user_id", "type")  # may be in the data of every event
_SIMILARITY = 0.8  # from 0 to 1; a less similar name does not count as misspelt


class Fault(msgspec.Struct, frozen=True):
    """Why ingest would reject an event, and the index of the event in its line's array."""

    index: int
    reason: str


class Line(msgspec.Struct, frozen=True):
    """A line of a file: one event, or an array of events.

    `event_ids` are the ids under which the valid events are recorded; `unnamed` valid events have
    none, and get that of their message. `times` are the times of all of them. `unknown_types` are
    the types that are not declared, by the event's index. So are events without an id or a time
    in `completed`, with those of a message. `misspelt` maps misspelt field names to the declared
    names.
    """

    number: int
    data: bytes
    topic: str
    events: int
    event_ids: list[str]
    unnamed: int
    unknown_types: dict[int, str]
    misspelt: dict[str, str]
    times: list[datetime]
    completed: dict[int, bytes]
    faults: list[Fault]

    @property
    def reason(self) -> str:
        """The first fault's field and rule; '' if ingest would reject no event of the line."""
        return self.faults[0].reason if self.faults else ""


def split(text: bytes) -> list[bytes]:
    lines = text.split(b"\n")
    first = next((line for line in lines if line.strip()), b"")
    is_document = not _is_json(first) and (_is_json(text) or not any(map(_is_json, lines)))
    return [text] if is_document else lines


def _is_json(text: bytes) -> bool:
    try:
        json_input.decode(text)
    except json_input.NotJson:
        return False
    return True


def check(lines: Iterable[bytes], now: datetime) -> Iterator[Line]:
    """Yield each line that is not blank; `now` is the time of publication."""
    first: dict[str, tuple[int, bytes]] = {}
    run = uuid4()
    for number, text in enumerate(lines, start=1):
        if not (data := text.strip()):
            continue
        message = Message(message_id=f"{run}:{number}", published_at=now)
        entries = envelope.decode(data, message)
        valid = _select_valid(entries)
        named = [event for event in valid if event.event_id != message.derive_id(event.index)]
        faults = [Fault(one.index, why) for one in entries if (why := _find_fault(one, now))]
        if len(data) > publisher.MAX_MESSAGE_BYTES:
            reason = f"expected at most {publisher.MAX_MESSAGE_BYTES:,} bytes - at $"
            faults.insert(0, Fault(0, reason))
        event_type = entries[0].event_type if entries else None
        types = {event.index: event.event_type for event in valid}
        line = Line(
            number=number,
            data=data,
            topic=events.TOPICS.get(event_type or "", events.LEARNING),
            events=len(entries),
            event_ids=[event.event_id.lower() for event in named],
            unnamed=len(valid) - len(named),
            unknown_types={n: name for n, name in types.items() if name not in events.EVENT_TYPES},
            misspelt=find_misspelt(data),
            times=[event.occurred_at for event in valid],
            completed={
                event.index: _encode(event)
                for event in valid
                if event not in named or TIME_SOURCE in event.metadata
            },
            faults=faults,
        )
        _compare(line, named, first, now)
        yield line


def _compare(
    line: Line, named: list[ParsedEvent], first: dict[str, tuple[int, bytes]], now: datetime
) -> None:
    """Add a fault for each conflict with an earlier event of the file; add new ids to `first`."""
    lines: dict[int, dict[str, ParsedEvent]] = {}  # each earlier line is decoded only once
    for event_id, event in zip(line.event_ids, named, strict=True):
        number, data = first.setdefault(event_id, (line.number, line.data))
        if number != line.number and number not in lines:
            lines[number] = {e.event_id.lower(): e for e in reversed(decode(data, now))}
        other = lines.setdefault(number, {}).setdefault(event_id, event)
        if not _have_same_content(event, other):
            where = f"line {number}" if number != line.number else "an earlier event of this line"
            reason = f"{where} has this id with other content - at $.event_id"
            line.faults.append(Fault(event.index, reason))


def decode(data: bytes, now: datetime) -> list[ParsedEvent]:
    return _select_valid(envelope.decode(data, Message(published_at=now)))


def _select_valid(entries: list[ParsedEvent | Rejection]) -> list[ParsedEvent]:
    return [entry for entry in entries if isinstance(entry, ParsedEvent)]


def _encode(event: ParsedEvent) -> bytes:
    metadata = {name: v for name, v in event.metadata.items() if name != TIME_SOURCE}
    fields = {name: getattr(event, name) for name in _ENVELOPE} | {"metadata": metadata}
    return msgspec.json.encode(fields)


def _have_same_content(a: ParsedEvent, b: ParsedEvent) -> bool:
    """Return whether ingest treats two events with the same id as equal (same_content in SQL)."""
    has_own_times = not (a.metadata.get(TIME_SOURCE) or b.metadata.get(TIME_SOURCE))
    return (
        (a.event_type, a.data) == (b.event_type, b.data)
        and (a.occurred_at == b.occurred_at or not has_own_times)
        and (a.learner is None or b.learner is None or a.learner == b.learner)
    )


def _find_fault(entry: ParsedEvent | Rejection, now: datetime) -> str:
    if isinstance(entry, Rejection):
        return entry.reason
    if entry.occurred_at > now + timestamps.MOST_AHEAD:
        return "expected a time at most 10 minutes ahead of the clock - at $.occurred_at"
    return ""


def describe_unknown_type(name: str) -> str:
    """Return a text that names the unknown type, and the nearest declared type if there is one."""
    nearest = intake.find_meant(name)
    hint = f" (did you mean {nearest}?)" if nearest else ""
    return f"unknown event type {name[:60]!r}{hint}"


def list_entries(lines: Iterable[Line]) -> Iterator[tuple[int, int, Packed]]:
    """Yield each event for a post, with its line's number and its index in the line.

    In a post, nothing stands in for an id or a time. Raise ProgressError for a line that is not
    JSON, of which a post makes no dead letter.
    """
    for line in lines:
        try:
            json_input.check(line.data)
        except json_input.NotJson as error:
            raise ProgressError(f"line {line.number}: {error}; only JSON can be posted") from None
        parts = json_input.elements(line.data)
        for index, part in enumerate([line.data] if parts is None else parts):
            yield line.number, index, Packed(line.topic, line.completed.get(index, part), 1)


def pack(lines: Iterable[Line]) -> Iterator[Packed]:
    """Yield messages that join up to 100 lines; every topic keeps the order of its lines.

    A line that ingest would reject gets a message of its own: if such a line is not JSON, it makes
    its whole message malformed. A line with an array also gets a message of its own.
    """
    open_lines: dict[str, list[Line]] = {}
    for line in lines:
        waiting = open_lines.setdefault(line.topic, [])
        if line.reason or line.data.startswith(b"["):
            if waiting:
                yield _join(waiting)
            open_lines[line.topic] = []
            yield Packed(line.topic, line.data, line.events)
            continue
        size = sum(len(other.data) for other in waiting)
        if len(waiting) == MAX_EVENTS or size + len(line.data) > _PACKED_BYTES:
            if waiting:
                yield _join(waiting)
            waiting = open_lines[line.topic] = []
        waiting.append(line)
    yield from (_join(waiting) for waiting in open_lines.values() if waiting)


def _join(lines: list[Line]) -> Packed:
    if len(lines) == 1:
        return Packed(lines[0].topic, lines[0].data, 1)
    return Packed(lines[0].topic, b"[" + b",".join(line.data for line in lines) + b"]", len(lines))


def find_warning(times: Iterable[datetime], now: datetime) -> str | None:
    """Return a sentence about the future times and what happens to their events; None if none."""
    future = [at for at in times if at > now + timestamps.MOST_AHEAD]
    if not future:
        return None
    return (
        f"{len(future):,} of the events have a time more than 10 minutes ahead of the clock, the "
        f"first {min(future):%Y-%m-%dT%H:%M:%SZ}: they become dead letters of the kind `future`, "
        "and the scheduled job records each of them when its time is near"
    )


def find_misspelt(data: bytes) -> dict[str, str]:
    """Map each misspelt field name of an event, or of an array of events, to the declared name.

    A field counts as misspelt if its name is not declared, and a declared field with a similar name
    is missing from the same object.
    """
    try:
        body = msgspec.json.decode(data)
    # Not JSON, not UTF-8, or unusual JSON that ingest parses with another parser.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    misspelt: dict[str, str] = {}
    for event in body if isinstance(body, list) else [body]:
        if isinstance(event, dict):
            body, _ = forms.to_envelope(event)
            misspelt |= _compare_fields(body, _ENVELOPE) | _compare_data(body)
    return misspelt


def _compare_data(event: dict[str, Any]) -> dict[str, str]:
    data = event.get("data")
    if not isinstance(data, dict):
        return {}
    declared = events.EVENT_TYPES.get(str(event.get("event_type") or data.get("type")))
    return _compare_fields(data, (*declared.__struct_fields__, *_ANY_DATA)) if declared else {}


def _compare_fields(fields: dict[str, Any], declared: Collection[str]) -> dict[str, str]:
    missing = [name for name in declared if name not in fields]
    nearest = {
        name: difflib.get_close_matches(name.lower(), missing, n=1, cutoff=_SIMILARITY)
        for name in fields
        if name not in declared
    }
    return {name: similar[0] for name, similar in nearest.items() if similar}
