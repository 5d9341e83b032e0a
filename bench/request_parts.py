"""`python -m bench.request_parts`: processor time of the parts of a request to the query function.

The function runs in this process, without a server, and is asked one question after another. Each
part is left out in turn: its cost is the time that a request then takes less.
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

from bench import asking, daily, functions, server, study, valkey
from bench.lines import Rounds
from progress import settings
from progress.adapters.telemetry import logs, tracing
from progress.adapters.telemetry.spans import Span
from progress.query.cache.cache import Cache
from progress.query.execution.compiled import Compiled
from progress.query.read_models import reader

_LEARNERS, _DAYS = 100, 60
_PAIRS = 180  # of neighbours, one with and one without the part; no question is asked twice
_MISSED = ("keeping the answer", "PostgreSQL's driver and pool", "rows to JSON")
_ROWS = b"[" + b" " * 4_200 + b"]"

_App = Callable[..., Awaitable[None]]
Patches = list[tuple[object, str, object]]
Request = tuple[list[tuple[bytes, bytes]], bytes]


def _parts(app: Any) -> dict[str, Patches]:
    """What to replace so that a part is left out."""
    nothing, ask, narrowed = Span(), Cache.ask, reader.narrowed
    found: list[Any] = []

    async def uncounted(cache: Cache, _: str, *told: Any, **more: Any) -> Any:
        return await ask(cache, None, *told, **more)

    async def held(*told: Any, **more: Any) -> Any:
        if not found:
            found.append(await narrowed(*told, **more))
        return found[0]

    async def nowhere(_: Cache) -> None:
        return None

    return {
        "the log line": [(logs, "write", lambda *_, **__: None)],
        "the trace": [(tracing, "begun", lambda *_: nothing)],
        "the rate limit": [(Cache, "ask", uncounted)],
        "how far the projections have come": [(Cache, "projected_to", nowhere)],
        "keeping the answer": [(Cache, "_keep", lambda *_: None)],
        "PostgreSQL's driver and pool": [(reader, "narrowed", held)],
        "rows to JSON": [(Compiled, "_written", lambda *_: _ROWS)],
        "the framework's layers, which are gone around": [
            (app, "middleware_stack", app.middleware_stack.layers)
        ],
    }


@contextlib.contextmanager
def _without(patches: Patches) -> Iterator[None]:
    before = [(where, name, getattr(where, name)) for where, name, _ in patches]
    try:
        for where, name, other in patches:
            setattr(where, name, other)
        yield
    finally:
        for where, name, own in before:
            setattr(where, name, own)


async def _measured(app: _App, questions: Iterator[Request]) -> Rounds:
    """Microseconds of a miss and of a hit, and how many fewer they take without each part."""
    rounds = Rounds()
    for request in itertools.islice(questions, _LEARNERS):  # each learner's token is known then
        await _took(app, request)
    for name, patches in _parts(app).items():
        asked = list(itertools.islice(questions, 2 * _PAIRS))
        for kind in ("miss", "hit"):
            for one, other in zip(asked[::2], asked[1::2], strict=True):
                whole = await _took(app, one)
                with _without(patches):
                    less = await _took(app, other)
                rounds.add(kind, whole)
                rounds.add(f"{kind} {name}", whole - less)
    return rounds


async def _took(app: _App, request: Request) -> float:
    headers, body = request
    scope = {
        "type": "http", "method": "POST", "path": "/graphql", "root_path": "",
        "query_string": b"", "headers": headers,
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(_: Any) -> None:
        """Goes nowhere."""

    begin = time.thread_time_ns()
    await app(scope, receive, send)
    return (time.thread_time_ns() - begin) / 1_000


def _read(request: bytes) -> Request:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = (line.partition(b": ") for line in head.split(b"\r\n")[1:])
    return [(name.lower(), value) for name, _, value in lines], body


def _asked(postgres: server.Server, stack: contextlib.ExitStack) -> Iterator[Request]:
    store = postgres.store()
    learners = study.fill(store, learners=_LEARNERS, days=_DAYS, answers=2, fresh=1)
    issuer = stack.enter_context(asking.issuer())
    redis = stack.enter_context(valkey.running())
    os.environ.update(issuer.environment, REDIS_URL=redis, DATABASE_URL=store.url)
    settings.current.cache_clear()
    asked = daily.questions(issuer, learners)
    return (_read(request) for request, _ in asked)


def main() -> None:
    console = Console(file=sys.stdout)
    with server.running() as postgres, contextlib.ExitStack() as stack:
        questions = _asked(postgres, stack)
        source = str(functions.SOURCES["query"])
        create = functions_framework.aio.create_asgi_app
        app = create("query", source, "http")  # type: ignore[no-untyped-call]  # it has no types
        with Path(os.devnull).open("w", encoding="utf-8") as log, contextlib.redirect_stdout(log):
            rounds = uvloop.run(_measured(app, questions))
        for kind, left_out in (("miss", ()), ("hit", _MISSED)):
            console.print(f"{kind}: {rounds.median(kind):.0f} µs, without the server")
            for name in (each for each in _parts(app) if each not in left_out):
                console.print(f"  {name}: {rounds.median(f'{kind} {name}'):.1f} µs")


if __name__ == "__main__":
    main()
