"""Clients that are killed, or offline for days, lose and double nothing on a local stack.

Each learner answers until the client is killed, again and again; then a last run sends what is
left. Every item that the client told has exactly one answer in the read models, and so has every
item that it was about to tell. After a kill in the middle of a write, Chromium may take a database
for damaged at a later start, and delete it: the other one has a copy.
"""

import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from progress import settings
from progress.serve import ports, readiness
from tests.conftest import skip_without
from tests.support import browser, folders, http_servers, local_stack, node
from tests.support.learner_client import page_handler
from tests.support.local_stack import Stack

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
class Client:
    """The client in Node, with the outbox in files, or in Chromium, with the outbox in IndexedDB.

    The port is always the same, because a browser keeps a database for each origin.
    """

    name: str
    app: Path
    port: int

    def run(self, given: dict[str, str], folder: str, seconds: float) -> list[str]:
        """Kill the client so long after it first told something; return all that it told."""
        told: list[str] = []
        pages = page_handler(self.app, {"/": _PAGE, "/given": json.dumps(given)})

        class Handler(pages):  # type: ignore[valid-type,misc] # it is made for the run
            def do_POST(self) -> None:
                told.append(self.read_body().decode())
                self.respond(204)

        with http_servers.serve(Handler, self.port) as origin:
            chromium = [browser.PROGRAM or "", "--headless", *browser.OPTIONS]
            chromium += [f"--user-data-dir={folder}", "--remote-debugging-port=0", origin]
            process = subprocess.Popen(
                ["node", "--input-type=module", "-e", _NODE] if self.name == "node" else chromium,
                cwd=self.app,
                env=settings.child_env(ORIGIN=origin, OUTBOX=folder),
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Chromium has several processes
            )
            try:
                readiness.wait(lambda: bool(told), given["run"], seconds=100)
                time.sleep(seconds)
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return told


def kill_often(stack: Stack, client: Client, kills: int) -> int:
    drawn, answers = random.Random(1), 0
    for first in range(0, kills, KILLS_PER_LEARNER):
        learner = f"{client.name}-{first}"
        given = {"url": f"http://{ports.HOST}:{stack.port}", "learner": learner}
        given["token"] = stack.token(learner)
        told = []
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            for number in range(min(KILLS_PER_LEARNER, kills - first)):
                run = {**given, "run": f"run-{number}"}
                told += client.run(run, folder, drawn.uniform(0, 0.3))
            assert client.run({**given, "run": "drain"}, folder, 0) == ["empty"]
        counts = count_answers(stack, learner)
        assert {*told} <= counts.keys()
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
def port() -> int:
    return ports.reserve()


@pytest.fixture(scope="module")
def stack(port: int) -> Iterator[Stack]:
    with local_stack.run(CORS_ORIGINS=f"http://{ports.HOST}:{port}") as running:
        yield running


@pytest.mark.parametrize("name", ["node", "chromium"])
def test_a_killed_client_loses_and_doubles_nothing(
    request: pytest.FixtureRequest, stack: Stack, client_app: Path, port: int, name: str
) -> None:
    if name == "chromium" and browser.PROGRAM is None:
        skip_without(request, "chromium")
    kills = int(os.environ.get("KILLS", KILLS_PER_LEARNER))
    assert kill_often(stack, Client(name, client_app, port), kills) >= kills


def test_nine_days_offline_arrive_in_one_flush(stack: Stack, client_app: Path) -> None:
    url, token = f"http://{ports.HOST}:{stack.port}", stack.token("traveller")
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
