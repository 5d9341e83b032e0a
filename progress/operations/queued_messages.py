"""What waits on one machine: ERASE_USER takes the learner out of the transport's queue."""

import contextlib

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.event_store import json_input, owners

_FILE = "operations/erasure_rows"


def forget(connection: Connection, learner: str) -> None:
    """Remove the learner's events from the messages that wait, or that could not be delivered.

    Whose an event is, is decided by the same fields as in a dead letter; if nobody can decode it,
    by the id in its bytes. The other events of a list stay.
    """
    sessions = database.run(connection, _FILE, "sessions of learner", learner=learner)
    theirs = {f"learner:{learner}", *(f"session:{session_id}" for (session_id,) in sessions)}
    key = {"subscription": "", "message_id": ""}
    while rows := database.run(connection, _FILE, "next message", **key):
        ((key["subscription"], key["message_id"], message, attributes),) = rows
        parts = [message]
        with contextlib.suppress(json_input.NotJson):
            parts = [*(json_input.elements(message) or parts)]
        rest = [
            part
            for part in parts
            if (owner := owners.find(part, msgspec.json.decode(attributes))) not in theirs
            and not (owner == owners.UNKNOWN and learner.encode() in part)
        ]
        if len(rest) < len(parts):
            left = b"[" + b",".join(rest) + b"]" if rest else None
            database.run(connection, _FILE, "replace message", **key, rest=left)
