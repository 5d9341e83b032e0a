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
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_PRESERVE = "--preserve-under-name"


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
            push(name, subscription[1])
        case ["pubsub", "snapshots", "create", name, *_]:
            of = options["--subscription"]
            failed = int(of in state["old"])
            state["snapshots"][name] = state["waits"].get(of, time.time())
        case ["pubsub", "snapshots", "describe", name, *_]:
            ends = datetime.fromtimestamp(state["snapshots"][name], UTC) + timedelta(days=7)
            print(ends.strftime("%Y-%m-%dT%H:%M:%S.123456789Z"))
        case ["run", "jobs", "execute", job, "--async", arguments, *_]:
            print(f"{job}-ours")
            run_job(state, arguments)
        case ["sql" | "neon" as program, *rest]:
            manage = manage_cloud_sql if program == "sql" else manage_neon
            failed = manage(rest, options)
        case ["run", "jobs", "execute", "progress-backup", *_]:
            command = ["progress", *options["--args"].split(",")]
            with_current = os.environ | {"DATABASE_URL": os.environ["CURRENT_DATABASE_URL"]}
            failed = subprocess.run(command, env=with_current, check=False).returncode
        case ["run", "jobs", "executions", "describe", *_]:
            failures = os.environ.get("GCLOUD_JOB_FAILS"), state.get("job", [0])[0]
            print(f"2026-11-20T01:00:00Z,{int(not any(failures)) or ''},1")
        case ["logging", "read", which, *_]:
            state["reads"][which] = state["reads"].get(which, 0) + 1
            print(state.get("job", ["", ""])[1], end="")
            print_log(which, 0 if "job" in state else state["reads"][which])
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
            print(*lines[: max(0, read - 1)], sep="\n", end="\n" if read > 1 else "")


def ask_server(statement: str) -> int:
    """Execute the statement as the server's superuser; return the exit code."""
    from pg8000.native import DatabaseError

    from tests.support.postgres_servers import connect_plainly

    url = urlsplit(os.environ["DATABASE_URL"])
    admin = url._replace(path="/postgres", netloc=f"postgres@{url.netloc.rpartition('@')[2]}")
    with closing(connect_plainly(admin.geturl())) as server:
        try:
            server.run(statement)
        except DatabaseError as refused:
            print(f"ERROR: (gcloud) {refused.args[0]['M']}", file=sys.stderr)
            return 1
    return 0


def run_job(state: dict[str, Any], arguments: str) -> None:
    """Run the command of the job, if there is a restored instance to run it on; keep its output."""
    if os.environ.get("RESTORED_AT"):
        command = ["progress", *arguments.removeprefix("--args=^|^").split("|")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        state["job"] = [done.returncode, done.stdout + done.stderr]


def manage_cloud_sql(words: list[str], options: dict[str, str]) -> int:
    """As Google does, drop no database that somebody uses."""
    match words:
        case ["backups", "list", *_] if "instance=progress" in options.get("--filter", ""):
            print("projects/p/backups/newest")
        case ["instances", "describe", _, "--format=value(ipAddresses[0].ipAddress)"]:
            print(os.environ["RESTORED_AT"])
        case ["databases", "delete", name, *_]:
            return ask_server(f'DROP DATABASE "{name}"')
        case ["databases", "create", name, *_]:
            return ask_server(f'CREATE DATABASE "{name}" OWNER progress_owner')
    return 0


def manage_neon(words: list[str], options: dict[str, str]) -> int:
    """Take only the names that Neon's console gives; return the exit code."""
    failed, database = 0, urlsplit(os.environ["DATABASE_URL"]).path[1:]
    match words:
        case ["branches", "list", *_]:
            branches = {"old": False, "production": True}.items()
            print(json.dumps([{"name": name, "default": default} for name, default in branches]))
        case ["databases", "list", "--branch=production", "--output=json"]:
            print(json.dumps([{"name": database, "owner_name": "neondb_owner"}]))
        case ["databases", "delete", name, "--branch=production"]:
            failed = ask_server(f'DROP DATABASE "{name}" WITH (FORCE)')
        case ["databases", "create", _, "--owner-name=neondb_owner", "--branch=production"]:
            failed = ask_server(f'CREATE DATABASE "{options["--name"]}"')
        case ["branches", "restore", "production", *_] | ["branches", "create", *_, "--no-compute"]:
            failed = int(not {options.get("--parent"), *options} & {"production", _PRESERVE})
        case _:
            failed = 1
    return failed


def push(name: str, endpoint: str) -> None:
    if not os.environ.get("PUBSUB_EMULATOR_HOST"):
        return
    from google.cloud.pubsub_v1 import SubscriberClient
    from google.pubsub_v1.types import PushConfig

    full = f"projects/{os.environ['PUBSUB_PROJECT_ID']}/subscriptions/{name}"
    with SubscriberClient() as subscriber:
        subscriber.modify_push_config(
            subscription=full, push_config=PushConfig(push_endpoint=endpoint)
        )


if __name__ == "__main__":
    sys.exit(main())
