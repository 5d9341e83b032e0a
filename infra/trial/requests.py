"""Check a new environment with requests to the query function and with one published event.

    requests.py --project P --region R --address URL

If the query function rejects an unauthenticated request, the function reaches its database and
verifies tokens. After the event is published, the release job runs `progress check`, which compares
the log with the read models.
"""

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "release"))

import gcloud
from exit_status import Failed, log
from smoke import Green

_TIMEOUT_S = 1_200.0


def main() -> int:
    """Run the checks; return the exit code."""
    parser = argparse.ArgumentParser(description="Check a new environment.")
    for name in ("project", "region", "address"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    try:
        Green(arguments.address, token=None).check()
        log(f"{arguments.address} is ready, and rejects an unauthenticated request")
        _publish(arguments.project)
        _check(arguments.project, arguments.region)
        log("published an event: the log and the read models agree")
    except Failed as error:
        sys.stderr.write(f"requests: {error}\n")
        return 1
    return 0


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


def _check(project: str, region: str) -> None:
    """Run `progress check` in the release job. Raise Failed if the command finds a difference."""
    command = ("run", "jobs", "execute", "progress-release", "--args=check", "--wait")
    gcloud.run((*command, f"--project={project}", f"--region={region}", "--quiet"), _TIMEOUT_S)


if __name__ == "__main__":
    sys.exit(main())
