"""Smoke test: check green's query function before it gets traffic and during the watch."""

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from exit_status import Failed, log
from names import GREEN

_TIMEOUT_S = 20.0
_REVISION = "x-progress-revision"
_RETRY_DELAY_S = 10.0
FIRST_TRIES = 13  # a new instance may need two minutes to connect to its database
WATCH_TRIES = 3  # enough during the watch, because green's instances have started by then
_QUERY = {"query": "{ __typename }"}


@dataclass(frozen=True)
class Green:
    """Green's query function, at its tag's address or behind the load balancer.

    The load balancer routes requests with `key` to green and names green in a response header.
    `token` is a learner's token; without a token, the query is sent unauthenticated.
    """

    address: str
    key: str | None = None  # for the load balancer
    token: str | None = field(default_factory=lambda: os.environ.get("SMOKE_TOKEN"))

    def check(self, tries: int = FIRST_TRIES) -> None:
        """Check green until it responds as expected. Raise Failed if all `tries` fail."""
        for tries_left in reversed(range(tries)):
            try:
                self._check()
            except Failed as error:
                if not tries_left:
                    raise
                log(f"    {error}; trying again")
                time.sleep(_RETRY_DELAY_S)
            else:
                return

    def _check(self) -> None:
        status, body = self.request("/ready")
        if status != 200:
            raise Failed(f"green is not ready: /ready responded with {status}, {body[:200]!r}")
        status, body = self.request("/graphql", _QUERY)
        if not (_is_result(body) if self.token else status == 401 and _is_unauthenticated(body)):
            raise Failed(f"green's GraphQL gave an unexpected response: {status}, {body[:200]!r}")

    def request(self, path: str, body: Mapping[str, object] | None = None) -> tuple[int, bytes]:
        headers = {"content-type": "application/json"}
        if self.key:
            headers[_REVISION] = self.key
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(  # noqa: S310 - the operator sets the address
            self.address.rstrip("/") + path,
            data=json.dumps(body).encode() if body else None,
            headers=headers,
        )
        try:
            with _open_response(request) as response:
                if self.key and response.headers[_REVISION] != GREEN:
                    raise Failed(
                        f"{self.address} routed to another revision: "
                        "SMOKE_KEY differs from Terraform's smoke_key; set both to the same key"
                    )
                return response.status, response.read()
        except OSError as error:
            raise Failed(
                f"green does not respond at {self.address}{path}: {error}. A domain needs its DNS "
                "records and a certificate (infra/terraform/README.md)"
            ) from None


def _open_response(request: urllib.request.Request) -> http.client.HTTPResponse:
    """Return the response, whatever its status."""
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310 - see `request`
    except urllib.error.HTTPError as error:
        response = error
    opened: http.client.HTTPResponse = response
    return opened


def _is_result(body: bytes) -> bool:
    return bool(_parse(body) == {"data": {"__typename": "Query"}})


def _is_unauthenticated(body: bytes) -> bool:
    try:
        return bool(_parse(body)["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED")
    except (LookupError, TypeError):
        return False


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
