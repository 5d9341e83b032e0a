"""Measure the CPU time of each part of a request: `python -m bench.request_parts`.

The query function runs in this process without a server, and processes one request at a time. For
each part, some requests run with this part and some without it. The part's cost is the difference
in CPU time.
"""

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import functions_framework.aio
import uvloop
from rich.console import Console

from bench import daily, function_client, functions, server, study, valkey
from bench.lines import Rounds
from progress import settings
from progress.adapters.telemetry import logs, tracing
from progress.adapters.telemetry.spans import Span
from progress.query.cache.cache import AnswerCache
from progress.query.cache.versions import DatabaseVersions
from progress.query.execution.compiled import SqlField
from progress.query.read_models.reader import Reader

_LEARNERS, _DAYS = 100, 60
_PAIRS = 180  # pairs of different requests: one runs with the part, one without it
_MISS_ONLY = ("caching the response", "PostgreSQL's driver and pool", "rows to JSON")
_ROWS = b"[" + b" " * 4_200 + b"]"

_App = Callable[..., Awaitable[None]]
Patches = list[tuple[object, str, object]]
Request = tuple[list[tuple[bytes, bytes]], bytes]


def _parts(app: Any) -> dict[str, Patches]:
    """Return, for each part, the patches that switch it off."""
    nothing, lookup, fetch_columns = Span(), AnswerCache.lookup, Reader.fetch_columns
    rows: list[Any] = []

    async def look_up_without_limit(cache: AnswerCache, _: str, *args: Any, **more: Any) -> Any:
        return await lookup(cache, None, *args, **more)

    async def reuse_rows(*args: Any, **more: Any) -> Any:
        if not rows:
            rows.append(await fetch_columns(*args, **more))
        return rows[0]

    async def return_none(_: DatabaseVersions) -> None:
        return None

    return {
        "the log line": [(logs, "write", lambda *_, **__: None)],
        "the trace": [(tracing, "start_span", lambda *_: nothing)],
        "the rate limit": [(AnswerCache, "lookup", look_up_without_limit)],
        "looking up the position that the projections have reached": [
            (DatabaseVersions, "projected_to", return_none)
        ],
        "caching the response": [(AnswerCache, "_store", lambda *_: None)],
        "PostgreSQL's driver and pool": [(Reader, "fetch_columns", reuse_rows)],
        "rows to JSON": [(SqlField, "_to_json", lambda *_: _ROWS)],
        "the shortcut through which POST /graphql bypasses the middleware": [
            (app, "middleware_stack", app.middleware_stack.layers)
        ],
    }


@contextlib.contextmanager
def _without(patches: Patches) -> Iterator[None]:
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in patches]
    try:
        for owner, name, other in patches:
            setattr(owner, name, other)
        yield
    finally:
        for owner, name, own in before:
            setattr(owner, name, own)


async def _measure(app: _App, questions: Iterator[Request]) -> Rounds:
    """Return the microseconds of a cache miss, of a cache hit, and of each part."""
    rounds = Rounds()
    # Let the app verify each token before the measurements.
    for request in itertools.islice(questions, _LEARNERS):
        await _time_request(app, request)
    for name, patches in _parts(app).items():
        requests = list(itertools.islice(questions, 2 * _PAIRS))
        for kind in ("miss", "hit"):
            for one, other in zip(requests[::2], requests[1::2], strict=True):
                seconds_with = await _time_request(app, one)
                with _without(patches):
                    seconds_without = await _time_request(app, other)
                rounds.add(kind, seconds_with)
                rounds.add(f"{kind} {name}", seconds_with - seconds_without)
    return rounds


async def _time_request(app: _App, request: Request) -> float:
    headers, body = request
    scope = {
        "type": "http", "method": "POST", "path": "/graphql", "root_path": "",
        "query_string": b"", "headers": headers,
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(_: Any) -> None:
        """Discard the response."""

    begin = time.thread_time_ns()
    await app(scope, receive, send)
    return (time.thread_time_ns() - begin) / 1_000


def _parse(request: bytes) -> Request:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = (line.partition(b": ") for line in head.split(b"\r\n")[1:])
    return [(name.lower(), value) for name, _, value in lines], body


def _requests(postgres: server.Server, stack: contextlib.ExitStack) -> Iterator[Request]:
    store = postgres.create_store()
    learners = study.fill(store, learners=_LEARNERS, days=_DAYS, answers=2, fresh=1)
    issuer = stack.enter_context(function_client.serve_issuer())
    redis = stack.enter_context(valkey.run())
    os.environ.update(issuer.environment, REDIS_URL=redis, DATABASE_URL=store.url)
    settings.current.cache_clear()
    requests = daily.questions(issuer, learners)
    return (_parse(request) for request, _ in requests)


def main() -> None:
    console = Console(file=sys.stdout)
    with server.run() as postgres, contextlib.ExitStack() as stack:
        questions = _requests(postgres, stack)
        source = str(functions.SOURCES["query"])
        create = functions_framework.aio.create_asgi_app
        app = create("query", source, "http")  # type: ignore[no-untyped-call]  # it has no types
        with Path(os.devnull).open("w", encoding="utf-8") as log, contextlib.redirect_stdout(log):
            rounds = uvloop.run(_measure(app, questions))
        for kind, skipped in (("miss", ()), ("hit", _MISS_ONLY)):
            console.print(f"{kind}: {rounds.median(kind):.0f} µs, without the server")
            for name in (part for part in _parts(app) if part not in skipped):
                console.print(f"  {name}: {rounds.median(f'{kind} {name}'):.1f} µs")


if __name__ == "__main__":
    main()
