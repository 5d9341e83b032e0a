"""The door of the query API: any HTTP request, answered from the read models."""

import gc

gc.disable()  # until everything is imported and there to stay: an eighth of the start

import functions_framework.aio  # noqa: E402 - see above
from starlette.requests import Request  # noqa: E402
from starlette.responses import Response  # noqa: E402

from progress import settings  # noqa: E402
from progress.adapters.telemetry import logs  # noqa: E402
from progress.query.http import heads, shortcut  # noqa: E402
from progress.query.http.app import QueryApi  # noqa: E402

logs.configure("query")
heads.bound()
# Made when the function starts, so that it does not start at all where tokens cannot be trusted.
_api = QueryApi(settings.current())
gc.freeze()
gc.set_threshold(20_000)  # requests leave few cycles; a search at every third is a twentieth
gc.enable()


@functions_framework.aio.http
async def query(request: Request) -> Response:
    """GraphQL at /graphql, liveness at /health, readiness at /ready."""
    shortcut.install(request.app, _api)
    return await _api.answer(request)
