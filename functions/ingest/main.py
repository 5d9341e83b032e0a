"""The door for domain events: Pub/Sub pushes them here."""

import functions_framework
from flask import Request

from progress import settings
from progress.adapters import request_line
from progress.adapters.postgres import database
from progress.adapters.pubsub import push_request, wakeups
from progress.adapters.telemetry import logs, tracing
from progress.ingest import push
from progress.ingest.admission import Admission
from progress.ingest.group_commit import GroupCommit

here = settings.current()  # a bad setting stops the start
logs.configure("ingest")
request_line.limit_length()
room = Admission()
group = GroupCommit(lambda: database.connect(here, name="ingest", timeout_s=15), wakeups.send)


@functions_framework.http
@room.admitting
def ingest(request: Request, body: bytearray, arrived: float) -> int:
    """One Pub/Sub push; 204 once all of it is on disk, 503 to have it delivered again."""
    delivery = push.parse_delivery(body, request.headers.get("ce-source", ""))
    body.clear()  # memory
    trace = tracing.traceparent_of_push(delivery.message.attributes, request.headers.get)
    with push_request.PushRequest(
        "ingest", trace, "ingest", push.span_attributes(delivery)
    ) as pushed:
        delay = push.age_ms(delivery, group.take(delivery, arrived))
        logs.write(
            "INFO", "recorded", operation="ingest", outcome="ok",
            event_delay_ms=delay, latency_ms=pushed.milliseconds,
        )  # fmt: skip
    return pushed.status
