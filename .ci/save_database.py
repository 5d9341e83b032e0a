#!/usr/bin/env python3
"""Save what a version writes, for the tests that update its database.

    .venv/bin/python .ci/save_database.py TAG

Check the tag out, install what it locks, and let its own processes record the messages of
`tests/recovery/released/log.jsonl`. The README beside that file describes what is saved there.
"""

import contextlib
import json
import lzma
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from progress.serve import ports, readiness
from progress.serve.laptop import postgres

ROOT = Path(__file__).parent.parent
RELEASED = ROOT / "tests" / "recovery" / "released"
PATIENCE_S = 60
READ = '{ userProgress(userId: "ben") { totalItemsLearned } }'
START = """mutation {
    replayDeadLetters(ids: ["1", "2"], idempotencyKey: "1") { id }
    discardDeadLetters(ids: ["3"], reason: "a trial")
    eraseUser(userId: "dan-7f3a", idempotencyKey: "2") { id }
}"""
# Of a deleted learner, only the deletion leaves.
DUE = """SELECT event_id FROM event_store.events e WHERE event_type = 'UserDeleted'
    OR event_type <> 'Erased' AND NOT EXISTS (SELECT FROM event_store.events d
        WHERE d.stream_id = e.stream_id AND d.event_type = 'UserDeleted')"""
POISON = """
    ALTER TABLE event_store.events DISABLE TRIGGER append_only;
    UPDATE event_store.events SET event_data = event_data || '{"response_time_ms": "soon"}'
    WHERE event_data @> '{"session_id": "ben-1", "item_id": "i0"}';
    ALTER TABLE event_store.events ENABLE TRIGGER append_only
"""


class Stack:
    def __init__(self, code: Path, data: Path, receiver: str) -> None:
        self._code = code
        self._environment = {
            "PATH": os.environ["PATH"],
            "PROGRESS_DATA_DIR": str(data),
            "PUBLISH_EVENTS": "all",
            "WEBHOOK_URL": receiver,
            "WEBHOOK_SECRET": "whsec_" + b64encode(secrets.token_bytes(24)).decode(),
        }
        self.run("up", "--detach", "--port", str(ports.reserve()))
        self.addresses = json.loads(self.run("env", "--json"))
        self.url = self.addresses["database_url"]
        self._token = self.run("token", "--user", "ada", "--role", "admin").strip()

    def run(self, *words: str, **environment: str) -> str:
        command = [".venv/bin/python", "-m", "progress", *words]
        every = {**self._environment, **environment}
        return str(subprocess.check_output(command, cwd=self._code, env=every, text=True))

    def run_sql(self, statements: str, url: str = "") -> None:
        psql = [str(postgres.programs() / "psql"), "-qv", "ON_ERROR_STOP=1", "-c", statements]
        subprocess.run([*psql, url or self.url], check=True)

    def read_due(self) -> set[str]:
        """Return the ids of the events in the log that a subscriber gets."""
        command = [str(postgres.programs() / "psql"), "-qAtc", DUE, self.url]
        return {*subprocess.check_output(command, text=True).split()}

    def push(self, phase: str) -> None:
        """Push the messages of the log's phase to the version's ingest function."""
        lines = (RELEASED / "log.jsonl").read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(map(json.loads, lines)):
            if line["phase"] == phase:
                data = line["text"] if "text" in line else json.dumps(line["data"])
                message = {
                    "messageId": str(number),
                    "publishTime": "2024-06-01T00:00:00Z",
                    "data": b64encode(data.encode()).decode(),
                }
                _post(self.addresses["ingest_url"], {"subscription": "saved", "message": message})

    def query(self, document: str) -> None:
        answer = _post(self.addresses["graphql_url"], {"query": document}, token=self._token)
        if "errors" in answer:
            sys.exit(str(answer))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """During the block, nothing is folded or published, and no operation runs."""
        pids = self.addresses["pids"]["project"]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def wait(self) -> None:
        """Run the batch job, and wait until everything is folded and published."""
        self.run("batch")
        readiness.wait(self._is_done, "folding and publishing", seconds=PATIENCE_S)

    def _is_done(self) -> bool:
        report = json.loads(self.run("status", "--json"))
        lags = [*report["projections"], report["events_out"]]
        return not any(row["events_behind"] for row in lags)


@contextlib.contextmanager
def receive() -> Iterator[tuple[str, set[str]]]:
    """Receive what leaves; yield the address, and the ids of the messages."""
    ids: set[str] = set()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            ids.add(self.headers["webhook-id"])
            self.send_response(204)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", ids
        server.shutdown()


def _post(url: str, body: object, token: str = "") -> Any:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - a part of the stack
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310
        return json.loads(answer.read() or "null")


def main(tag: str) -> None:
    with tempfile.TemporaryDirectory() as name, receive() as (url, ids):
        code, data = Path(name, "code"), Path(name, "data")
        code.mkdir()
        check_out(tag, code)
        stack = Stack(code, data, url)
        try:
            save(stack, data, tag.removeprefix("v"), ids)
        finally:
            stack.run("down")


def check_out(tag: str, code: Path) -> None:
    archive = subprocess.check_output(["git", "archive", tag], cwd=ROOT)
    subprocess.run(["tar", "x"], cwd=code, input=archive, check=True)
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable], cwd=code, check=True)
    install = [uv, "pip", "install", "--quiet", "--system-certs", "--require-hashes"]
    subprocess.run([*install, "--requirement=requirements-dev.txt"], cwd=code, check=True)


def save(stack: Stack, data: Path, version: str, ids: set[str]) -> None:
    folder = RELEASED / version
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with stack.paused():
        stack.push("folded")
        stack.run_sql(POISON)
    stack.wait()
    stack.query(READ)
    stack.run("export", "ben", str(data))
    stack.run("erase", "gone-7f3a", "--yes")
    stack.wait()
    # A message follows its commit.
    readiness.wait(lambda: stack.read_due() <= ids, "what leaves", seconds=PATIENCE_S)
    published = json.dumps(sorted(ids), indent=0) + "\n"
    (folder / "published.json").write_text(published, encoding="utf-8")
    with stack.paused():
        stack.push("tail")
        stack.query(START)
        dump(stack.url, folder / "database.xz")
        stack.run("dump", str(folder))
    for learner in ("dan-7f3a", "cem-7f3a"):
        stack.run("erase", learner, "--yes")
    shutil.copytree(data / "archive" / "erasures", folder / "erasures")
    save_way(stack, folder)


def save_way(stack: Stack, folder: Path) -> None:
    """Let this version migrate the first version's database, as the version before left it."""
    *_, former = sorted(each for each in RELEASED.glob("*/way.xz") if each.parent < folder)
    stack.run_sql("CREATE DATABASE way")
    url = stack.url.replace("@/progress?", "@/way?")
    restore = [str(postgres.programs() / "pg_restore"), f"--dbname={url}"]
    subprocess.run(restore, input=lzma.decompress(former.read_bytes()), check=True)
    for command in (["migrate"], ["move-views"], ["prune-schemas", "--yes"]):
        stack.run(*command, DATABASE_URL=url)
    dump(url, folder / "way.xz")


def dump(url: str, path: Path) -> None:
    """Dump the database as an owner does, without the rules of all zones."""
    pg_dump = [str(postgres.programs() / "pg_dump"), "--format=custom", "--compress=none", url]
    pg_dump += ["--exclude-table-data=progress_*.zone_rules"]
    path.write_bytes(lzma.compress(subprocess.check_output(pg_dump), preset=9))


if __name__ == "__main__":
    main(*sys.argv[1:])
