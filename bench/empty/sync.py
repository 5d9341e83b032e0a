"""An empty function, which measures the framework alone."""

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue


@functions_framework.http
def empty(_request: Request) -> ResponseReturnValue:
    """Return 204."""
    return "", 204
