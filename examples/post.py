"""Post a learner's lesson to ingest, and print its answer: python examples/post.py LEARNER"""

import os
import sys
import uuid
from datetime import UTC, datetime
from typing import Any

import requests

session = str(uuid.uuid4())


def event(event_type: str, **data: object) -> dict[str, Any]:
    """Return an event; post the same event_id again if you repeat a request."""
    return {
        "event_id": str(uuid.uuid4()),
        "event_type": event_type,
        "occurred_at": datetime.now(UTC).isoformat(),
        "data": {"session_id": session, **data},
    }


events = [
    event("SessionStarted", user_id=sys.argv[1], item_count=2),
    event("CorrectAnswerGiven", item_id="i-1", response_time_ms=2506),
    event("IncorrectAnswerGiven", item_id="i-2", response_time_ms=3100),
    event("SessionCompleted", score=50, duration_seconds=60),
]
headers = {"Authorization": f"Bearer {os.environ['EVENTS_TOKEN']}"}
response = requests.post(os.environ["EVENTS_URL"], json=events, headers=headers, timeout=30)
if not response.ok:  # a response of 429 or 503 says when to post the same body again
    raise SystemExit(f"{response.status_code}: {response.text}")
print(response.json())
