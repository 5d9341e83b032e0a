"""Select the events of an Anki record that the log does not have yet.

Files of one collection overlap: an export of one deck and of all decks, or a review log in CSV and
a collection. The file that is imported first determines an answer's session and its review.
"""

from datetime import UTC

from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.adapters.pubsub.publisher import Message
from progress.importers import anki_events
from progress.importers.anki_events import Envelope, Learner, RecordedSession
from progress.importers.anki_import import Record


def select_new(connection: Connection, record: Record) -> list[Message]:
    """Return the record's messages without the events that the log has from this or other files.

    The answers of a session that is recorded in part join the recorded session, which keeps its
    score and its duration. The account is left out if it does not change a preference.
    """
    messages = record.messages(_read_sessions(connection, record.learner))
    event_ids = [event["event_id"] for message in messages for event in message.events]
    rows = connection.run(blocks("importers/anki_recorded")["recorded"], event_ids=event_ids)
    known = {event_id for (event_id,) in rows}

    def is_new(event: Envelope) -> bool:
        # A recorded answer keeps its review; if it has no review, it gets none.
        caused_by = event.get("metadata", {}).get("causation_id")
        return not {event["event_id"], caused_by} & known and not (
            event["event_type"] == "UserCreated"
            and _has_preferences(connection, record.learner, event)
        )

    selected = [
        Message(message.topic, [event for event in message.events if is_new(event)])
        for message in messages
    ]
    return [message for message in selected if message.events]


def _read_sessions(connection: Connection, learner: Learner) -> list[RecordedSession]:
    """Return the sessions that were imported from Anki, oldest first; another app's are omitted."""
    rows = connection.run(
        blocks("importers/anki_recorded")["sessions"], stream_id=f"learner-{learner.user_id}"
    )
    return [
        RecordedSession(session_id, begin, end)
        for session_id, begin, end, event_id, at, data in rows
        if event_id == anki_events.derive_id(learner, "SessionStarted", at.astimezone(UTC), data)
    ]


def _has_preferences(connection: Connection, learner: Learner, account: Envelope) -> bool:
    """Return whether the learner has an account with these preferences at this time already."""
    rows = connection.run(
        blocks("importers/anki_recorded")["preferences"],
        stream_id=f"learner-{learner.user_id}",
        at=account["occurred_at"],
    )
    wanted = (learner.timezone, learner.day_start_hour)
    return any(
        all(new is None or new == old for new, old in zip(wanted, row, strict=True)) for row in rows
    )
