"""Publish an answer, then retract it, as an app's undo does: python examples/correct.py LEARNER"""

import json
import os
import sys
import uuid
from datetime import UTC, datetime

from google.cloud import pubsub_v1

learner = sys.argv[1]
publisher = pubsub_v1.PublisherClient()


def publish(event_type: str, **data: object) -> str:
    """Publish one event, and return its id."""
    event_id = str(uuid.uuid4())
    event = {
        "event_id": event_id,
        "event_type": event_type,
        "occurred_at": datetime.now(UTC).isoformat(),
        "metadata": {"user_id": learner},
        "data": data,
    }
    path = publisher.topic_path(os.environ["PROJECT"], "learning-events")
    publisher.publish(path, json.dumps(event).encode()).result(timeout=60)
    return event_id


answer = {"session_id": str(uuid.uuid4()), "item_id": "i-1", "response_time_ms": 900}
wrong = publish("IncorrectAnswerGiven", **answer)
# Every number is now as if the answer had never been given, whichever event arrives first.
publish("EventRetracted", user_id=learner, retracted_event_id=wrong)
print(f"published and retracted {wrong}")
