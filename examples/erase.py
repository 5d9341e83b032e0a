"""Erase a learner, as an administrator, and wait until it is done: python examples/erase.py USER"""

import os
import sys
import time
from typing import Any

import requests

ERASE = """mutation ($learner: ID!, $key: ID!) {
  eraseUser(userId: $learner, idempotencyKey: $key) { id state error }
}"""
HEADERS = {"Authorization": f"Bearer {os.environ['ADMIN_TOKEN']}"}


def ask(query: str, **variables: object) -> Any:
    """Return the only field of a response. The first error ends the program."""
    body: dict[str, Any] = {"query": query, "variables": variables}
    result = requests.post(os.environ["QUERY_URL"], json=body, headers=HEADERS, timeout=30).json()
    if "errors" in result:
        raise SystemExit(result["errors"][0]["message"])
    return next(iter(result["data"].values()))


# With the same key, a repeated request answers with the operation that the first one began.
operation = ask(ERASE, learner=sys.argv[1], key=f"erase {sys.argv[1]}")
while operation["state"] in {"PENDING", "RUNNING", "COMPENSATING"}:
    time.sleep(0.5)
    query = "query ($id: ID!) { operation(id: $id) { id state error } }"
    operation = ask(query, id=operation["id"])
print(operation["state"], operation["error"] or "")
