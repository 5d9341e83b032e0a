"""Clients that are killed, or offline for days, lose and double nothing on a local stack.

Each learner answers until the client is killed, again and again; then a last run sends what is
left. Every item that the client told has exactly one answer in the read models, and so has every
item that it was about to tell. After a kill in the middle of a write, Chromium may take a database
for damaged at a later start, and delete it: the other one has a copy.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from progress import settings
from progress.serve import ports, readiness
from tests.conftest import skip_without
from tests.support import browser, fault_stack, folders, http_servers, node
from tests.support.fault_stack import Stack

KILLS_PER_LEARNER = 5  # a learner may post 60 times a minute
_ITEMS = """query($after: String) { itemStats(first: 100, after: $after) {
  totalCount pageInfo { hasNextPage endCursor } edges { node { itemId answers } } } }"""
_DAYS = """query($from: Date!, $to: Date!) {
  dailyStats(from: $from, to: $to, zeroFill: false) { date answers } }"""
_NODE = """import { fileStorage } from "learner-progress";
import { start } from "./answers.mjs";
await start(process.env.ORIGIN, fileStorage(process.env.OUTBOX));
"""
_PAGE = """<!doctype html>
<script type="importmap">{"imports": {"learner-progress": "/index.js"}}</script>
<script type="module">
import { indexedDBStorage } from "learner-progress";
import { start } from "/answers.mjs";
await start("", indexedDBStorage("outbox"));
</script>"""


@dataclass
class Run:
    given: dict[str, str]
    told: list[str] = field(default_factory=list)

    def has_told(self) -> bool:
        return bool(self.told)


class Client:
    """The client in Node, with the outbox in files, or in Chromium, with the outbox in IndexedDB.

    The port is always the same, because a browser keeps a database for each origin.
    """

    def __init__(self, name: str, app: Path) -> None:
        (app / "killed.mjs").write_text(_NODE, encoding="utf-8")
        self.name, self._app, self._port = name, app, ports.reserve()
        self.origin = f"http://{ports.HOST}:{self._port}"
        folders = (app / "node_modules" / "learner-progress" / "dist", app)
        self._files = {f"/{file.name}": file for one in folders for file in one.glob("*.*js")}

    @contextlib.contextmanager
    def start(self, run: Run, folder: Path) -> Iterator[None]:
        files = self._files

        class Handler(http_servers.Handler):
            def do_GET(self) -> None:  # noqa: N802 - the name in http.server
                kind = "text/javascript" if self.path in files else "text/html"
                body = files[self.path].read_text() if self.path in files else _PAGE
                text = json.dumps(run.given) if self.path == "/given" else body
                self.respond(200, text.encode(), cut=None, **{"Content-Type": kind})

            def do_POST(self) -> None:  # noqa: N802 - the name in http.server
                run.told.append(self.read_body().decode())
                self.respond(204)

        chromium = [browser.PROGRAM or "", "--headless", *browser.OPTIONS]
        chromium += [f"--user-data-dir={folder}", "--remote-debugging-port=0", self.origin]
        with http_servers.serve(Handler, self._port):
            process = subprocess.Popen(
                ["node", "killed.mjs"] if self.name == "node" else chromium,
                cwd=self._app,
                env=settings.child_env(ORIGIN=self.origin, OUTBOX=str(folder)),
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Chromium has several processes
            )
            try:
                yield
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def kill_often(stack: Stack, client: Client, kills: int) -> int:
    drawn, answers = random.Random(1), 0
    for first in range(0, kills, KILLS_PER_LEARNER):
        learner = f"{client.name}-{first}"
        given = {"url": f"http://{ports.HOST}:{stack.port}", "run": "drain", "learner": learner}
        given["token"] = stack.token(learner, "learner")
        last = Run(given)
        numbers = range(min(KILLS_PER_LEARNER, kills - first))
        runs = [Run({**given, "run": f"run-{number}"}) for number in numbers]
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            for run in (*runs, last):
                with client.start(run, Path(folder)):
                    readiness.wait(run.has_told, run.given["run"], seconds=100)
                    time.sleep(drawn.uniform(0, 0.3))
        assert last.told == ["empty"]
        counts = count_answers(stack, learner)
        assert [item for run in runs for item in run.told if item not in counts] == []
        assert {*counts.values()} == {1}, f"{learner}: {counts}"
        answers += len(counts)
    return answers


def count_answers(stack: Stack, learner: str) -> dict[str, int]:
    stack.await_projection()
    counts: dict[str, int] = {}
    after = None
    while True:
        page = stack.ask(learner, _ITEMS, after=after)["itemStats"]
        counts |= {edge["node"]["itemId"]: edge["node"]["answers"] for edge in page["edges"]}
        if not page["pageInfo"]["hasNextPage"]:
            assert len(counts) == page["totalCount"]
            return counts
        after = page["pageInfo"]["endCursor"]


@pytest.fixture(scope="module")
def clients(client_app: Path) -> dict[str, Client]:
    return {name: Client(name, client_app) for name in ("node", "chromium")}


@pytest.fixture(scope="module")
def stack(clients: dict[str, Client]) -> Iterator[Stack]:
    with fault_stack.run_stack(CORS_ORIGINS=clients["chromium"].origin) as running:
        yield running


@pytest.mark.parametrize("name", ["node", "chromium"])
def test_a_killed_client_loses_and_doubles_nothing(
    request: pytest.FixtureRequest,
    stack: Stack,
    clients: dict[str, Client],
    name: str,
) -> None:
    if name == "chromium" and browser.PROGRAM is None:
        skip_without(request, "chromium")
    kills = int(os.environ.get("KILLS", KILLS_PER_LEARNER))
    assert kill_often(stack, clients[name], kills) >= kills


def test_nine_days_offline_arrive_in_one_flush(stack: Stack, client_app: Path) -> None:
    url, token = f"http://{ports.HOST}:{stack.port}", stack.token("traveller", "learner")
    with folders.create("outbox") as folder:
        outbox = str(folder)
        printed = node.run(client_app, "node", "offline.mjs", API=url, TOKEN=token, OUTBOX=outbox)
    delivered = {"accepted": 540, "refused": 0, "waiting": 0, "errors": []}
    assert json.loads(printed) == delivered
    stack.await_projection()
    today = datetime.now(UTC).date()
    bounds = {"from": f"{today - timedelta(days=10)}", "to": f"{today}"}
    days = stack.ask("traveller", _DAYS, **bounds)["dailyStats"]
    assert [day["answers"] for day in days] == [60] * 9
