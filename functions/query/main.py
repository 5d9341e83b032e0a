"""The door of the query API: any HTTP request, answered from the read models."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from progress import settings
from progress.api.http import QueryApi

# Made when the function starts, so that it does not start at all where tokens cannot be trusted.
_api = QueryApi(settings.current())


@functions_framework.aio.http
async def query(request: Request) -> Response:
    """GraphQL at /graphql, liveness at /health, readiness at /ready."""
    return await _api.answer(request)
