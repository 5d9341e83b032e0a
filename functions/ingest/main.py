"""The ingest function, which receives domain events from Pub/Sub."""

import functions_framework
from flask import Request

from progress import settings
from progress.adapters import request_deadlines
from progress.adapters.postgres import database
from progress.adapters.pubsub import wakeups
from progress.adapters.pubsub.push_request import PushRequest
from progress.adapters.telemetry import logs, tracing
from progress.ingest import metrics, push
from progress.ingest.admission import Admission
from progress.ingest.group_commit import GroupCommit

env = settings.current()  # read at startup, so that an invalid setting prevents startup
logs.configure("ingest")
request_deadlines.limit()
admission = Admission()
group = GroupCommit(lambda: database.connect(env, name="ingest", timeout_s=15), wakeups.send)


@functions_framework.http
@admission.limit
def ingest(request: Request, body: bytearray, arrived: float) -> int:
    """Append one push; return 204 once its events are on disk, or 503 to request redelivery."""
    delivery = push.parse_delivery(body, request.headers.get("ce-source", ""))
    body.clear()  # frees its memory
    trace = tracing.traceparent_of_push(delivery.message.attributes, request.headers.get)
    attributes = metrics.span_attributes(delivery)
    with PushRequest("ingest", trace, "ingest", attributes) as push_request:
        delay = metrics.age_ms(delivery, group.append(delivery, arrived))
        logs.write(
            "INFO", "recorded", operation="ingest", outcome="ok",
            event_delay_ms=delay, latency_ms=push_request.milliseconds,
        )  # fmt: skip
    return push_request.status
