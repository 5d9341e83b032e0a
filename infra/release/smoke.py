"""Green's query function is asked before learners are, and again while they ask it."""

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from names import GREEN
from outcome import Failed, Interrupted, say

_SECONDS = 20.0
_REVISION = "x-progress-revision"
_PAUSE = 10.0
FRESH = 13  # tries: an instance that starts may reach its database after two minutes only
WATCHED = 3  # tries: one that learners ask already
_QUESTION = {"query": "{ __typename }"}


@dataclass(frozen=True)
class Green:
    """Where green's query function answers: by a tag's address, or behind the load balancer.

    The load balancer leads to green whoever knows the key, and says so in its answer.
    `token` is a learner's; without one the question is asked as a stranger.
    """

    address: str
    key: str | None = None  # of the load balancer
    token: str | None = field(default_factory=lambda: os.environ.get("SMOKE_TOKEN"))

    def check(self, tries: int = FRESH) -> None:
        """Ask until it answers as it should. Failed if it does not after so many tries."""
        for left in reversed(range(tries)):
            try:
                self._check()
            except Interrupted:
                raise
            except Failed as fault:
                if not left:
                    raise
                say(f"    {fault}; asked again")
                time.sleep(_PAUSE)
            else:
                return

    def _check(self) -> None:
        status, body = self._ask("/ready")
        if status != 200:
            raise Failed(f"green is not ready: /ready gave {status}, {body[:200]!r}")
        status, body = self._ask("/graphql", _QUESTION)
        if not (_is_answered(body) if self.token else status == 401 and _is_refused(body)):
            raise Failed(f"green's GraphQL did not answer as it should: {status}, {body[:200]!r}")

    def _ask(self, path: str, body: dict[str, str] | None = None) -> tuple[int, bytes]:
        headers = {"content-type": "application/json"}
        if self.key:
            headers[_REVISION] = self.key
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(  # noqa: S310 - the operator's own address
            self.address.rstrip("/") + path,
            data=json.dumps(body).encode() if body else None,
            headers=headers,
        )
        try:
            with _opened(request) as answer:
                if self.key and answer.headers[_REVISION] != GREEN:
                    raise Failed(
                        f"{self.address} led to another revision: "
                        "SMOKE_KEY is not Terraform's smoke_key"
                    )
                return answer.status, answer.read()
        except OSError as fault:
            raise Failed(f"green does not answer at {self.address}{path}: {fault}") from None


def _opened(request: urllib.request.Request) -> http.client.HTTPResponse:
    """The answer, whatever its status is."""
    try:
        answer = urllib.request.urlopen(request, timeout=_SECONDS)  # noqa: S310 - the operator's own
    except urllib.error.HTTPError as refused:
        answer = refused
    opened: http.client.HTTPResponse = answer
    return opened


def _is_answered(body: bytes) -> bool:
    return bool(_read(body) == {"data": {"__typename": "Query"}})


def _is_refused(body: bytes) -> bool:
    """A stranger is turned away by GraphQL itself, so that it is there and knows whom to trust."""
    try:
        return bool(_read(body)["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED")
    except (LookupError, TypeError):
        return False


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
