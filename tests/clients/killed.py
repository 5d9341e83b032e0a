"""Kill clients at drawn instants: python -m tests.clients.killed node|chromium KILLS SEED.

Each learner answers until the client is killed, again and again; then a last run sends what is
left. Every item that the client told has exactly one answer in the read models, and so has every
item that it was about to tell.
"""

import contextlib
import functools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from progress import settings
from progress.local import ports, readiness
from tests.support import browser, folders, http_servers
from tests.support.fault_stack import Stack
from tests.support.learner_client import CLIENT, install

KILLS_PER_LEARNER = 5  # a learner may post 60 times a minute
_ITEMS = """query($after: String) { itemStats(first: 100, after: $after) {
  totalCount pageInfo { hasNextPage endCursor } edges { node { itemId answers } } } }"""
_NODE = """import { writeSync } from "node:fs";
import { fileStorage } from "learner-progress";
import * as answers from "./answers.mjs";
const { MODE: mode, OUTBOX: path, ...rest } = process.env;
const [url, token, run] = [rest.API, rest.TOKEN, rest.RUN];
const tell = (text) => writeSync(1, `${text}\\n`);
await answers[mode]({ url, token, run, tell, storage: fileStorage(path) });
"""
_PAGE = """<!doctype html>
<script type="importmap">{"imports": {"learner-progress": "/index.js"}}</script>
<script type="module">
import { indexedDBStorage } from "learner-progress";
import * as answers from "/answers.mjs";
const { mode, ...given } = await (await fetch("/given")).json();
const tell = (text) => fetch("/told", { method: "POST", body: text });
await answers[mode]({ ...given, tell, storage: indexedDBStorage("outbox") });
</script>"""


@dataclass
class Run:
    """What a run of the client is given, and what it told."""

    stack: Stack
    learner: str
    folder: Path
    name: str = "drain"
    told: list[str] = field(default_factory=list)

    @property
    def given(self) -> dict[str, str]:
        url = f"http://{ports.HOST}:{self.stack.port}"
        mode = "drain" if self.name == "drain" else "answer"
        token = self.stack.token(self.learner, "learner")
        return {"mode": mode, "url": url, "token": token, "run": self.name}


class Node:
    """The client in Node, with the outbox in files."""

    def __init__(self, app: Path) -> None:
        (app / "node.mjs").write_text(_NODE, encoding="utf-8")
        self._app, self.origin = app, ""

    @contextlib.contextmanager
    def start(self, run: Run) -> Iterator[subprocess.Popen[bytes]]:
        given = {"mode": "MODE", "url": "API", "token": "TOKEN", "run": "RUN"}
        named = {given[name]: value for name, value in run.given.items()}
        lines = run.folder / f"told-{run.name}"
        with lines.open("wb") as output:
            environment = settings.child_env(OUTBOX=str(run.folder / "outbox"), **named)
            command = ["node", "node.mjs"]
            process = subprocess.Popen(command, cwd=self._app, env=environment, stdout=output)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            run.told += lines.read_text(encoding="utf-8").splitlines()

    def has_begun(self, run: Run) -> bool:
        return bool((run.folder / f"told-{run.name}").read_bytes())


class Chromium:
    """The client in Chromium, with the outbox in IndexedDB; all its processes are killed."""

    def __init__(self, app: Path, port: int) -> None:
        self._port, self.origin = port, f"http://{ports.HOST}:{port}"
        package = app / "node_modules" / "learner-progress" / "dist"
        self._files = {f"/{file.name}": file.read_bytes() for file in package.glob("*.js")}
        self._files["/answers.mjs"] = (CLIENT / "test" / "answers.mjs").read_bytes()
        self._told: list[str] = []

    @contextlib.contextmanager
    def start(self, run: Run) -> Iterator[subprocess.Popen[bytes]]:
        pages = {**self._files, "/": _PAGE.encode(), "/given": json.dumps(run.given).encode()}

        class Handler(http_servers.Handler):
            def do_GET(self) -> None:  # noqa: N802 - the name in http.server
                kind = "text/html" if self.path == "/" else "text/javascript"
                found = pages.get(self.path)
                self.respond(
                    200 if found else 404, found or b"", cut=None, **{"Content-Type": kind}
                )

            def do_POST(self) -> None:  # noqa: N802 - the name in http.server
                run.told.append(self.read_body().decode())
                self.respond(204)

        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        profile = f"--user-data-dir={run.folder / 'profile'}"
        with http_servers.serve(Handler, self._port) as url:
            process = subprocess.Popen(
                [browser.PROGRAM or "", *options, profile, "--remote-debugging-port=0", url],
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                yield process
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def has_begun(self, run: Run) -> bool:
        return bool(run.told)


def kill_often(stack: Stack, client: Node | Chromium, kills: int, seed: int) -> int:
    """Kill the client so many times; return the number of answers that were recorded."""
    drawn, answers = random.Random(seed), 0
    for first in range(0, kills, KILLS_PER_LEARNER):
        learner = f"{type(client).__name__}-{seed}-{first}"
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            runs = [
                Run(stack, learner, Path(folder), f"run-{number}")
                for number in range(min(KILLS_PER_LEARNER, kills - first))
            ]
            for run in runs:
                with client.start(run):
                    readiness.wait(functools.partial(client.has_begun, run), run.name, seconds=60)
                    time.sleep(drawn.uniform(0, 0.3))
            last = Run(stack, learner, Path(folder))
            with client.start(last):
                readiness.wait(functools.partial(client.has_begun, last), "a flush", seconds=100)
            assert last.told == ["empty"]
        told = [item for run in runs for item in run.told]
        counts = count_answers(stack, learner)
        lost = [item for item in told if item not in counts]
        assert not lost, f"{learner} lost {lost}"
        assert {*counts.values()} == {1}, f"{learner}: {counts}"
        answers += len(counts)
    return answers


def open_client(name: str, app: Path) -> Node | Chromium:
    return Node(app) if name == "node" else Chromium(app, ports.reserve())


@contextlib.contextmanager
def run_stack(client: Node | Chromium) -> Iterator[Stack]:
    """Run a local stack that the client's page may call."""
    with folders.create("killed") as folder:
        stack = Stack(folder / "data")
        try:
            started = stack.run(
                "up", "--detach", "--port", str(stack.port), CORS_ORIGINS=client.origin
            )
            assert started.returncode == 0, started.stderr
            yield stack
        finally:
            stack.run("down")


def count_answers(stack: Stack, learner: str) -> dict[str, int]:
    """Return the number of answers of each item, once every event is folded."""
    stack.await_delivery()
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


def main(name: str, kills: str, seed: str = "1") -> None:
    with tempfile.TemporaryDirectory() as folder:
        client = open_client(name, install(Path(folder)))
        with run_stack(client) as stack:
            answers = kill_often(stack, client, int(kills), int(seed))
    print(f"{kills} kills, {answers:,} answers: none lost, none doubled")


if __name__ == "__main__":
    main(*sys.argv[1:])
