"""The project function, triggered by Pub/Sub: it updates realtime projections.

It takes the commands of the topic `progress-commands`. Under `progress serve`, processes that know
the key send them, and as many are run at a time as the database has connections for.
"""

import contextlib
import hmac
from uuid import UUID

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from progress import settings
from progress.adapters import request_deadlines, startup
from progress.adapters.pubsub import push_request, wakeups
from progress.adapters.telemetry import logs, tracing
from progress.projections import projector
from progress.projections.turns import Turns

env = settings.current()
logs.configure("project")
request_deadlines.limit()
_body_deadline = request_deadlines.BodyDeadline()
_key = f"Bearer {env.serve_key}".encode() if env.serve_key else None
_turns = Turns(env.serve_wakes) if env.serve_wakes else None


@functions_framework.http
def project(request: Request) -> ResponseReturnValue:
    """Run a command; return 204, 429 if another worker runs the operation, or 503 for a retry."""
    if status := push_request.reject(request.method):
        return push_request.respond(status)
    if request.method == "GET":
        return "", startup.status(request.path)
    if _key and not hmac.compare_digest(request.headers.get("Authorization", "").encode(), _key):
        return push_request.respond(403)
    command, attributes = projector.parse_push(_body_deadline.read(request))
    operation = "wake" if isinstance(command, int) else "operation"
    trace = tracing.traceparent_of_push(attributes, request.headers.get)
    destination = {"messaging.destination.name": wakeups.TOPIC}
    with push_request.HandledDelivery("project", trace, operation, destination) as handled:
        if command is None:
            logs.write("WARNING", "expected a command that wakes a shard or runs an operation")
        elif isinstance(command, UUID):
            # Imported here, so that a cold start for a wake-up loads no steps of operations.
            from progress.operations import runner

            with _turns.operation() if _turns else contextlib.nullcontext():
                runner.run(command)
        else:
            wake = _turns.wake if _turns else projector.wake
            wake(command, wakeups.read_event_delay(attributes))
    return "", handled.status
