"""`progress drill`: lose the database of a copy of the local stack, recover it, and measure.

The drill runs the runbook's commands for a laptop. As in the cloud, Pub/Sub survives: its queue is
in a database of its own. The drill counts what Pub/Sub acknowledged, and what was recovered.
"""

import contextlib
import enum
import itertools
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from progress import settings
from progress.adapters import terminal
from progress.adapters.postgres import database
from progress.adapters.pubsub import clients, publisher, undelivered
from progress.adapters.pubsub.publisher import Packed
from progress.adapters.terminal import Console
from progress.cli.options import AsJson
from progress.demo import loading
from progress.demo.graphql_client import GraphqlClient
from progress.errors import DatabaseUnavailable, ProgressError, QueryUnavailable
from progress.importers import anki_events, anki_log
from progress.local import data_folder, ports, postgres, processes, readiness
from progress.local.ports import HOST
from progress.settings import LOCAL_PROJECT, Settings

# The runbook's commands, in its order. `dumps` is a folder.
HOLD = "schedule pause progress-batch"
RESTORE = {
    "dump": (
        *("load dumps", "migrate"),
        *("erasures apply", "check", "rebuild", "check"),
    ),
    "archive": (
        *("archive check", "migrate", "archive restore"),
        *("erasures apply", "rebuild", "check"),
    ),
}
WARM = "warm --afresh"
ERASE = "erasures apply"
RESUME = ("schedule resume progress-batch", "schedule run progress-batch", "status")

_ARCHIVED, _DUMPED, _KILLED = 0.8, 0.9, 0.99  # the shares of the events published before
_EVENTS_PER_LEARNER = 25_000
_MAX_WAITING = 50_000  # events; the stand-in keeps waiting messages in memory
_PUBLISHED_TOGETHER = 20
_TIMEOUT_S = 3_600.0
_RECORDED_WITHIN = timedelta(minutes=1)  # of the publication
_YEAR = date(2024, 1, 1), date(2024, 12, 31)  # the record's


class SourceName(enum.StrEnum):
    """What the log is restored from."""

    DUMP = "dump"
    ARCHIVE = "archive"


class Step(msgspec.Struct, frozen=True):
    """A step of the recovery."""

    name: str
    seconds: float


class Report(msgspec.Struct, frozen=True):
    """The result: the events' numbers, the loss (RPO), and the time from the kill (RTO).

    `rpo_seconds` is the time from the last recovered event to the last one before the kill.
    """

    source: SourceName
    acknowledged: int
    unrecorded_at_kill: int
    restored: int
    replayed: int
    lost: int
    rpo_seconds: float
    rto_seconds: float
    steps: list[Step]


class _Message(msgspec.Struct, frozen=True):
    """An encoded message, with its last event's id and its learner's answers."""

    packed: Packed
    last_id: str
    learner: str
    answers: int


class _Acknowledged(msgspec.Struct):
    """The messages that Pub/Sub has acknowledged: the last events with their times, the answers."""

    events: int = 0
    last: list[tuple[float, str]] = []
    answers: Counter[str] = msgspec.field(default_factory=Counter)


def drill(
    events: Annotated[int, typer.Option(min=100, help="The size of the log.")] = 100_000,
    source: Annotated[
        SourceName, typer.Option(help="What the log is restored from.")
    ] = SourceName.DUMP,
    as_json: AsJson = False,
) -> None:
    """Lose the database of a copy of the local stack, recover it, and measure RPO and RTO."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the copy is removed
    console = Console(stderr=as_json)
    folder = Path(tempfile.mkdtemp(prefix="progress-drill-"))
    try:
        with contextlib.ExitStack() as running:
            report = _Drill(console, folder, running).run(events, source)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        terminal.print_json(report)
    else:
        _show(console, report)
    if report.lost:
        raise ProgressError(f"{report.lost:,} acknowledged events are lost")


def _show(console: Console, report: Report) -> None:
    console.print(
        f"{report.acknowledged:,} events were acknowledged; {report.unrecorded_at_kill:,} of them "
        f"were not recorded at the kill. The {report.source} restored {report.restored:,}, Pub/Sub "
        f"{report.replayed:,}; {report.lost:,} are lost.",
        soft_wrap=True,
    )
    console.print(f"RPO {report.rpo_seconds:.1f} s, RTO {report.rto_seconds:.1f} s")


class _Drill:
    """A copy of the local stack whose PostgreSQL and Pub/Sub run outside of it, as in the cloud."""

    def __init__(self, console: Console, folder: Path, running: contextlib.ExitStack) -> None:
        self._console, self._folder, self._running = console, folder, running
        self._store, self._steps = folder / "store", list[Step]()
        self._postgres = self._start_postgres(self._store)
        self._start_postgres(folder / "queue")
        self._pubsub = self._start_pubsub(folder / "queue")
        self._url = postgres.url(self._store, database="progress")
        self._create_database()
        self._environment = _environment(self._pubsub, self._url, folder)
        running.callback(self._command, "down")
        self._command(f"up --detach --port {ports.reserve()}")
        addresses = msgspec.json.decode(self._command("env --json"))
        self._environment["REDIS_URL"] = addresses["redis_url"]
        self._graphql_url = addresses["graphql_url"]
        self._acknowledged = _Acknowledged()

    def run(self, events: int, source: SourceName) -> Report:
        """Publish the events, lose the database before the last ones, recover it, and measure."""
        messages = _messages(events)
        with terminal.progress_bar(self._console, "published", total=events) as show:
            self._publish(messages, int(_ARCHIVED * events), show)
            self._archive()
            self._publish(messages, int(_DUMPED * events), show)
            self._await_recorded()
            self._command("dump dumps")
            self._publish(messages, int(_KILLED * events), show)
            unrecorded = self._acknowledged.events - self._head()
            killed = time.monotonic()
            self._lose_database()
            self._step("hold the pushes", self._hold)
            self._publish(messages, events, show)
        self._recover(source)
        restored = self._head()
        self._resume()
        self._step("the first right answer", self._await_answers)
        rto = time.monotonic() - killed
        lost, rpo = self._measure_loss(killed)
        if self._wrong and not lost:
            raise ProgressError(f"the answers of {self._wrong} learners are wrong")
        acknowledged = self._acknowledged.events
        return Report(
            source,
            acknowledged=acknowledged,
            unrecorded_at_kill=unrecorded,
            restored=restored,
            replayed=acknowledged - lost - restored,
            lost=lost,
            rpo_seconds=rpo,
            rto_seconds=rto,
            steps=self._steps,
        )

    def _publish(
        self, messages: Iterator[_Message], upto: int, show: terminal.ReportProgress
    ) -> None:
        """Publish until Pub/Sub has acknowledged `upto` events."""
        done = self._acknowledged
        while done.events < upto:
            batch = _take(messages, upto - done.events)
            if not batch:
                return
            publisher.publish(
                [message.packed for message in batch],
                project=LOCAL_PROJECT,
                emulator=self._pubsub,
                on_published=lambda _: None,
            )
            for message in batch:
                done.events += message.packed.count
                done.answers[message.learner] += message.answers
            done.last.append((time.monotonic(), batch[-1].last_id))
            show(done.events)
            self._await_recorded(_MAX_WAITING)

    def _await_recorded(self, waiting: int = 0) -> None:
        """Wait until at most this number of acknowledged events is not recorded."""

        def is_recorded() -> bool:
            try:
                return self._head() >= self._acknowledged.events - waiting
            except DatabaseUnavailable:
                return True  # the drill has killed the database

        readiness.wait(is_recorded, "the recording of the events", seconds=_TIMEOUT_S)

    def _archive(self) -> None:
        """Archive all acknowledged events; the archive takes an event once it is folded."""

        def is_archived() -> bool:
            report = msgspec.json.decode(self._command("archive --now --json"))
            return (report["upto"] or 0) >= self._acknowledged.events

        readiness.wait(is_archived, "the archive of the events", seconds=_TIMEOUT_S)

    def _lose_database(self) -> None:
        """Kill the server and delete its files."""
        self._postgres.kill()
        self._postgres.wait()
        postgres.kill_leftovers(self._store)
        shutil.rmtree(self._store)

    def _recover(self, source: SourceName) -> None:
        self._step(HOLD)
        self._step("start an empty database", self._replace_database)
        for command in (*RESTORE[source], WARM):
            self._step(command)

    def _resume(self) -> None:
        self._step("replay", self._replay)
        self._step(ERASE)
        self._step("resume the pushes", self._release)
        for command in RESUME:
            self._step(command)

    def _replace_database(self) -> None:
        self._postgres = self._start_postgres(self._store)
        self._create_database()

    def _hold(self) -> None:
        """Stop the push subscriptions, as `infra/recovery/pushes hold` does."""
        subscriptions = self._subscriber.list_subscriptions(project=f"projects/{LOCAL_PROJECT}")
        pushed = [each for each in subscriptions if each.push_config.push_endpoint]
        self._endpoints = {each.name: each.push_config for each in pushed}
        for name in self._endpoints:
            self._subscriber.modify_push_config(subscription=name, push_config={})

    def _replay(self) -> None:
        """Seek the subscriptions of ingest back, as `infra/recovery/replay` does."""
        log = msgspec.json.decode(self._command("check --json"))
        since = datetime.fromisoformat(log["recorded_at"]) - _RECORDED_WITHIN
        for name in self._endpoints:
            if "-ingest-sub" in name:
                self._subscriber.seek(request={"subscription": name, "time": since})

    def _release(self) -> None:
        """Resume the pushes, as `infra/recovery/pushes resume` does."""
        for name, config in self._endpoints.items():
            self._subscriber.modify_push_config(subscription=name, push_config=config)

    def _await_answers(self) -> None:
        """Wait until the API counts all answers that were published.

        If events are lost, wait until Pub/Sub has delivered and the folds have folded the others.
        """
        waiting = dict(self._acknowledged.answers)

        def are_right() -> bool:
            is_settled = self._is_settled()
            for learner in [*waiting]:
                if self._count_answers(learner) != waiting[learner]:
                    return is_settled
                del waiting[learner]
            return True

        readiness.wait(are_right, "the first right answer", seconds=_TIMEOUT_S)
        self._wrong = len(waiting)

    def _is_settled(self) -> bool:
        """Return whether Pub/Sub has delivered everything, and everything is folded."""
        if any(each.messages for each in undelivered.count(LOCAL_PROJECT, self._pubsub)):
            return False
        return self._client("drill-watcher").events_behind() == 0

    def _count_answers(self, learner: str) -> int:
        try:
            return sum(day.answers for day in self._client(learner).history(*_YEAR).daily_stats)
        except QueryUnavailable:
            return -1

    def _client(self, user: str) -> GraphqlClient:
        from progress.local import development_key

        key = data_folder.at(self._environment["PROGRESS_DATA_DIR"]).key
        return GraphqlClient(self._graphql_url, development_key.token(key, user, ["learner"]))

    def _measure_loss(self, killed: float) -> tuple[int, float]:
        """Return the number of lost events, and the seconds of lost publications."""
        lost = self._acknowledged.events - self._head()
        last = [(at, event_id) for at, event_id in self._acknowledged.last if at <= killed]
        with contextlib.closing(database.connect(self._url)) as connection:
            rows = database.run(
                connection, "demo/loading", "missing", event_ids=[event_id for _, event_id in last]
            )
        missing = {event_id for (event_id,) in rows}
        recovered = itertools.takewhile(lambda each: each[1] not in missing, last)
        newest = max((at for at, _ in recovered), default=last[0][0])
        return lost, last[-1][0] - newest

    def _head(self) -> int:
        with contextlib.closing(database.connect(self._url)) as connection:
            head: int = database.run(connection, "recovery/dumps", "head")[0][0]
        return head

    def _step(self, name: str, action: Callable[[], object] | None = None) -> None:
        begun = time.monotonic()
        if action is None:
            self._command(name)
        else:
            action()
        self._steps.append(Step(name, round(time.monotonic() - begun, 1)))
        self._console.print(f"  {self._steps[-1].seconds:7.1f} s  {name}")

    def _command(self, words: str) -> str:
        """Run `progress` with the copy's settings; return its output."""
        done = subprocess.run(
            [sys.executable, "-m", "progress.cli", *words.split()],
            env=self._environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ProgressError(f"`progress {words}` failed: {done.stderr.strip()}")
        return done.stdout

    @property
    def _subscriber(self) -> Any:
        return clients.subscriber(self._pubsub)

    def _start_postgres(self, folder: Path) -> subprocess.Popen[bytes]:
        postgres.prepare(folder)
        server = postgres.start(folder, self._folder / "log")
        self._running.callback(processes.end, server, by=postgres.STOP, seconds=10)
        return server

    def _start_pubsub(self, queue: Path) -> str:
        port = ports.reserve()
        environment = settings.child_env(DATABASE_URL=postgres.url(queue))
        command = [sys.executable, "-m", "progress.local.pubsub", str(port)]
        with (self._folder / "log").open("ab") as output:
            standin = processes.start(command, output=output, environment=environment)
        self._running.callback(processes.end, standin, by=signal.SIGTERM, seconds=10)
        readiness.wait(lambda: ports.is_listening(port), "Pub/Sub", seconds=60)
        return f"{HOST}:{port}"

    def _create_database(self) -> None:
        with contextlib.closing(database.connect(postgres.url(self._store))) as connection:
            database.run(connection, "local/database", "create database")


def _take(messages: Iterator[_Message], events: int) -> list[_Message]:
    """Return the next messages, of at least this number of events, but not too many."""
    batch: list[_Message] = []
    while len(batch) < _PUBLISHED_TOGETHER and sum(m.packed.count for m in batch) < events:
        if (message := next(messages, None)) is None:
            break
        batch.append(message)
    return batch


def _environment(pubsub: str, url: str, folder: Path) -> dict[str, str]:
    """Return this process's environment with the copy's settings instead of the operator's."""
    others = {
        name: value
        for name, value in settings.child_env().items()
        if name.lower() not in Settings.__struct_fields__
    }
    return others | {
        "DATABASE_URL": url,
        "PROGRESS_DATA_DIR": str(folder / "stack"),
        "PUBSUB_EMULATOR_HOST": pubsub,
        "RATE_LIMIT_PER_MINUTE": "1000000",
    }


def _messages(events: int) -> Iterator[_Message]:
    """Yield the demo's record for many learners, who study in turns."""
    answers = anki_log.read(loading.LOG)
    learners = [
        anki_events.Learner(f"drill-{n}", "America/New_York", 4)
        for n in range(max(events // _EVENTS_PER_LEARNER, 1))
    ]
    for turn in itertools.zip_longest(*(anki_events.messages(each, answers) for each in learners)):
        for learner, message in zip(learners, turn, strict=True):
            if message is None:
                continue
            count = sum(event["event_type"].endswith("AnswerGiven") for event in message.events)
            packed = Packed(message.topic, publisher.encode(message), len(message.events))
            yield _Message(packed, message.events[-1]["event_id"], learner.user_id, count)
