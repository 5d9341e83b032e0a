"""The query API in a test: requests as the framework hands them over, responses read."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from progress.query.http.app import QueryApi
from progress.query.read_models import reader
from progress.settings import Settings
from tests.support import token_issuer
from tests.support.token_issuer import Issuer

Body = dict[str, Any]
END = b""  # as the last part of a body that comes in parts


class Api:
    """The API over one database, with an issuer of its own."""

    def __init__(self, url: str, issuer: Issuer, **changed: Any):
        self.url = url
        self._runner = asyncio.Runner()
        self._reader = reader.Reader(url)
        many = {"rate_limit_per_minute": 1_000_000}  # a test asks fast
        given: Body = {"environment": "development", **many, **changed}
        self._api = QueryApi(
            Settings(
                auth_issuer=token_issuer.NAME,
                auth_audience=token_issuer.AUDIENCE,
                auth_jwks_url=issuer.url,
                **given,
            )
        )

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] = b"",
        headers: dict[str, str] | None = None,
    ) -> Response:
        """The response to a request as bare as that; its body may come in parts."""
        path, _, query = path.partition("?")
        named = [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": named,
        }

        parts = iter([body] if isinstance(body, bytes) else body)
        whole = isinstance(body, bytes)

        async def receive() -> Body:
            part = next(parts, None)
            if part is None:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": part, "more_body": not whole and part != END}

        async def answered() -> Response:
            with reader.using(self._reader):
                return await self._api.answer(Request(scope, receive))

        return self._runner.run(answered())

    def post(
        self, query: str, user: str = "ann", /, *, roles: Any = None, **variables: object
    ) -> Body:
        """The body of the response to a learner's query."""
        body = msgspec.json.encode({"query": query, "variables": variables})
        return read(self.request("POST", "/graphql", body, headers(user, roles)))

    def get(self, query: str, user: str = "ann") -> Response:
        """The response to a query in the address."""
        return self.request("GET", "/graphql?" + urlencode({"query": query}), b"", headers(user))

    def data(self, query: str, user: str = "ann", /, **variables: object) -> Body:
        """The data of a query that is answered without an error."""
        answer = self.post(query, user, **variables)
        assert "errors" not in answer, answer["errors"]
        data: Body = answer["data"]
        return data

    def error(
        self, query: str, user: str = "ann", /, *, roles: Any = None, **variables: object
    ) -> tuple[str, str]:
        """The code and the message of the one error of a query."""
        (fault,) = self.post(query, user, roles=roles, **variables)["errors"]
        return fault["extensions"]["code"], fault["message"]

    def close(self) -> None:
        """End the connections and the loop."""
        self._runner.run(self._api._cache.close())
        self._runner.run(self._reader.close())
        self._runner.close()


def headers(user: str = "ann", roles: Any = None, **more: str) -> dict[str, str]:
    """Those of a request by the learner."""
    token = token_issuer.token(user, roles=roles)
    return {"content-type": "application/json", "authorization": f"Bearer {token}", **more}


def read(response: Response) -> Body:
    """The body, which is JSON."""
    body: Body = msgspec.json.decode(response.body)
    return body


@contextmanager
def serve(url: str, **changed: Any) -> Iterator[Api]:
    """The API for as long as the block lasts."""
    with token_issuer.serve() as issuer:
        made = Api(url, issuer, **changed)
        try:
            yield made
        finally:
            made.close()
