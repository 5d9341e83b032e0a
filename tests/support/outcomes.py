"""A model of `event_store.append`: compute, event by event, what the event store must contain."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

FUTURE = "2100-01-01T00:00:00Z"
Envelope = dict[str, Any]


@dataclass
class Content:
    """The fields that decide whether two events with the same ID are equal."""

    type: str
    data: dict[str, Any]
    occurred_at: str | None  # None if the event has no time; the publish time is then used
    learner: str | None
    session: str | None

    def is_same(self, other: "Content", whose: str | None) -> bool:
        """Return whether `other` repeats this event; `whose` is the learner of `other` if known."""
        return (
            (self.type, self.data) == (other.type, other.data)
            and (
                None in (self.occurred_at, other.occurred_at)
                or self.occurred_at == other.occurred_at
            )
            and (None in (self.learner, whose) or self.learner == whose)
        )


@dataclass
class Outcomes:
    """The expected contents of the event store after a sequence of deliveries."""

    # the stream and the id of each event, in the order of positions
    log: list[tuple[str, UUID]] = field(default_factory=list)
    stored: dict[UUID, Content] = field(default_factory=dict)
    pending: dict[UUID, Content] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    letters: dict[tuple[str, int], str] = field(default_factory=dict)
    # ids of the delivered events that were appended or were already in the log
    touched: set[UUID] = field(default_factory=set)

    def deliver(self, message_id: str, events: list[Envelope]) -> None:
        """Record the events of one message, in order."""
        for index, event in enumerate(events):
            kind = self._take(event)
            if kind is not None:
                self.letters.setdefault((message_id, index), kind)

    def _take(self, event: Envelope) -> str | None:
        """Record an event; return the kind of its dead letter, if any."""
        identity, content = UUID(event["event_id"]), _content(event)
        whose = content.learner or self.sessions.get(content.session or "")
        if identity in self.stored and self.stored[identity].is_same(content, whose):
            self.touched.add(identity)
            return None
        if identity in self.pending and self.pending[identity].is_same(content, whose):
            if whose is not None:
                self._append(identity, self.pending.pop(identity), whose)
            return None
        if content.data.get("response_time_ms", 0) < 0:
            return "invalid"
        if identity in self.stored or identity in self.pending:
            self.touched |= {identity} & self.stored.keys()
            return "conflict"
        if content.occurred_at == FUTURE:
            return "future"
        return self._record(identity, content, whose)

    def _record(self, identity: UUID, content: Content, whose: str | None) -> str | None:
        owner = self.sessions.get(content.session or "")
        if content.type == "SessionStarted" and owner not in (None, whose):
            return "session_owner"
        if whose is None and content.type == "CorrectAnswerGiven":
            self.pending[identity] = content
            return None
        self._append(identity, content, whose)
        if content.type == "SessionStarted" and owner is None and whose and content.session:
            self.sessions[content.session] = whose
            for waiting in [i for i, c in self.pending.items() if c.session == content.session]:
                self._append(waiting, self.pending.pop(waiting), whose)
        return None

    def _append(self, identity: UUID, content: Content, whose: str | None) -> None:
        content.learner = whose
        self.stored[identity] = content
        if content.type == "ItemArchived":
            stream = f"item-{content.data['item_id']}"
        else:
            stream = f"learner-{whose}" if whose else f"other-{content.type}"
        self.log.append((stream, identity))
        self.touched.add(identity)


def _content(event: Envelope) -> Content:
    data, of_item = event["data"], event["event_type"] == "ItemArchived"
    return Content(
        type=event["event_type"],
        data=data,
        occurred_at=event.get("occurred_at"),
        learner=None if of_item else data.get("user_id") or event["metadata"].get("user_id"),
        session=None if of_item else data.get("session_id"),
    )
