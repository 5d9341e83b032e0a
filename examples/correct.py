"""Post an answer, then retract it, as an app's undo does: python examples/correct.py LEARNER"""

import os
import sys
import uuid
from datetime import UTC, datetime
from typing import Any

import requests

learner = sys.argv[1]


def post(event_type: str, **data: object) -> str:
    """Post one event, and return its id."""
    event_id = str(uuid.uuid4())
    event: dict[str, Any] = {
        "event_id": event_id,
        "event_type": event_type,
        "occurred_at": datetime.now(UTC).isoformat(),
        "metadata": {"user_id": learner},
        "data": data,
    }
    headers = {"Authorization": f"Bearer {os.environ['EVENTS_TOKEN']}"}
    response = requests.post(os.environ["EVENTS_URL"], json=event, headers=headers, timeout=30)
    response.raise_for_status()
    return event_id


answer = {"session_id": str(uuid.uuid4()), "item_id": "i-1", "response_time_ms": 900}
wrong = post("IncorrectAnswerGiven", **answer)
# Every number is now as if the answer had never been given, whichever event arrives first.
post("EventRetracted", user_id=learner, retracted_event_id=wrong)
print(f"published and retracted {wrong}")
