"""An empty function under ASGI: what the framework itself costs."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response


@functions_framework.aio.http
async def empty(_request: Request) -> Response:
    """Nothing."""
    return Response(status_code=204)
