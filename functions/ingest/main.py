"""The ingest function (Cloud Functions), triggered by Pub/Sub: it appends events to the log.

It takes pushes at / (at /learners those of learners' posts) and posts at /events.
`progress.ingest.group_commit` does the work.
"""

import functools
import sys
from collections.abc import Callable

import functions_framework
from flask import Request, Response
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from progress import settings
from progress.adapters import request_deadlines, startup
from progress.adapters.postgres import database
from progress.adapters.pubsub import wakeups
from progress.adapters.pubsub.push_request import HandledDelivery
from progress.adapters.telemetry import logs, tracing
from progress.errors import LettersFull
from progress.event_store.log import Delivery
from progress.ingest import metrics, post_request, publisher_post, push
from progress.ingest.admission import TURN_BYTES, Admission
from progress.ingest.group_commit import GroupCommit, Others

env = settings.current()  # read at startup, so that an invalid setting prevents startup
logs.configure("ingest")
request_deadlines.limit()
sys.setswitchinterval(0.001)  # seconds, so that a small message hardly waits for a large one
admission = Admission()
learners = Admission(8 << 20, large_at_once=1, kept=1 << 20)  # what they post, which gives way
group = GroupCommit(lambda: database.connect(env, name="ingest", timeout_s=15), wakeups.send)
posters = post_request.Posters(env)
for fault in (HTTPException, 500):
    functions_framework.errorhandler(fault)(functools.partial(post_request.explain, admission))


@functions_framework.http
def ingest(request: Request) -> ResponseReturnValue:
    match request.path:
        case "/health" | startup.PATH:
            return post_request.probe(request, admission)
        case _ if post_request.may_be_forged(request.headers):
            return post_request.reject(request, admission, 401)
        case "/events":
            return post_request.receive(request, admission, posters, receive_post)
        case "/" | push.LEARNERS_PATH as path:
            if posters.may_push(request):
                return pushes[path](request)
            return post_request.reject(request, admission, 403)
    return post_request.reject(request, admission, 404)


def receive_push(request: Request, body: bytearray, arrived: float) -> int:
    """Append one push; return 204 once its events are on disk, or 503 to request redelivery."""
    is_large = request.path == push.LEARNERS_PATH and len(body) > TURN_BYTES
    give_way = admission.give_way if is_large else None
    source = request.headers.get("ce-source", "")
    delivery = admission.decode(body, "", push.parse_delivery, source, request.path, give_way)
    body.clear()  # frees its memory
    return append(request, delivery, arrived, give_way)[0]


pushes = {"/": admission.limit(receive_push), push.LEARNERS_PATH: learners.limit(receive_push)}


def receive_post(request: Request, body: bytearray, arrived: float, poster: str) -> Response | int:
    """Append what was posted; say what became of it once it is on disk, or return 503.

    Raise LettersFull if it would leave too many dead letters.
    """
    delivery = admission.decode(
        body, poster, publisher_post.parse_delivery, request.mimetype, poster
    )
    body.clear()
    status, others = append(request, delivery, arrived)
    if others is None:
        return status
    return post_request.respond(200, publisher_post.describe(delivery, others))


def append(
    request: Request,
    delivery: Delivery,
    arrived: float,
    give_way: Callable[[], bool] | None = None,
) -> tuple[int, Others | None]:
    """Return the status of a push and, if all is on disk, what was not appended."""
    others = None
    trace = tracing.traceparent_of_push(delivery.message.attributes, request.headers.get)
    attributes = metrics.span_attributes(delivery)
    with HandledDelivery("ingest", trace, "ingest", attributes) as handled:
        committed = group.append_parts(delivery, arrived, give_way)
        others = committed.others
        logs.write(
            "INFO", "recorded", operation="ingest", outcome="ok",
            event_delay_ms=metrics.age_ms(delivery, committed.at),
            latency_ms=handled.milliseconds,
        )  # fmt: skip
    if isinstance(handled.error, LettersFull) and delivery.is_reported:
        raise handled.error
    return handled.status, others
