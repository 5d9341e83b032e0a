"""Print a learner's progress now and at a moment: python examples/past.py 2026-01-31T12:00:00Z"""

import os
import sys
from typing import Any

import requests

QUERY = """query ($then: DateTime!) {
  now: userProgress { ...standing }
  then: userProgress(asOf: $then) { ...standing }
}
fragment standing on UserProgress { totalSessionsCompleted accuracyRate }"""
HEADERS = {"Authorization": f"Bearer {os.environ['TOKEN']}"}

body: dict[str, Any] = {"query": QUERY, "variables": {"then": sys.argv[1]}}
result = requests.post(os.environ["QUERY_URL"], json=body, headers=HEADERS, timeout=30).json()
if "errors" in result:
    raise SystemExit(result["errors"][0]["message"])
for moment, progress in result["data"].items():
    print(f"{moment}: {progress['totalSessionsCompleted'] if progress else 0} sessions completed")
