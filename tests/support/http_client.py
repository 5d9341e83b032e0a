"""Send single requests to running functions, and queries to a running API."""

import json
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import Any

from progress.serve import ports

Body = dict[str, Any]


def headers(token: str, **more: str) -> dict[str, str]:
    return {"content-type": "application/json", "authorization": f"Bearer {token}", **more}


def fetch(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    seconds: float = 60,
) -> tuple[int, bytes]:
    with closing(HTTPConnection(ports.HOST, port, timeout=seconds)) as connection:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()


def fetch_json(
    port: int, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, Body]:
    status, content = fetch(port, method, path, json.dumps(body).encode(), headers)
    return status, json.loads(content)


def assert_ours(body: Any, headers: Any) -> None:
    """Require an answer that a client can tell from a proxy's."""
    assert isinstance(json.loads(body)["error"], str)
    assert headers["Progress-Error"] == "1"
    assert headers["Content-Type"].startswith("application/json")


def push(
    port: int, body: bytes, *, path: str = "/", token: str = "", seconds: float = 60
) -> int | None:
    try:
        return fetch(port, "POST", path, body, headers(token), seconds=seconds)[0]
    except (OSError, HTTPException):
        return None


def ask(port: int, headers: Mapping[str, str], query: str, /, **variables: object) -> Body:
    sent = {"query": query, "variables": variables}
    _, answer = fetch_json(port, "POST", "/graphql", sent, **headers)
    assert "errors" not in answer, answer
    data: Body = answer["data"]
    return data
