"""A fake gcloud for the runbook's scripts.

It keeps subscriptions in a file, and runs the job `progress-backup` with the current database. If a
Pub/Sub emulator runs, the fake also stops and resumes the emulator's pushes. A snapshot of a
subscription expires 7 days after the oldest waiting message was published. The fake rejects a
snapshot that would expire soon.
"""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path


def main() -> int:
    """Execute a gcloud command: record it, print what gcloud would print, return the exit code."""
    file = Path(os.environ["GCLOUD_STATE"])
    state = json.loads(file.read_text(encoding="utf-8"))
    words = sys.argv[1:]
    state["told"].append(words)
    options = dict(word.partition("=")[::2] for word in words if word.startswith("--"))
    failed = 0
    match words:
        case ["pubsub", "subscriptions", "list", *_]:
            list_subscriptions(state, options["--filter"], options["--format"])
        case ["pubsub", "subscriptions", "modify-push-config", name, *_]:
            subscription = next(
                candidate for candidate in state["subscriptions"] if candidate[0] == name
            )
            named = ("--push-endpoint", "--push-auth-service-account", "--push-auth-token-audience")
            subscription[1:] = [options.get(option, "") for option in named]
            if os.environ.get("PUBSUB_EMULATOR_HOST"):
                push(name, subscription[1])
        case ["pubsub", "snapshots", "create", name, *_]:
            of = options["--subscription"]
            failed = int(of in state["old"])
            state["snapshots"][name] = state["waits"].get(of, time.time())
        case ["pubsub", "snapshots", "describe", name, *_]:
            ends = datetime.fromtimestamp(state["snapshots"][name], UTC) + timedelta(days=7)
            print(ends.strftime("%Y-%m-%dT%H:%M:%S.123456789Z"))
        case ["run", "jobs", "execute", job, "--async", *_]:
            print(f"{job}-ours")
        case ["run", "jobs", "execute", "progress-backup", *_]:
            command = ["progress", *options["--args"].split(",")]
            with_current = os.environ | {"DATABASE_URL": os.environ["CURRENT_DATABASE_URL"]}
            failed = subprocess.run(command, env=with_current, check=False).returncode
        case ["run", "jobs", "executions", "describe", *_]:
            succeeded = "" if os.environ.get("GCLOUD_JOB_FAILS") else 1
            print(f"2026-11-20T01:00:00Z,{succeeded},1")
        case ["logging", "read", which, *_]:
            state["reads"][which] = state["reads"].get(which, 0) + 1
            print_log(which, state["reads"][which])
    file.write_text(json.dumps(state), encoding="utf-8")
    return failed


def list_subscriptions(state: dict[str, list[list[str]]], which: str, how: str) -> None:
    for name, *pushed in state["subscriptions"]:
        chosen = bool(pushed[0]) if which.startswith("pushConfig") else name.endswith("-ingest-sub")
        if chosen:
            print(",".join([name, *pushed]) if how.startswith("csv") else name)


def print_log(which: str, read: int) -> None:
    """Print the lines that the filter selects from the logs of two concurrent executions.

    The lines arrive late: each read finds one more line of each execution, the first read none.
    """
    for execution in ("others", "ours", "others"):
        if "execution_name" not in which or f'-{execution}"' in which:
            lines = f"output of execution {execution}", f"last line of {execution}"
            print(*lines[: read - 1], sep="\n", end="\n" if read > 1 else "")


def push(name: str, endpoint: str) -> None:
    from google.cloud.pubsub_v1 import SubscriberClient
    from google.pubsub_v1.types import PushConfig

    full = f"projects/{os.environ['PUBSUB_PROJECT_ID']}/subscriptions/{name}"
    with SubscriberClient() as subscriber:
        subscriber.modify_push_config(
            subscription=full, push_config=PushConfig(push_endpoint=endpoint)
        )


if __name__ == "__main__":
    sys.exit(main())
