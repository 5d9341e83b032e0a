"""The door for commands: Pub/Sub pushes what is on `progress-commands` here."""

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from progress import logs, settings, waking
from progress.errors import ProgressError

settings.current()  # a bad setting stops the start


@functions_framework.http
def project(request: Request) -> ResponseReturnValue:
    """Does what a command says; 204 once it is done or another is at it, 503 to be asked again."""
    if request.method == "GET":
        return "", 200
    command = waking.open_push(request.get_data())
    if command is None:
        logs.write("WARNING", "expected a command: to wake a shard, or to carry out an operation")
        return "", 204
    try:
        waking.obey(command)
    except ProgressError as fault:
        logs.write("ERROR", f"{command} not done: {fault}")
        return "", 503
    return "", 204
