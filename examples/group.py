"""List a group's learners, those at risk first, as its teacher: python examples/group.py GROUP"""

import os
import sys
from typing import Any

import requests

QUERY = """query ($group: ID!, $after: String) {
  learners(groupId: $group, orderBy: AT_RISK, first: 50, after: $after) {
    edges { node { userId displayName atRisk lastStudyDate accuracyLast7Days } }
    pageInfo { hasNextPage endCursor }
  }
}"""
HEADERS = {"Authorization": f"Bearer {os.environ['TEACHER_TOKEN']}"}

after, has_next = None, True
while has_next:
    body: dict[str, Any] = {"query": QUERY, "variables": {"group": sys.argv[1], "after": after}}
    result = requests.post(os.environ["QUERY_URL"], json=body, headers=HEADERS, timeout=30).json()
    if "errors" in result:
        raise SystemExit(result["errors"][0]["message"])
    page = result["data"]["learners"]
    for edge in page["edges"]:
        print(edge["node"])
    after, has_next = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
