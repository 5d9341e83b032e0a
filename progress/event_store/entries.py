"""What decoding makes of a message: the events to append, and the rejections to keep."""

import re
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import msgspec

UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

# The ids that are checked in the data of every event. The check of LATER_IDS was added later, so
# recorded events may have invalid LATER_IDS. Redeliveries of these events are still recognized.
IDS = ("user_id", "session_id", "item_id")
LATER_IDS = ("group_id",)
# The metadata key that marks an event whose time is the publish time of its message. A redelivery
# may have another publish time. Therefore, this time is ignored when a redelivered event is
# compared with the recorded event.
TIME_SOURCE = "occurred_at_source"

POSTED_BY = "posted_by"  # the metadata key that the append of a learner's post sets alone

# The id of a message to which Pub/Sub gave none, such as a post, begins with this, before a hash.
HASHED = "sha256-"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """The message that contained the events; a field is empty if the transport does not set it."""

    subscription: str = ""
    topic: str = ""
    message_id: str = ""
    published_at: datetime | None = None
    poster: str = ""  # the account that posted it
    learner: str = ""  # whose own events these are, who posts them or asks for them by a mutation
    attributes: dict[str, str] = {}
    is_replay: bool = False  # if true, events keep the TIME_SOURCE that ingest has set

    @property
    def has_id(self) -> bool:
        """Whether Pub/Sub has given the message an id, which a redelivery of it has, too."""
        return bool(self.message_id) and not self.message_id.startswith(HASHED)

    def derive_id(self, index: int) -> str | None:
        """Return the id of an event without one at this index; None if the message has no id."""
        if not self.has_id:
            return None
        return to_uuid(f"pubsub:{self.subscription}:{self.message_id}:{index}")

    def age_ms(self, at: datetime) -> int | None:
        """Return the milliseconds from publication to `at`; None without a publish time."""
        published = self.published_at
        return None if published is None else round((at - published).total_seconds() * 1_000)


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


class Rejection(msgspec.Struct, kw_only=True):
    """A rejected event: the broken rule, and the payload with e-mail addresses masked.

    `event` is set if the payload could be parsed. If the log already has the same event (recorded
    under older rules), the append writes no dead letter. Only a bundle has `indexes`: the ranges of
    its entries' indexes in the message, as pairs (first, last), and `texts` instead of a payload:
    the entries of each range. They have the same owner; `owners` has one for each range.
    """

    index: int
    kind: str
    reason: str
    payload: str
    owners: list[str]
    event_id: str | None = None
    event_type: str | None = None
    attributes: dict[str, str] = {}
    event: ParsedEvent | None = None
    uuid: str | None = None  # the UUID of an event_id that is valid
    indexes: list[list[int]] | None = None
    texts: list[str] | None = None


def to_uuid(event_id: str) -> str:
    """Return the UUID as which an id is stored and compared."""
    return event_id if UUID.fullmatch(event_id) else str(uuid5(NAMESPACE_OID, event_id))
