"""Start-up on Cloud Run, where the network becomes available after the process starts."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from progress import settings
from progress.adapters import startup
from progress.errors import DatabaseUnavailable
from progress.serve import ports, readiness
from progress.settings import Settings
from tests.conftest import Store
from tests.support import function_process, http_client, programs, token_issuer
from tests.support.forwarding import Gate

ROOT = Path(__file__).resolve().parents[2]
_RETRY = "connecting again"

JOBS = {
    "batch": ["jobs/batch_aggregates/main.py"],
    "release": ["-m", "progress.cli", "migrate"],
    "backup": ["-m", "progress.cli", "dump", "dumps"],
}


@pytest.fixture
def closed(store: Store) -> Iterator[Gate]:
    """A port in front of the database; the port refuses connections until the test opens it."""
    with closing(Gate(store.url)) as made:
        yield made


def start(words: list[str], folder: Path, **variables: str) -> subprocess.Popen[str]:
    words = [str(ROOT / word) if word.endswith(".py") else word for word in words]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables}
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.first_in_gate
@pytest.mark.parametrize("job", JOBS)
def test_a_job_retries_until_its_network_is_available(
    closed: Gate, tmp_path: Path, job: str
) -> None:
    variables = {"DATABASE_URL": closed.url, "CLOUD_RUN_JOB": f"progress-{job}"}
    with start(JOBS[job], tmp_path, **variables) as process:
        assert process.stdout
        line = process.stdout.readline()
        assert _RETRY in line, line
        assert json.loads(line)["severity"] == "WARNING"
        closed.open()
        rest = process.stdout.read()
    assert process.returncode == 0, rest


def test_a_command_outside_cloud_run_fails_immediately(closed: Gate, tmp_path: Path) -> None:
    with start(JOBS["release"], tmp_path, DATABASE_URL=closed.url) as process:
        assert process.stdout
        output = process.stdout.read()
    assert process.returncode == 1
    assert _RETRY not in output


@pytest.fixture
def as_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUD_RUN_JOB", "progress-batch")
    monkeypatch.setattr(startup, "_PAUSE_S", 0)
    monkeypatch.setattr(startup, "TIMEOUT_S", float("inf"))


@pytest.mark.usefixtures("as_job")
def test_a_connection_that_the_server_rejects_is_not_retried(
    postgres: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DatabaseUnavailable, match="nowhere"):
        startup.connect(postgres.replace("/postgres?", "/nowhere?"), name="tests")
    assert _RETRY not in capsys.readouterr().out


@pytest.mark.usefixtures("as_job")
def test_a_job_gives_up_at_the_timeout(
    closed: Gate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lefts = iter([False, False, True])
    monkeypatch.setattr(startup, "is_over", lambda: next(lefts))
    with pytest.raises(DatabaseUnavailable, match="no connection"):
        startup.connect(closed.url, name="tests")
    assert capsys.readouterr().out.count(_RETRY) == 2


@pytest.fixture
def young(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "TIMEOUT_S", float("inf"))


@pytest.mark.usefixtures("young")
def test_a_probe_passes_when_all_addresses_are_reached_and_then_stops_connecting(
    store: Store,
) -> None:
    with closing(Gate(store.url)) as database, closing(Gate(store.url)) as redis:
        probe = startup.Probe([(ports.HOST, database.port), (ports.HOST, redis.port)])
        assert not probe.passes()
        redis.open()
        assert not probe.passes()
        database.open()
        assert probe.passes()
        readiness.wait(lambda: database.calls == redis.calls == 1, "the two gates")
        database.close()
        redis.close()
        assert probe.passes()


@pytest.mark.usefixtures("young")
def test_only_one_thread_connects_and_the_other_threads_do_not_wait() -> None:
    with full() as address, ThreadPoolExecutor(1) as pool:
        probe = startup.Probe([address])
        connecting = pool.submit(probe.passes)
        readiness.wait(probe._lock.locked, "the first call")
        assert not probe.passes()
        assert not connecting.done()  # the second call returned while the first was connecting
        assert not connecting.result()


@contextmanager
def full() -> Iterator[tuple[str, int]]:
    """Yield the address of a server that does not answer new connections: its queue is full."""
    with socket.socket() as server, socket.socket() as queued, socket.socket() as last:
        server.bind((ports.HOST, 0))
        server.listen(0)
        address: tuple[str, int] = server.getsockname()
        queued.connect(address)
        last.setblocking(False)
        last.connect_ex(address)
        yield address


def test_a_probe_passes_after_the_timeout_even_if_an_address_is_unreachable(
    closed: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "TIMEOUT_S", 0.0)
    assert startup.Probe([(ports.HOST, closed.port)]).passes()


def test_the_probe_checks_the_database_and_redis() -> None:
    for configured, expected in [
        (Settings(), []),
        (Settings(database_url="postgresql://u@/d?host=/run"), []),
        (
            Settings(database_url="postgresql://u@db:5/d", redis_url="rediss://r:6"),
            [("db", 5), ("r", 6)],
        ),
        (Settings(cloud_sql_address="10.0.0.3", redis_url="unix:///r"), [("10.0.0.3", 3307)]),
    ]:
        assert startup.addresses(configured) == expected


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    ("function", "health"), [("ingest", "/"), ("project", "/"), ("query", "/health")]
)
def test_a_function_fails_its_start_up_probe_until_its_network_is_available(
    closed: Gate, function: str, health: str
) -> None:
    with (
        token_issuer.serve() as issuer,
        function_process.run(function, issuer.environment(closed.url)) as process,
    ):

        def status(path: str) -> int:
            return http_client.fetch(process.port, "GET", path)[0]

        assert status(startup.PATH) == 503
        assert status(health) == 200  # the liveness probe passes
        closed.open()
        assert status(startup.PATH) == 200


_ASKED = """\
import functions_framework as f, functions_framework.aio
from progress.adapters.telemetry import logs, tracing
f.create_app("ingest", "functions/ingest/main.py").test_client().get("/")
f.create_app("project", "functions/project/main.py").test_client().post("/")
f.aio.create_asgi_app("query", "functions/query/main.py")
with tracing.start_span("a", None, "server"), tracing.child_span("b") as span:
    span.set_attribute("c", 1), logs.write("INFO", "d", latency_ms=1.0)"""
# What starts a program, what it imports at once, and what only at first use.
STARTS = {
    "query": (
        "from progress.query.http import app, server; import progress.query.read_models.reader",
        "asyncpg strawberry",
        "pg8000 redis grpc duckdb typer",
    ),
    "ingest": (
        "import functions_framework as f; f.create_app('ingest', 'functions/ingest/main.py')",
        "flask pg8000",
        "jwt asyncio cryptography",
    ),
    "commands": (
        "from progress import cli; cli.build_app()",
        "typer pg8000",
        "strawberry graphql jwt asyncpg valkey grpc flask duckdb",
    ),
    "operations": ("import progress.operations.runner", "pg8000", "duckdb"),
    "functions that are asked": (_ASKED, "flask asyncpg", "opentelemetry requests"),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_program_starts_without_the_packages_that_it_does_not_need_at_once(name: str) -> None:
    """Each would lengthen a cold start; the API's would more than double that of a command."""
    code, needed, spared = STARTS[name]
    script = f"{code}; import sys; print(*(name.partition('.')[0] for name in sys.modules))"
    with token_issuer.serve() as issuer:
        environment = issuer.environment("postgresql://nobody@127.0.0.1:1/none")
        child = settings.child_env(**environment, PYTHONPATH=str(ROOT))
        imported = {*programs.run([sys.executable, "-c", script], child, folder=ROOT).split()}
    assert imported >= {*needed.split()}
    assert not imported & {*spared.split()}


def test_nothing_that_imports_progress_prints_that_python_is_old() -> None:
    """The output of some commands and jobs is one line, and the tests make warnings errors."""
    check = "import datetime; from google.api_core import _python_version_support as versions;"
    check += "versions.check_python_version(today=datetime.date(2040, 1, 1))"
    command = [sys.executable, "-W", "error", "-c", f"import progress; {check}"]
    assert subprocess.check_output(command, stderr=subprocess.STDOUT) == b""
    exec(check)  # noqa: S102 - in this process, pytest's filters apply
