"""The door for wake-ups: Pub/Sub pushes what is on `progress-commands` here."""

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from progress import logs, settings, waking
from progress.errors import ProgressError

settings.current()  # a bad setting stops the start


@functions_framework.http
def project(request: Request) -> ResponseReturnValue:
    """Folds the shard that the command names; 204 once it has caught up, 503 to be asked again."""
    if request.method == "GET":
        return "", 200
    shard = waking.open_push(request.get_data())
    if shard is None:
        logs.write("WARNING", "expected a command to wake a shard from 0 to 15")
        return "", 204
    try:
        waking.wake(shard)
    except ProgressError as fault:
        logs.write("ERROR", f"shard {shard} not projected: {fault}")
        return "", 503
    return "", 204
