"""The Compose file's services work without Docker, with the commands and settings of the file."""

import importlib.metadata
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from progress.adapters.postgres import database
from progress.local import ports, postgres, processes, readiness
from progress.local.ports import HOST
from tests.support import (
    browser,
    compose_file,
    folders,
    http_client,
    otlp_collector,
    programs,
    pubsub_servers,
)
from tests.support.alert_policies import CONTRACT
from tests.support.compose_file import Service
from tests.support.otlp_collector import Collector
from tests.support.terraform import REPOSITORY

_ACCESS = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
_PUSHED_TO = ("ingest", "project")
_LOCK = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8")
_INSTALLED = set(re.findall(r"^([a-z0-9-]+)==", _LOCK, re.MULTILINE))  # in the images
_OURS = {"progress"}


@dataclass
class Containers:
    """The services of the compose file, with their settings, ports and running processes."""

    folder: Path
    services: dict[str, Service]
    at: dict[str, int]
    owner: str
    _ending: ExitStack = field(default_factory=ExitStack)

    def run(self, name: str, *command: str, text: str = "") -> str:
        """Run the service's command, or `command` with the same environment; return the output."""
        return programs.run(
            command or compose_file.started(self.services[name]),
            self._environment(name),
            text=text,
            folder=REPOSITORY,
        )

    def start(self, name: str) -> None:
        """Start a service, and wait until its health check passes."""
        log = self._ending.enter_context((self.folder / f"{name}.log").open("wb"))
        process = processes.start(
            compose_file.started(self.services[name]),
            output=log,
            environment=self._environment(name),
            folder=REPOSITORY,
        )
        self._ending.callback(processes.kill_group, processes.identify(process.pid))
        self._ending.callback(processes.end, process, by=signal.SIGTERM, seconds=10)
        readiness.wait(lambda: self._is_well(name), name, seconds=60)

    def stop(self) -> None:
        """Stop all services with SIGTERM, so that they export their remaining telemetry."""
        self._ending.close()

    def _is_well(self, name: str) -> bool:
        kind, *test = self.services[name]["healthcheck"]["test"]
        command = test if kind == "CMD" else ["sh", "-c", *test]
        return not subprocess.run(
            command, env=self._environment(name), capture_output=True, check=False
        ).returncode

    def _environment(self, name: str) -> dict[str, str]:
        """Return the container's environment variables, with the PATH of the test process."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        text = compose_file.dockerfile(self.services[name]["image"]).read_text(encoding="utf-8")
        lines = " ".join(re.findall(r"^ENV (.*)$", text, re.MULTILINE))
        built_in = dict(re.findall(r"(\w+)=([^\s$]+)", lines))
        built_in["PROGRESS_DATA_DIR"] = str(self.folder)
        built_in["PYTHONPATH"] = f"{self.folder / 'image'}:{REPOSITORY}"
        return {**built_in, **self.services[name]["environment"], "PATH": path}


@contextmanager
def containers(valkey: str, collector: int) -> Iterator[Containers]:
    """Yield services that are not started yet; the database, Valkey and Pub/Sub already run."""
    with folders.create("compose") as folder:
        made = _drawn(folder, valkey, collector)
        _hide_development_packages(folder / "image")
        log, port = folder / "pubsub.log", made.at["pubsub"]
        with (
            _postgres(folder, made.at["postgres"], made.owner),
            # The local stack's Pub/Sub takes the place of Google's emulator.
            pubsub_servers.stand_in(log, made.owner, port),
        ):
            try:
                yield made
            finally:
                made.stop()


def _hide_development_packages(folder: Path) -> None:
    """Write a module that Python imports when it starts, and that hides what an image lacks."""
    found = importlib.metadata.packages_distributions().items()
    hidden = {name for name, sources in found if not _INSTALLED.intersection(map(_normal, sources))}
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({sorted(hidden - _OURS)!r}))\n"
    )


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _drawn(folder: Path, valkey: str, collector: int) -> Containers:
    parts = ("postgres", "pubsub", "issuer", "ingest", "project", "query")
    at = {part: ports.reserve() for part in parts}
    password = secrets.token_hex(8)
    variables = compose_file.example() | {
        "POSTGRES_PASSWORD": password,
        "FUNCTIONS_PASSWORD": secrets.token_hex(8),
        "ISSUER_PORT": str(at["issuer"]),
        "QUERY_PORT": str(at["query"]),
        "INGEST_PORT": str(at["ingest"]),
    }
    moved = {
        "redis://valkey:6379/0": valkey,
        "postgres:5432": f"{HOST}:{at['postgres']}",
        "pubsub:8085": f"{HOST}:{at['pubsub']}",
        "collector:4318": f"{HOST}:{collector}",
        f"issuer:{at['issuer']}": f"{HOST}:{at['issuer']}",
        **{f"{name}:8080": f"{HOST}:{at[name]}" for name in _PUSHED_TO},
        "0.0.0.0": HOST,  # noqa: S104 - a container listens on it
        '"OTEL_METRIC_EXPORT_INTERVAL": "15000"': '"OTEL_METRIC_EXPORT_INTERVAL": "500"',
        "/data": str(folder),
        "/tmp/done": str(folder / "done"),  # noqa: S108 - a path in a container
    }
    services = compose_file.services(variables)
    moved_services = {
        name: _moved(services[name], moved, at.get(name)) for name in compose_file.OURS
    }
    owner = f"postgresql://progress:{password}@{HOST}:{at['postgres']}/progress"
    return Containers(folder, moved_services, at, owner)


def _moved(service: Service, moved: Mapping[str, str], port: int | None) -> Service:
    """Return the service with this machine's addresses in its settings and its command."""
    own = {
        "command": compose_file.started(service),
        "healthcheck": {"test": compose_file.health_test(service)},
    }
    text = json.dumps({**service, **own})
    for old, new in moved.items():
        text = text.replace(old, new)
    if port:
        for old in ("--port ", f"{HOST}:"):
            text = text.replace(f"{old}8080", f"{old}{port}")
    answer: dict[str, Any] = json.loads(text)
    return answer


@contextmanager
def _postgres(folder: Path, port: int, owner: str) -> Iterator[None]:
    """Run PostgreSQL with one database.

    Connections over TCP need a password, as in PostgreSQL's Docker image.
    """
    data = folder / "postgres"
    postgres.prepare(data)
    (data / "pg_hba.conf").write_text(_ACCESS)
    log, network = folder / "postgres.log", f"listen_addresses={HOST}"
    process = postgres.start(data, log, network, port=port)
    password = owner.split(":")[2].partition("@")[0]
    connection = database.connect(f"{postgres.url(data)}&port={port}", name="tests")
    connection.run(f"CREATE ROLE progress SUPERUSER LOGIN PASSWORD '{password}'")
    connection.run("CREATE DATABASE progress OWNER progress")
    connection.close()
    try:
        yield
    finally:
        processes.end(process, by=postgres.STOP, seconds=10)


# A stack is slow on a busy machine.
pytestmark = [pytest.mark.timeout(300), pytest.mark.exhaustive]

_QUESTION = "{ userProgress { totalItemsLearned } streak { current } }"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with otlp_collector.collect() as made:
        yield made


@pytest.fixture(scope="module")
def running(valkey: str, collector: Collector) -> Iterator[Containers]:
    """The services of this repository, started in the order of the Compose file."""
    with containers(valkey, urlsplit(collector.url).port or 0) as made:
        made.run("migrate")
        for name in ("issuer", "ingest", "project", "query"):
            made.start(name)
        made.run("topology")
        made.start("batch")
        yield made


def test_an_event_reaches_the_page_and_its_telemetry_reaches_the_collector(
    running: Containers, collector: Collector
) -> None:
    envelopes = "\n".join(json.dumps(envelope) for envelope in browser.lesson("ann", 3))
    running.run("issuer", "progress", "publish", "-", text=envelopes)
    token = running.run("issuer", "progress", "token", "--user", "ann").strip()
    headers = http_client.headers(token)

    readiness.wait(lambda: _is_folded(running, len(browser.lesson("ann", 3))), "the lesson")
    for _ in range(2):
        answer = http_client.ask(running.at["query"], headers, _QUESTION)
        assert answer["streak"]["current"] == 1

    running.run("batch", "python", "jobs/batch_aggregates/main.py")
    wanted = {f"progress.{field}" for field in CONTRACT}
    readiness.wait(lambda: wanted <= collector.metrics(), f"{wanted - collector.metrics()}")
    parts = {"ingest", "project", "query"}
    readiness.wait(lambda: parts <= {s.component for s in list(collector.spans)}, f"{parts}")


def test_each_process_logs_in_as_a_member_of_only_its_own_group(running: Containers) -> None:
    for part in ("ingest", "project", "query", "batch"):
        url = running.services[part]["environment"]["DATABASE_URL"]
        with closing(database.connect(url, name="tests")) as connection:
            ((user, is_super, groups),) = connection.run(
                "SELECT current_user, rolsuper, ARRAY(SELECT roleid::regrole::text "
                "FROM pg_auth_members WHERE member = pg_roles.oid) "
                "FROM pg_roles WHERE rolname = current_user"
            )
        assert (user, is_super, groups) == (part, False, [f"progress_{part}"])


def _is_folded(running: Containers, events: int) -> bool:
    status = json.loads(running.run("migrate", "progress", "status", "--json"))
    behind = sum(
        projection["events_behind"]
        for projection in status["projections"]
        if projection["realtime"]
    )
    return bool(status["events"] == events and behind == 0)
