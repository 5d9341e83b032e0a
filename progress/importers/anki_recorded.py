"""Select the events of an Anki record that the event log does not have yet.

Two files can contain the same answers: for example, an export of one deck and an export of all
decks, or a review log in CSV and a collection. The session and the review of such an answer come
from the file that is imported first.
"""

from datetime import UTC

from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.adapters.pubsub.publisher import Message
from progress.importers import anki_events
from progress.importers.anki_events import Envelope, Learner, RecordedSession
from progress.importers.anki_import import Record


def select_new(connection: Connection, record: Record) -> list[Message]:
    """Return the record's messages without the events that were imported before, from any file.

    If a session is recorded in part, its new answers join the recorded session. The recorded
    session keeps its score and its duration. The `UserCreated` event is left out if it changes no
    preference.
    """
    messages = record.messages(_read_sessions(connection, record.learner))
    event_ids = [event["event_id"] for message in messages for event in message.events]
    rows = connection.run(blocks("importers/anki_recorded")["recorded"], event_ids=event_ids)
    known = {event_id for (event_id,) in rows}

    def is_new(event: Envelope) -> bool:
        # An import never adds or replaces the review of an answer that is already recorded.
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
    """Return the sessions that were imported from Anki, oldest first; omit those of other apps."""
    rows = connection.run(
        blocks("importers/anki_recorded")["sessions"], stream_id=f"learner-{learner.user_id}"
    )
    return [
        RecordedSession(session_id, begin, end)
        for session_id, begin, end, event_id, at, data in rows
        if event_id == anki_events.derive_id(learner, "SessionStarted", at.astimezone(UTC), data)
    ]


def _has_preferences(connection: Connection, learner: Learner, account: Envelope) -> bool:
    """Return whether the learner's recorded preferences already equal those of `learner`.

    Return False if no `UserCreated` event of the learner is recorded. Events after the time of
    `account` are ignored. A preference of `learner` that is None equals any recorded preference.
    """
    rows = connection.run(
        blocks("importers/anki_recorded")["preferences"],
        stream_id=f"learner-{learner.user_id}",
        at=account["occurred_at"],
    )
    wanted = (learner.timezone, learner.day_start_hour)
    return any(
        all(new is None or new == old for new, old in zip(wanted, row, strict=True)) for row in rows
    )
