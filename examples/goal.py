"""Set the learner's own goal: python examples/goal.py ANSWERS_PER_DAY"""

import os
import sys
import uuid
from typing import Any

import requests

SET_GOAL = """mutation ($answers: Int!, $key: ID!) {
  setGoal(answersPerDay: $answers, idempotencyKey: $key) { eventId counted }
}"""
HEADERS = {"Authorization": f"Bearer {os.environ['TOKEN']}"}

# If you repeat the request, send the same key again: then the goal is set once.
variables = {"answers": int(sys.argv[1]), "key": str(uuid.uuid4())}
body: dict[str, Any] = {"query": SET_GOAL, "variables": variables}
result = requests.post(os.environ["QUERY_URL"], json=body, headers=HEADERS, timeout=30).json()
if "errors" in result:
    raise SystemExit(result["errors"][0]["message"])
event = result["data"]["setGoal"]
print(f"event {event['eventId']} {'counts' if event['counted'] else 'will count soon'}")
