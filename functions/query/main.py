"""The query function, triggered by HTTP: it serves GraphQL and the page."""

import gc
import sys

gc.disable()  # importing without garbage collection saves 12 % of a cold start
sys.setswitchinterval(0.001)  # seconds, so that a request hardly waits for a body that is decoded

import functions_framework.aio  # noqa: E402 - see above
from starlette.requests import Request  # noqa: E402
from starlette.responses import Response  # noqa: E402

from progress import settings  # noqa: E402
from progress.adapters.telemetry import logs  # noqa: E402
from progress.query.http import server  # noqa: E402
from progress.query.http.app import QueryApi  # noqa: E402
from progress.query.read_models.reader import Reader  # noqa: E402

logs.configure("query")
# The API is created at startup. An invalid setting, such as a malformed origin, therefore
# prevents startup.
_api = QueryApi(settings.current(), Reader(settings.current()))
server.configure(_api.serve, _api.serve_socket)
gc.freeze()
# Fewer collections save 5 % of the CPU time. They are enough, because requests leave few cycles.
gc.set_threshold(20_000)
gc.enable()


@functions_framework.aio.http
async def query(request: Request) -> Response:
    """Serve GraphQL at /graphql, liveness at /health and readiness at /ready."""
    return await _api.answer(request)
