"""Publish a learner's lesson with Google's client library: python examples/publish.py LEARNER"""

import json
import os
import sys
import uuid
from datetime import UTC, datetime

from google.cloud import pubsub_v1

learner, session = sys.argv[1], str(uuid.uuid4())


def event(event_type: str, data: dict[str, object]) -> dict[str, object]:
    """Return an event; publish the same event_id again if you repeat a publish."""
    now = datetime.now(UTC).isoformat()
    return {
        "event_id": str(uuid.uuid4()),
        "event_type": event_type,
        "occurred_at": now,
        "data": {"session_id": session, **data},
    }


events = [
    event("SessionStarted", {"user_id": learner, "item_count": 2}),
    event("CorrectAnswerGiven", {"item_id": "i-1", "response_time_ms": 2506}),
    event("IncorrectAnswerGiven", {"item_id": "i-2", "response_time_ms": 3100}),
    event("SessionCompleted", {"score": 50, "duration_seconds": 60}),
]
publisher = pubsub_v1.PublisherClient()
topic = publisher.topic_path(os.environ["PROJECT"], "learning-events")
message_id = publisher.publish(topic, json.dumps(events).encode()).result(timeout=60)
print(f"published {len(events)} events of {learner} in message {message_id}")
