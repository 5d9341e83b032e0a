"""An empty function, the baseline that measures only the framework."""

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue


@functions_framework.http
def empty(_request: Request) -> ResponseReturnValue:
    """Return 204."""
    return "", 204
