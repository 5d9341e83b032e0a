"""Files for developers: `/schema.graphql`, `/openapi.json`, and GraphiQL where it is enabled."""

import functools

from graphql import print_schema
from starlette.requests import Request
from starlette.responses import Response

from progress import files
from progress.query.graphql.schema import GRAPHQL
from progress.query.http import static_files
from progress.query.http.static_files import File, Folder

FOLDER = files.PACKAGE / "query" / "graphiql"

_SCHEMA, _OPENAPI = "/schema.graphql", "/openapi.json"
_FOR_MINUTES = "public, max-age=300"
# The policy does not require trusted types, because GraphiQL writes HTML without them. It allows
# inline styles, because GraphiQL's editor adds style elements.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class DeveloperFiles:
    """The schema and the contract of posts, always served, and GraphiQL below `/graphiql/`."""

    def __init__(self, *, has_graphiql: bool) -> None:
        self._files = Folder(FOLDER, "/graphiql/")
        self._has_graphiql = has_graphiql

    def answer(self, request: Request) -> Response | None:
        """Return the file at the request's path, or None if there is no file at this path."""
        if request.method not in ("GET", "HEAD"):
            return None
        if request.url.path == _SCHEMA:
            return static_files.respond(_printed_schema(), request, _FOR_MINUTES)
        if request.url.path == _OPENAPI:
            return static_files.respond(_described_posts(), request, _FOR_MINUTES)
        return self._files.answer(request) if self._has_graphiql else None

    def graphiql(self, request: Request) -> Response:
        text = (FOLDER / "index.html").read_text(encoding="utf-8")
        index = static_files.make(text.replace("{version}", self._files.version).encode(), ".html")
        policy = {"Content-Security-Policy": _POLICY, "Vary": "Accept, Accept-Encoding"}
        return static_files.respond(index, request, static_files.REVALIDATE, policy)


@functools.cache
def _described_posts() -> File:
    from progress.event_store.contract import files, openapi  # only developers ask

    return static_files.make(files.encode(openapi.make()).encode(), ".json")


@functools.cache
def _printed_schema() -> File:
    return static_files.make(f"{print_schema(GRAPHQL)}\n".encode(), ".graphql")
