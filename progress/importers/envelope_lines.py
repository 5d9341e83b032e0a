"""Check the lines of a file by the rules of ingest, and pack the events into messages."""

import difflib
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

import msgspec

from progress.adapters.pubsub import publisher
from progress.adapters.pubsub.publisher import Packed
from progress.event_store import envelope, events
from progress.event_store.envelope import Rejection
from progress.event_store.event_parser import Message, ParsedEvent

MAX_EVENTS = 100  # in a message
_PACKED_BYTES = 1 << 20  # A message that reaches this size gets no further event.
_MAX_MESSAGE_BYTES = 10_000_000  # Pub/Sub's limit.
_MAX_AHEAD = timedelta(minutes=10)


class Line(msgspec.Struct, frozen=True):
    """A line of a file: one event, or an array of events.

    `reason` names the field and the rule if ingest would reject an event of the line, else it is
    empty. `event_ids` are the ids under which the valid events are recorded.
    """

    number: int
    data: bytes
    topic: str
    events: int
    event_ids: list[str]
    unknown_types: list[str]
    reason: str = ""


def check(lines: Iterable[bytes], now: datetime) -> Iterator[Line]:
    """Yield each line that is not blank; `now` is the time of publication."""
    message = Message(published_at=now)
    for number, line in enumerate(lines, start=1):
        if data := line.strip():
            yield _check_line(number, data, envelope.decode(data, message), now)


def _check_line(
    number: int, data: bytes, entries: list[ParsedEvent | Rejection], now: datetime
) -> Line:
    reasons = [reason for entry in entries if (reason := _find_fault(entry, now))]
    if len(data) > _MAX_MESSAGE_BYTES:
        reasons.insert(0, f"expected at most {_MAX_MESSAGE_BYTES:,} bytes - at $")
    valid = [entry for entry in entries if isinstance(entry, ParsedEvent)]
    first = entries[0].event_type if entries else None
    return Line(
        number=number,
        data=data,
        topic=publisher.TOPICS.get(first or "", publisher.LEARNING),
        events=len(entries),
        event_ids=[entry.event_id for entry in valid],
        unknown_types=[e.event_type for e in valid if e.event_type not in events.CATALOGUE],
        reason=reasons[0] if reasons else "",
    )


def _find_fault(entry: ParsedEvent | Rejection, now: datetime) -> str:
    """Return why ingest would make a dead letter of the entry; '' if it would not."""
    if isinstance(entry, Rejection):
        return entry.reason
    if entry.occurred_at > now + _MAX_AHEAD:
        return "expected a time at most 10 minutes ahead of the clock - at $.occurred_at"
    return ""


def find_nearest_type(name: str) -> str | None:
    """Return the declared event type whose name is most similar, or None if none is similar."""
    return next(iter(difflib.get_close_matches(name, events.CATALOGUE, n=1)), None)


def pack(lines: Iterable[Line]) -> Iterator[Packed]:
    """Yield messages of at most 100 events each; every topic keeps the order of its lines.

    A line that ingest would reject gets a message of its own, because text that is not JSON would
    make the whole message malformed. An array keeps its own message as well.
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
