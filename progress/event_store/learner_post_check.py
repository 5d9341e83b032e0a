"""What a learner posts about themselves: checked, and made the learner's own.

The ids of events and sessions become ids that only this learner can have. Nobody can therefore
take or retract what is somebody else's, or learn whether an id is used.
"""

import contextlib
import time
from collections import Counter
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import msgspec

from progress.event_store import bodies, envelope, forms, json_input, timestamps
from progress.event_store.entries import Message, ParsedEvent, to_uuid
from progress.event_store.events import OF_LISTS
from progress.event_store.post_answers import Refused

MOST_BYTES = 1_000_000  # of a body

_MOST_SENT_BYTES = 65_536  # of an entry: six times as many as recorded, for escapes, and space
_MOST_ENTRY_BYTES = 8_192  # as recorded
_NAMESPACE = uuid5(NAMESPACE_OID, "learner")
_KEPT = ("user_id", "correlation_id", "causation_id", "source_id")  # of the metadata
_LIMITED = {"UserPreferencesChanged": "preferences", "EventRetracted": "retractions"}
_PAUSE_EVERY, _PAUSE_S = 16, 0.000_1  # entries; 16 take less than a millisecond


class LearnerPost(msgspec.Struct, frozen=True):
    """A checked post: what to record, by its place in the body, and what is refused."""

    good: dict[int, bytes]
    refused: list[Refused]
    counts: Counter[str]  # of what the learner's limits allow, by the name of the limit

    def refuse(self, index: int, reason: str, clock: datetime | None) -> None:
        """Note what the log refuses of what is good; `clock` is the one that it is ahead of."""
        sent_id = msgspec.json.decode(self.good.pop(index))["metadata"]["source_id"]
        reason = timestamps.describe_future(clock) if clock else reason
        self.refused.append(Refused(index, reason, sent_id))


def check(
    body: bytes, media_type: str, learner: str, now: datetime, *, in_thread: bool = False
) -> LearnerPost:
    """Check each entry; raise BadInput if the body is not JSON, RequestTooLarge for over 1,000.

    In a thread, make short pauses: an event loop, which waits for the interpreter, runs in them.
    """
    message = Message(learner=learner)
    post = LearnerPost({}, [], Counter())
    for index, part in bodies.split(body, media_type):
        if in_thread and index % _PAUSE_EVERY == 0:
            time.sleep(_PAUSE_S)
        recorded, event_type = b"", None
        reason = f"expected at most {_MOST_SENT_BYTES:,} bytes as sent - at $"
        if len(part) <= _MOST_SENT_BYTES:
            entry = envelope.decode_part(part, index, message)
            event_type = entry.event_type
            if isinstance(entry, ParsedEvent):
                recorded, reason = _encode(entry, learner, now)
            else:
                reason = entry.reason
        kind = "lists" if event_type in OF_LISTS else "entries"
        post.counts.update([kind, _LIMITED.get(event_type or "", "")])
        if reason:
            post.refused.append(Refused(index, reason, _sent_id(part)))
        else:
            post.good[index] = recorded
            post.counts["list-bytes" if kind == "lists" else "bytes"] += len(recorded)
    return post


def own_id(learner: str, id_: str) -> str:
    return str(uuid5(_NAMESPACE, msgspec.json.encode([learner, id_]).decode()))


def posted_id(learner: str, text: str) -> str:
    """Return the id of the event that a client posts under an id of its own: a UUID, or a text."""
    is_uuid = to_uuid(text) == text
    return own_id(learner, text.lower() if is_uuid else str(uuid5(_NAMESPACE, text)))


def _encode(event: ParsedEvent, learner: str, now: datetime) -> tuple[bytes, str]:
    """Return the event as it is recorded, and why it is refused, if it is."""
    metadata = {**event.metadata, "source_id": event.event_id}
    data: dict[str, Any] = dict(event.data)
    if data.get("session_id") is not None:
        data["session_id"] = own_id(learner, data["session_id"])
    if event.event_type == "EventRetracted":
        retracted = to_uuid(data["retracted_event_id"]).lower()
        data["retracted_event_id"] = own_id(learner, retracted)
    recorded = msgspec.json.encode(
        {
            "event_id": own_id(learner, event.event_id.lower()),
            "event_type": event.event_type,
            "occurred_at": event.occurred_at,
            "data": data,
            "metadata": {name: metadata[name] for name in _KEPT if metadata.get(name) is not None},
        }
    )
    if len(recorded) > _MOST_ENTRY_BYTES:
        return recorded, f"expected at most {_MOST_ENTRY_BYTES:,} bytes - at $"
    reason = json_input.decode(recorded)[1]  # the flat form has a level less
    if not reason and event.occurred_at > now + timestamps.MOST_AHEAD:
        reason = timestamps.describe_future(now)
    return recorded, reason


def _sent_id(part: bytes) -> str | None:
    """Return the id of an entry as it was sent, whatever text it is; None if it has none."""
    with contextlib.suppress(msgspec.MsgspecError, RecursionError):
        fields = msgspec.json.decode(part, type=dict[str, msgspec.Raw])
        is_cloud_event = bytes(fields.get("specversion", b"null")) != b"null"
        sent = fields.get("id" if is_cloud_event else "event_id", b"null")
        return msgspec.json.decode(sent, type=str | None)
    if len(part) > _MOST_SENT_BYTES:
        return None
    with contextlib.suppress(json_input.NotJson):
        body, _ = json_input.decode(part)
        if type(body) is dict:
            id_ = forms.to_envelope(body)[0].get("event_id")
            return id_.encode("utf-8", "backslashreplace").decode() if type(id_) is str else None
    return None
