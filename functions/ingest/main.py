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
from progress.event_store import events
from progress.event_store.log import Delivery
from progress.ingest import metrics, publisher_post, push, responses
from progress.ingest.admission import TURN_BYTES, Admission
from progress.ingest.group_commit import GroupCommit, Others
from progress.ingest.senders import Senders, may_be_forged

env = settings.current()  # read at startup, so that an invalid setting prevents startup
logs.configure("ingest")
request_deadlines.limit()
sys.setswitchinterval(0.001)  # seconds, so that a small message hardly waits for a large one
admission = Admission()
learners = Admission(8 << 20, large_at_once=1, kept=1 << 20)  # what they post, which gives way
group = GroupCommit(lambda: database.connect(env, name="ingest", timeout_s=15), wakeups.send)
senders = Senders(env)
for fault in (HTTPException, 500):
    functions_framework.errorhandler(fault)(functools.partial(responses.explain, admission))


@functions_framework.http
def ingest(request: Request) -> ResponseReturnValue:
    authorization = request.headers.get("Authorization", "")
    match request.path:
        case "/health" | startup.PATH:
            return responses.probe(request, admission)
        case _ if may_be_forged(request.headers):
            return responses.reject(request, admission, 401)
        case "/events":
            return responses.receive(request, admission, senders, receive_post)
        case "/" if senders.may_push(authorization):
            return receive_push(request)
        case "/learners" if senders.may_push(authorization, env.push_account):
            return receive_learners_push(request)
        case path:
            status = 403 if path in ("/", "/learners") else 404
            return responses.reject(request, admission, status)


@admission.limit
def receive_push(request: Request, body: bytearray, arrived: float) -> int:
    """Append one push; return 204 once its events are on disk, or 503 to request redelivery."""
    topic = push.read_topic(request.headers.get("ce-source", ""))
    delivery = admission.decode(body, "", push.parse_delivery, topic)
    body.clear()  # frees its memory
    return append(request, delivery, arrived)[0]


@learners.limit
def receive_learners_push(request: Request, body: bytearray, arrived: float) -> int:
    """Append what learners posted, like another push, which a large one lets go first."""
    give_way = admission.give_way if len(body) > TURN_BYTES else None
    delivery = admission.decode(body, "", push.parse_delivery, events.LEARNER, give_way)
    body.clear()
    return append(request, delivery, arrived, give_way)[0]


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
    return responses.respond(200, publisher_post.describe(delivery, others))


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
