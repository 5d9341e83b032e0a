"""The door for commands: Pub/Sub pushes what is on `progress-commands` here."""

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from progress import doors, logs, requestline, settings, startup, waking

settings.current()  # a bad setting stops the start
logs.begin("project")
requestline.bound()


@functions_framework.http
def project(request: Request) -> ResponseReturnValue:
    """Does what a command says; 204 once it is done or another is at it, 503 to be asked again."""
    if request.method == "GET":
        return "", startup.status(request.path)
    body = request.get_data()
    command = waking.open_push(body)
    operation = "wake" if isinstance(command, int) else "operation"
    trace = waking.trace_parent(body, request.headers.get)
    with doors.Pushed("project", trace, operation, waking.TOLD) as pushed:
        if command is None:
            logs.write("WARNING", "expected a command: wake a shard, or carry out an operation")
        else:
            waking.obey(command)
    return "", pushed.status
