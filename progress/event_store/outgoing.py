"""The messages that leave the system: CloudEvents, in binary mode on the topic `progress-events`.

Those that are posted to WEBHOOK_URL are in structured mode.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from progress.event_store.events import Day, Id, Level

TOPIC = "progress-events"

MilestoneKind = Literal["STREAK", "ITEMS_LEARNED", "ITEMS_MASTERED", "GOAL_MET", "LEVEL_REACHED"]
Kind = Literal["milestone", "announced", "recorded"]
Time = Annotated[str, Meta(pattern=r"^[0-9-]{10}T[0-9:]{8}\.[0-9]{6}Z$")]

LEFT_OUT = ("email", "display_name")  # of the data and metadata of recorded events

_SCHEMA = "1"  # changes if a subscriber must change, too


class MilestoneReached(msgspec.Struct, frozen=True):
    """A learner has reached a milestone. A milestone that disappears later is not recalled."""

    user_id: Id
    kind: MilestoneKind
    value: Annotated[int, Meta(ge=1)] | None
    level: Level | None
    reached_on: Day

    @property
    def id(self) -> uuid.UUID:
        """The milestone's id, which depends only on its identity."""
        key = [self.user_id, self.kind, self.value, self.level]
        if self.kind == "GOAL_MET":
            key = [self.user_id, self.kind, self.reached_on]
        return uuid.uuid5(uuid.NAMESPACE_OID, msgspec.json.encode(key).decode())


class ErasureAnnounced(msgspec.Struct, frozen=True):
    """The learner will be erased, unless an event about the learner is recorded before."""

    user_id: Id
    erase_on: Day


class RecordedMetadata(msgspec.Struct, frozen=True):
    """The event's own metadata, and its place in the log."""

    global_position: Annotated[int, Meta(ge=1)]
    stream_version: Annotated[int, Meta(ge=1)]
    recorded_at: Time


class RecordedEvent(msgspec.Struct, frozen=True):
    """An event of any type was recorded. E-mail addresses and display names are left out."""

    event_id: uuid.UUID
    event_type: Id
    occurred_at: Time
    data: dict[str, Any]
    metadata: RecordedMetadata


MESSAGES: dict[Kind, type[msgspec.Struct]] = {
    "milestone": MilestoneReached,
    "announced": ErasureAnnounced,
    "recorded": RecordedEvent,
}


class Row(NamedTuple):
    """A message, or the end of a window: the checkpoint after it."""

    position: int | None
    mark: int | None
    kind: Kind
    event_type: str
    event_id: uuid.UUID | None
    stream_id: str
    committed_at: datetime
    data: str | None

    def make_attributes(self, project: str) -> dict[str, str]:
        """Return the attributes of the message: those of a CloudEvent, and those for filters."""
        message_id = self.event_id or msgspec.json.decode(self.data or "", type=MilestoneReached).id
        committed_at = self.committed_at.astimezone(UTC).isoformat(timespec="microseconds")
        return {
            "content-type": "application/json",
            "ce-specversion": "1.0",
            "ce-id": str(message_id),
            "ce-type": self.event_type,
            "ce-source": f"//progress/{project}",
            "ce-time": committed_at.replace("+00:00", "Z"),
            "ce-subject": self.stream_id,
            "kind": self.kind,
            "event_type": self.event_type,
            "schema": _SCHEMA,
        }


def make_structured(attributes: Mapping[str, str], data: str) -> bytes:
    """Return a message as a CloudEvent in structured mode, with its attributes as extensions."""
    names = {"content-type": "datacontenttype", "event_type": "eventtype"}
    event = {names.get(name, name.removeprefix("ce-")): text for name, text in attributes.items()}
    return msgspec.json.encode({**event, "data": msgspec.Raw(data.encode())})
