"""A local stack: tests push and post events, ask, run commands, and kill processes."""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from progress import files, settings
from progress.adapters.postgres import database, statements
from progress.errors import DatabaseUnavailable, StackError
from progress.event_store import bodies
from progress.projections import schema
from progress.serve import data_folder, development_key, ports, readiness
from progress.serve.laptop import stack as local
from tests import oracle
from tests.support import cli, folders, http_client, model_rows, programs, sample_events
from tests.support.postgres_servers import url_of
from tests.support.pushes import encode_push

BLOCKS = statements.blocks(str(Path(__file__).with_suffix("")))

Envelope = dict[str, Any]
Message = list[Envelope]


def statements_of(block: str) -> list[str]:
    return [part for part in BLOCKS[block].split(";\n\n") if part.strip()]


class Standing(NamedTuple):
    """What a stack has recorded and counted, and what is wrong with it."""

    learners: dict[str, str | None]  # by event
    pending: int
    dead_letters: int
    faults: set[str]


class Stack:
    def __init__(self, folder: Path, **changed: str):
        self._changed = changed
        self._stood = Standing({}, 0, 0, set())
        self.folder = data_folder.at(str(folder))
        self.envelopes: list[Envelope] = []
        self.port = ports.reserve()

    def run(self, *arguments: str, **changed: str) -> cli.Result:
        return cli.progress("", *arguments, **(self._settings() | changed))

    def progress(self, *command: str) -> str:
        return cli.expect_success(self.run(*command))

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*cli.COMMAND, *arguments],
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def shell(self, text: str, folder: Path = files.ROOT, **more: str) -> str:
        """Run what a document says to type, against this stack."""
        text = text.replace(".venv/bin/progress", " ".join(cli.COMMAND))
        text = text.replace("8080", str(self.port)).replace("curl ", "curl --silent ")
        environment = {**os.environ, "PROGRESS_DATA_DIR": str(self.folder.path), **more}
        return programs.run(["bash", "-euc", text], environment, folder=folder)

    def environment(self) -> dict[str, str]:
        return settings.child_env(**self._settings())

    def start_job(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, str(files.ROOT / "jobs" / "batch_aggregates" / "main.py")],
            env=settings.child_env(
                DATABASE_URL=url_of(self.database_url, "batch", of_system=True),
                PYTHONPATH=str(files.ROOT),
            ),
            stdout=subprocess.DEVNULL,
        )

    def _settings(self) -> dict[str, str]:
        # The tests send more requests than the default rate limit allows.
        own = {"PROGRESS_DATA_DIR": str(self.folder.path), "RATE_LIMIT_PER_MINUTE": "1000000"}
        return own | self._changed

    def try_up(self) -> cli.Result:
        return self.run("up", "--detach", "--port", str(self.port))

    def up(self) -> None:
        cli.expect_success(self.try_up())

    @property
    def page(self) -> str:
        return f"http://{ports.HOST}:{self.port}/"

    @property
    def database_url(self) -> str:
        return self.addresses["database_url"]

    @property
    def addresses(self) -> dict[str, str]:
        return data_folder.running(self.folder).addresses

    def pids(self, part: str) -> list[int]:
        """Wait until the process with this name runs; return its id and those of its children.

        PostgreSQL's children include its sessions.
        """
        pids: list[int] = []

        def is_running() -> bool:
            with contextlib.suppress(StackError):
                pids[:] = local.pids(data_folder.running(self.folder)).get(part, [])
            return bool(pids)

        readiness.wait(is_running, part, seconds=120)
        return pids

    def signal(self, part: str, number: signal.Signals) -> None:
        for pid in self.pids(part):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    @contextlib.contextmanager
    def pause_supervisor(self) -> Iterator[None]:
        (supervisor,) = self.pids("supervisor")
        os.kill(supervisor, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(supervisor, signal.SIGCONT)

    def connect(self) -> database.Connection:
        connection = database.connect(self.database_url, name="faults")
        try:
            schema.set_search_path(connection)
        except database.ERRORS:
            database.close(connection)
            raise
        return connection

    def count(self, block: str, **values: object) -> int | None:
        try:
            connection = self.connect()
        except (DatabaseUnavailable, StackError, *database.ERRORS):
            return None
        try:
            value: int = connection.run(BLOCKS[block], **values)[0][0]
        except database.ERRORS:
            return None
        finally:
            database.close(connection)
        return value

    def publish(self, *events: Envelope) -> None:
        """Post the events; return once they are recorded and folded."""
        most = bodies.MOST_ENTRIES
        self.post_events(*([*events[at : at + most]] for at in range(0, len(events), most)))
        self.await_projection()

    def push(self, *messages: Message) -> None:
        self.envelopes += [envelope for message in messages for envelope in message]
        self.push_raw(*(json.dumps(message).encode() for message in messages))

    def push_raw(self, *payloads: bytes, **attributes: str) -> None:
        """Push the messages as Pub/Sub does: each again until ingest has acknowledged it."""
        for payload in payloads:
            body = encode_push(payload, attributes=attributes)
            self._repeat("a push", 204, lambda: self.post("ingest", body))  # noqa: B023

    def post(self, part: str, body: bytes, *, seconds: float = 60) -> int | None:
        key = data_folder.running(self.folder).key if part == "project" else ""
        return http_client.push(self.port_of(part), body, token=key, seconds=seconds)

    def port_of(self, name: str) -> int:
        return urlsplit(self.addresses[f"{name}_url"]).port or 0

    def post_events(self, *messages: Message) -> None:
        """Post the messages to ingest; post each again until ingest has acknowledged it."""
        self.envelopes += [envelope for message in messages for envelope in message]
        send = functools.partial(
            http_client.push, path="/events", token=self.token("poster", "publisher")
        )
        for message in messages:
            body = json.dumps(message).encode()
            self._repeat("a post", 200, lambda: send(self.events_port, body))  # noqa: B023

    def _repeat(self, name: str, expected: int, send: Callable[[], int | None]) -> None:
        def is_acknowledged() -> bool:
            with contextlib.suppress(StackError):
                return send() == expected
            return False

        readiness.wait(is_acknowledged, name, seconds=120)

    def ask(
        self, user: str, query: str, /, *, role: str = "learner", **variables: object
    ) -> dict[str, Any]:
        headers = http_client.headers(self.token(user, role))
        return http_client.ask(self.port, headers, query, **variables)

    def token(self, user: str, role: str = "learner", groups: Sequence[str] = ()) -> str:
        return development_key.token(self.folder.key, user, [role], groups=groups)

    @property
    def events_port(self) -> int:
        return self.port_of("events")

    def await_projection(self) -> None:
        """Wait until every event is folded; the batch job is not started for that."""
        readiness.wait(lambda: self.count("behind") == 0, "projection", seconds=120)

    def find_mistakes(self) -> list[str]:
        self.await_projection()
        with contextlib.closing(self.connect()) as connection:
            return model_rows.find_mistakes(connection)

    def run_batch(self) -> None:
        """Run the batch job until it has counted each recorded event.

        A worker that folds a shard, and another run, keep their shards from a run.
        """
        recorded = self.count("appended")

        def is_counted() -> bool:
            self.progress("batch")
            return self.count("uncounted", upto=recorded) == 0

        readiness.wait(is_counted, "the batch job", seconds=120)

    def begin(self) -> None:
        """Let `check` compare from what stands now, which another test may have left broken."""
        self._stood = self._look()
        self.envelopes = []

    def check(self) -> None:
        """Assert that each event since `begin` counts exactly once in the log and the read models.

        All are folded by themselves, before the batch job runs.
        """
        self.await_projection()
        readiness.wait(self._run_batch, "the batch job", seconds=120)
        before, now = self._stood, self._look()
        stored, pending = oracle.compute_stored(self.envelopes)
        assert now.learners == before.learners | stored
        assert now.pending == before.pending + len(pending)
        assert now.dead_letters == before.dead_letters
        assert now.faults <= before.faults

    def _run_batch(self) -> bool:
        """Return whether all is folded: a fold may keep its shard from the batch job."""
        ran = self.run("batch")
        assert ran.returncode == 0, ran.stderr
        return {row["events_behind"] for row in self._status()["projections"]} == {0}

    def _status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.progress("status", "--json"))
        return status

    def _look(self) -> Standing:
        self.await_projection()
        status = self._status()
        with contextlib.closing(self.connect()) as connection:
            learners = {str(e.event_id): e.user_id for e in model_rows.read_events(connection)}
            faults = {*sample_events.find_differences(connection)}
            ((streams, positions),) = connection.run(BLOCKS["versions"])
        if streams or positions:
            faults.add(f"{streams} streams have gaps, and {positions} positions are missing")
        assert status["events"] == len(learners)
        return Standing(learners, status["pending"], status["dead_letters"], faults)


@contextlib.contextmanager
def create(**changed: str) -> Iterator[Stack]:
    """Make a stack that does not run yet; if it is started, it ends with the block."""
    with folders.create("stack") as folder:
        stack = Stack(folder / "data", **changed)
        try:
            yield stack
        finally:
            if stack.folder.lock.exists():
                stack.progress("down")


@contextlib.contextmanager
def run(**changed: str) -> Iterator[Stack]:
    with create(**changed) as stack:
        stack.up()
        yield stack


def started() -> Iterator[Stack]:
    """A running stack, as the body of a fixture."""
    with run() as stack:
        yield stack
