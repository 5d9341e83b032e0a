"""Posted events: parse the body of a `POST /events`, and say what became of each entry.

Unlike a push, a post has a caller who reads the response. A body that is not JSON is therefore
rejected, and no dead letter is stored.
"""

from datetime import UTC, datetime

from progress.event_store import bodies, envelope, events, timestamps
from progress.event_store.entries import Message, Rejection
from progress.event_store.log import Delivery
from progress.event_store.post_answers import Letter, Recorded
from progress.ingest import push
from progress.ingest.group_commit import Others

_TOPIC = "posted"


def parse_delivery(body: bytearray, media_type: str, poster: str = "") -> Delivery:
    """Return what this account has posted; raise BadInput or RequestTooLarge as `bodies.split`."""
    parts = bodies.split(body, media_type)
    message = Message(topic=_TOPIC, message_id=push.digest(body), poster=poster)
    entries = envelope.decode_parts(parts, message)
    return Delivery(message, entries, len(body), is_reported=True)


def describe(delivery: Delivery, others: Others) -> Recorded:
    """Return the number of entries per outcome, and the dead letters by index.

    Each entry counts once, and among the appended ones `unknown_types` are of no declared type.
    """
    counts = dict.fromkeys(("appended", "redelivered", "pending", "erased", "unknown_types"), 0)
    letters: list[Letter] = []
    for entry in delivery.entries:
        first = (entry.kind, entry.reason) if isinstance(entry, Rejection) else ("appended", None)
        outcome, reason = others.get(entry.index, first)
        if outcome in counts:
            counts[outcome] += 1
            if outcome == "appended" and entry.event_type not in events.EVENT_TYPES:
                counts["unknown_types"] += 1
            continue
        if outcome == "future":
            reason = timestamps.describe_future(datetime.now(UTC))
        event_id = entry.uuid if isinstance(entry, Rejection) else entry.event_id
        letters.append(Letter(entry.index, outcome, reason, event_id and event_id.lower()))
    letters.sort(key=lambda letter: letter.index)
    return Recorded(**counts, dead_letters=letters)
