"""The function that Pub/Sub pushes commands to, from the topic `progress-commands`."""

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from progress import settings
from progress.adapters import request_line, startup
from progress.adapters.pubsub.push_request import PushRequest
from progress.adapters.telemetry import logs, tracing
from progress.operations import commands
from progress.projections.notifications import Publisher

logs.configure("project")
request_line.limit_length()
_publisher = Publisher(settings.current().redis_url)


@functions_framework.http
def project(request: Request) -> ResponseReturnValue:
    """Run a command; 204 if done or claimed by another worker, 503 to redeliver."""
    if request.method == "GET":
        return "", startup.status(request.path)
    command, attributes = commands.parse_push(request.get_data())
    operation = "wake" if isinstance(command, int) else "operation"
    trace = tracing.traceparent_of_push(attributes, request.headers.get)
    with PushRequest("project", trace, operation, commands.SPAN_ATTRIBUTES) as push_request:
        if command is None:
            logs.write("WARNING", "expected a command: wake a shard, or carry out an operation")
        else:
            commands.handle(command, _publisher)
    return "", push_request.status
