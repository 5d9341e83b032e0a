"""An empty function: what the framework itself costs."""

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue


@functions_framework.http
def empty(_request: Request) -> ResponseReturnValue:
    """Nothing."""
    return "", 204
