"""An empty ASGI function, the baseline that measures only the framework."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response


@functions_framework.aio.http
async def empty(_request: Request) -> Response:
    """Return 204."""
    return Response(status_code=204)
