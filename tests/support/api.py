"""The query API in the test's process: called with Starlette requests, or as a typed Python API."""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

import msgspec
from graphql import GraphQLField, GraphQLObjectType, get_named_type
from starlette.requests import Request
from starlette.responses import Response

from progress.query.graphql.schema import GRAPHQL
from progress.query.http.app import QueryApi
from progress.query.read_models.queries import Queries
from progress.query.read_models.reader import Reader
from progress.settings import Settings
from tests.support import event_loop, http_client, token_issuer
from tests.support.token_issuer import Issuer

Body = dict[str, Any]
END = b""  # The last chunk of a body that comes in chunks.
_T = TypeVar("_T")
QUERY = cast("GraphQLObjectType", GRAPHQL.query_type)
NOWHERE = "postgresql://secret@/nowhere?host=/nowhere"  # There is no database at this URL.


def select_all(field: GraphQLField) -> str:
    inside = getattr(get_named_type(field.type), "fields", {}).items()
    parts = [f"{name} {select_all(each)}" for name, each in inside if not each.args]
    return f"{{ {' '.join(parts)} }}" if parts else ""


class Api:
    def __init__(self, url: str, issuer: Issuer, parts: Body | None = None, **changed: Any):
        """Pass `parts` to the QueryApi, and the rest to its settings."""
        self.url = url
        self._runner = asyncio.Runner()
        self.reader = Reader(url)
        unlimited = {"rate_limit_per_minute": 1_000_000}
        options: Body = {"environment": "development", **unlimited, **changed}
        self._api = QueryApi(
            Settings(
                auth_issuer=token_issuer.NAME,
                auth_audience=token_issuer.AUDIENCE,
                auth_jwks_url=issuer.url,
                **options,
            ),
            self.reader,
            **(parts or {}),
        )

    def request(self, *sent: Any, **named: Any) -> Response:
        return self.run(self.answer(*sent, **named))

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        return self._runner.run(coroutine)

    async def answer(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] = b"",
        headers: dict[str, str] | None = None,
    ) -> Response:
        path, _, query = path.partition("?")
        encoded = [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": encoded,
        }

        chunks = iter([body] if isinstance(body, bytes) else body)
        is_whole = isinstance(body, bytes)

        async def receive() -> Body:
            chunk = next(chunks, None)
            if chunk is None:
                return {"type": "http.disconnect"}
            return {
                "type": "http.request",
                "body": chunk,
                "more_body": not is_whole and chunk != END,
            }

        return await self._api.answer(Request(scope, receive))

    def post(
        self, query: str, user: str = "ann", /, *, roles: Any = None, **variables: object
    ) -> Body:
        body = msgspec.json.encode({"query": query, "variables": variables})
        return read(self.request("POST", "/graphql", body, headers(user, roles)))

    def get(self, query: str, user: str = "ann") -> Response:
        return self.request("GET", "/graphql?" + urlencode({"query": query}), b"", headers(user))

    def data(self, query: str, user: str = "ann", /, **variables: object) -> Body:
        answer = self.post(query, user, **variables)
        assert "errors" not in answer, answer["errors"]
        data: Body = answer["data"]
        return data

    def error(
        self, query: str, user: str = "ann", /, *, roles: Any = None, **variables: object
    ) -> tuple[str, str]:
        (error,) = self.post(query, user, roles=roles, **variables)["errors"]
        return error["extensions"]["code"], error["message"]

    def close(self) -> None:
        redis = self._api._redis
        event_loop.close(self._runner, self.reader.close, *([redis.close] if redis else []))


def headers(user: str = "ann", roles: Any = None, **more: str) -> dict[str, str]:
    return http_client.headers(token_issuer.token(user, roles=roles), **more)


def read(response: Response) -> Body:
    body: Body = msgspec.json.decode(response.body)
    return body


@contextmanager
def serve(url: str, **changed: Any) -> Iterator[Api]:
    with token_issuer.serve() as issuer:
        query_api = Api(url, issuer, **changed)
        try:
            yield query_api
        finally:
            query_api.close()


class QueryClient:
    def __init__(self, url: str):
        self._runner = asyncio.Runner()
        self._reader = Reader(url)
        self.queries = Queries(self._reader)

    def __call__(self, query: Coroutine[Any, Any, _T]) -> _T:
        return self._runner.run(query)

    def close(self) -> None:
        event_loop.close(self._runner, self._reader.close)


def plain(row: msgspec.Struct | None) -> dict[str, Any] | None:
    return None if row is None else msgspec.structs.asdict(row)
