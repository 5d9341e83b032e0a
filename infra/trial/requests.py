"""Check a new environment with requests to the query function and with one published event.

    requests.py --project P --address URL

The response of `/ready` shows that the query function reaches its database. The rejection of an
unauthenticated query shows that the function verifies tokens. After the event is published, the
release job runs `progress check`, which compares the log with the read models.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "release"))

import environments
import exit_status
import gcloud
from smoke import Green

_TIMEOUT_S = 1_200.0


def main() -> int:
    return exit_status.run("Check a new environment.", ("project", "address"), _run)


def _run(project: str, address: str) -> None:
    Green(address, token=None).check()
    exit_status.log(f"{address} is ready, and rejects an unauthenticated request")
    _publish(project)
    _check(project)
    exit_status.log("the log and the read models agree after a published event")


def _publish(project: str) -> None:
    now = datetime.now(UTC).isoformat()
    event = {
        "event_id": f"trial {now}",
        "event_type": "UserCreated",
        "occurred_at": now,
        "data": {"user_id": f"trial-{now}", "email": "trial@example.com"},
    }
    command = ("pubsub", "topics", "publish", "user-events", f"--message={json.dumps(event)}")
    gcloud.run((*command, f"--project={project}", "--quiet"), _TIMEOUT_S)


def _check(project: str) -> None:
    """Run `progress check` in the release job. Raise Failed if the command finds a difference."""
    region = environments.read("trial")["region"]
    command = ("run", "jobs", "execute", "progress-release", "--args=check", "--wait")
    gcloud.run((*command, f"--project={project}", f"--region={region}", "--quiet"), _TIMEOUT_S)


if __name__ == "__main__":
    sys.exit(main())
