"""Envelopes of single events, each with a new id."""

import uuid
from typing import Any

Envelope = dict[str, Any]

OCCURRED_AT = "2024-03-01T00:00:00Z"


def envelope(event_type: str, data: dict[str, Any], **fields: Any) -> Envelope:
    return {
        "event_id": str(uuid.uuid4()),
        "event_type": event_type,
        "occurred_at": OCCURRED_AT,
        "data": data,
        **fields,
    }


def session_started(session: str = "s", user: str = "u", items: int = 1, **fields: Any) -> Envelope:
    data = {"session_id": session, "user_id": user, "item_count": items}
    return envelope("SessionStarted", **{"data": data, **fields})


def answer(session: str = "s", **fields: Any) -> Envelope:
    data = {"session_id": session, "item_id": "i", "response_time_ms": 5}
    return envelope("CorrectAnswerGiven", data, **fields)


def reshape(event: Envelope, form: str) -> Envelope:
    """Return the event in another form, with the same content: `recorded`, `flat` or `cloud`."""
    rest = {name: value for name, value in event.items() if name not in ("data", "event_type")}
    data, event_type = event["data"], event["event_type"]
    if form == "recorded":  # as `progress events` prints it
        return {**rest, "event_type": event_type, "event_data": data, "stream_id": "of no use"}
    if form == "flat":
        return {**rest, "type": event_type, **data}
    user = (event.get("metadata") or {}).get("user_id")
    names = {"id": event["event_id"], "time": event["occurred_at"], "userid": user}
    return {"specversion": "1.0", "source": "app", "type": event_type, "data": data, **names}


def session_abandoned(user: str = "u") -> Envelope:
    """Return a SessionAbandoned that needs no SessionStarted: its metadata names the learner."""
    return envelope("SessionAbandoned", {"session_id": "s"}, metadata={"user_id": user})
