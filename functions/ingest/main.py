"""The ingest function, triggered by Pub/Sub: it appends events to the log."""

import functools
import sys

import functions_framework
from flask import Request, Response
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from progress import settings
from progress.adapters import request_deadlines, startup
from progress.adapters.postgres import database
from progress.adapters.pubsub import push_request, wakeups
from progress.adapters.telemetry import logs
from progress.ingest import measured_append, publisher_post, push, responses
from progress.ingest.admission import Admission
from progress.ingest.group_commit import GroupCommit
from progress.ingest.senders import Senders, may_be_forged

env = settings.current()  # read at startup, so that an invalid setting prevents startup
logs.configure("ingest")
request_deadlines.limit()
sys.setswitchinterval(0.001)  # seconds, so that a small message hardly waits for a large one
admission = Admission()
group = GroupCommit(lambda: database.connect(env, name="ingest", timeout_s=15), wakeups.send)
append = functools.partial(measured_append.append, group)
senders = Senders(env)
for fault in (HTTPException, 500):
    functions_framework.errorhandler(fault)(functools.partial(responses.explain, admission))


@functions_framework.http
def ingest(request: Request) -> ResponseReturnValue:
    match request.path:
        case "/health" | startup.PATH:
            return responses.probe(request, admission)
        case _ if may_be_forged(request.headers):
            return responses.reject(request, admission, 401)
        case "/events":
            return responses.receive(request, admission, senders, receive_post)
        case "/":
            return receive_push(request)
        case _:
            return responses.reject(request, admission, 404)


def receive_push(request: Request) -> ResponseReturnValue:
    """Append one push; return 204 once its events are on disk, or 503 to request redelivery."""
    if not senders.takes_pushes:
        return responses.reject(request, admission, 403)
    topic = push.read_topic(request.headers.get("ce-source", ""))

    def handle(request: Request, body: bytearray, arrived: float) -> int:
        delivery = admission.decode(body, "", push.parse_delivery, topic)
        body.clear()  # frees its memory
        return append(request, delivery, arrived)[0]

    return push_request.respond(admission.admit(request, handle))


def receive_post(request: Request, body: bytearray, arrived: float, poster: str) -> Response | int:
    """Append what was posted; say what became of it once it is on disk, or return 503."""
    parse = publisher_post.parse_delivery
    delivery = admission.decode(body, poster, parse, request.mimetype, poster)
    body.clear()
    status, others = append(request, delivery, arrived)
    if others is None:
        return status
    return responses.respond(200, publisher_post.describe(delivery, others))
