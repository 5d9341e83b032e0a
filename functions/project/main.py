"""The project function, which receives the commands of the topic `progress-commands`."""

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from progress import settings
from progress.adapters import request_heads, startup
from progress.adapters.body_deadline import BodyDeadline
from progress.adapters.pubsub import push_methods
from progress.adapters.pubsub.push_request import PushRequest
from progress.adapters.telemetry import logs, tracing
from progress.operations import commands
from progress.projections.notifications import Publisher

logs.configure("project")
request_heads.limit()
_body_deadline = BodyDeadline()
_publisher = Publisher(settings.current().redis_url)


@functions_framework.http
def project(request: Request) -> ResponseReturnValue:
    """Run a command; return 204, or 429 if another worker runs it, or 503 to request a retry."""
    if status := push_methods.reject(request.method):
        return push_methods.respond(status)
    if request.method == "GET":
        return "", startup.status(request.path)
    command, attributes = commands.parse_push(_body_deadline.read(request))
    operation = "wake" if isinstance(command, int) else "operation"
    trace = tracing.traceparent_of_push(attributes, request.headers.get)
    with PushRequest("project", trace, operation, commands.SPAN_ATTRIBUTES) as push_request:
        if command is None:
            logs.write("WARNING", "expected a command that wakes a shard or runs an operation")
        else:
            commands.handle(command, _publisher)
    return "", push_request.status
