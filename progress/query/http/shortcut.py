"""The way of POST /graphql around the framework's layers, which cost a quarter of a hit.

For each request they make an execution id for the framework's own logging, match four routes and
set up three handlers of exceptions. `QueryApi.answer` needs none of that: it answers whatever
happens. Every other request goes through the layers.
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from progress.query.http.app import QueryApi


class _Shortcut:
    """The application's outermost layer."""

    def __init__(self, layers: ASGIApp, api: QueryApi) -> None:
        self.layers, self._api = layers, api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/graphql" and scope["method"] == "POST":
            response = await self._api.answer(Request(scope, receive, send))
            await response(scope, receive, send)
        else:
            await self.layers(scope, receive, send)


def install(app: Starlette, api: QueryApi) -> None:
    """Put the shortcut before the layers of the application, once.

    They are made for its first request, so that is when this can be called first.
    """
    layers = app.middleware_stack
    if layers is not None and not isinstance(layers, _Shortcut):
        app.middleware_stack = _Shortcut(layers, api)
