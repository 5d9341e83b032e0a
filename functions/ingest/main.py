"""The door for domain events: Pub/Sub pushes them here."""

import time

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from progress import database, doors, logs, push, settings, startup, wakeups
from progress.groupcommit import GroupCommit

here = settings.current()  # a bad setting stops the start
logs.begin("ingest")
group = GroupCommit(lambda: database.connect(here, name="ingest", patience=15), wakeups.send)


@functions_framework.http
def ingest(request: Request) -> ResponseReturnValue:
    """One Pub/Sub push; 204 once all of it is on disk, 503 to have it delivered again."""
    if request.method == "GET":
        return "", startup.status(request.path)
    arrived = time.monotonic()
    delivery = push.open_push(request.get_data(), request.headers.get("ce-source", ""))
    trace = push.trace_parent(delivery, request.headers.get)
    with doors.Pushed("ingest", trace, "ingest", push.told(delivery)) as pushed:
        committed_at = group.take(delivery, arrived)
        logs.write(
            "INFO", "recorded", operation="ingest", outcome="ok",
            event_delay_ms=push.age_ms(delivery, committed_at), latency_ms=pushed.milliseconds,
        )  # fmt: skip
    return "", pushed.status
