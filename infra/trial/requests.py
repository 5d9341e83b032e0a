"""Ask a new environment's query function, and send an event through all of it.

    requests.py --project P --region R --address URL

The answer to a stranger shows that the function reads its database and knows whom to trust. An
event is published, and the release job's `check` compares the log with the read models.
"""

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "release"))

import gcloud
from outcome import Failed, say
from smoke import Green

_TIMEOUT_S = 1_200.0


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description="Asks a new environment.")
    for name in ("project", "region", "address"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    try:
        Green(given.address, token=None).check()
        say(f"{given.address} is ready, and refuses a stranger")
        _publish(given.project)
        _check(given.project, given.region)
        say("an event was published; the log and the read models agree")
    except Failed as fault:
        sys.stderr.write(f"requests: {fault}\n")
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
    words = ("pubsub", "topics", "publish", "user-events", f"--message={json.dumps(event)}")
    gcloud.run((*words, f"--project={project}", "--quiet"), _TIMEOUT_S)


def _check(project: str, region: str) -> None:
    """Failed where the job's `check` finds a difference."""
    words = ("run", "jobs", "execute", "progress-release", "--args=check", "--wait")
    gcloud.run((*words, f"--project={project}", f"--region={region}", "--quiet"), _TIMEOUT_S)


if __name__ == "__main__":
    sys.exit(main())
