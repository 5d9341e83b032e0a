"""The local stack: up, down, what dies, what is in its way."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import psutil
import pytest
import redis

from progress import settings
from progress.local import data_folder, ports, readiness
from tests.support import folders

# On a busy machine a stack takes its time.
pytestmark = pytest.mark.timeout(300)

PARTS = {"postgres", "valkey", "pubsub", "ingest", "project", "query", "supervisor"}


@dataclass
class Stack:
    """The command `progress` on a data folder of its own."""

    folder: Path
    port: int

    def run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "progress.cli", *arguments],
            env=settings.inherited(PROGRESS_DATA_DIR=str(self.folder)),
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )

    def up(self) -> subprocess.CompletedProcess[str]:
        return self.run("up", "--detach", "--standin", "--port", str(self.port))

    def env(self) -> dict[str, Any]:
        answer = self.run("env", "--json")
        assert answer.returncode == 0, answer.stderr
        found: dict[str, Any] = json.loads(answer.stdout)
        return found

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1) as page:
                return bool(page.status == 200)
        except OSError:
            return False


@pytest.fixture
def stack() -> Iterator[Stack]:
    with folders.create("stack") as folder:
        made = Stack(folder / "data", ports.reserve())
        yield made
        made.run("down")


def failed(answer: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 1 and one line that says this."""
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert len(answer.stderr.splitlines()) == 1, answer.stderr
    for word in words:
        assert word in answer.stderr


def gone(pids: dict[str, list[int]]) -> bool:
    """Whether none of these runs; one that nobody has asked about its end counts as gone."""
    for pid in (pid for numbers in pids.values() for pid in numbers):
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return False
    return True


def test_it_starts_serves_counts_and_leaves_nothing_behind(stack: Stack) -> None:
    assert stack.up().returncode == 0
    env = stack.env()
    assert env["graphql_url"] == f"http://127.0.0.1:{stack.port}/graphql"
    assert {name for name, numbers in env["pids"].items() if numbers} >= PARTS
    assert {
        "ingest_url", "pubsub_emulator_host", "project_id", "database_url", "redis_url", "jwks_url"
    } <= env.keys()  # fmt: skip

    again = stack.up()
    assert again.returncode == 0
    assert "runs already" in again.stdout

    envelopes = [
        {"event_id": str(uuid.uuid4()), "event_type": kind, "data": data,
         "occurred_at": "2024-03-29T20:32:32Z"}
        for kind, data in (
            ("SessionStarted", {"session_id": "s", "user_id": "u", "item_count": 1}),
            ("CorrectAnswerGiven", {"session_id": "s", "item_id": "i", "response_time_ms": 900}),
            ("CorrectAnswerGiven", {"session_id": "lost", "item_id": "i", "response_time_ms": 9}),
            ("ItemPublished", {"item_id": "i", "domains": ["R"]}),
            ("SomethingElse", {}),
        )
    ]  # fmt: skip
    lines = [*(json.dumps(each) for each in envelopes), "", "garbage"]
    published = stack.run("publish", "-", text="\n".join(lines))
    assert published.stdout.split() == ["6", "published"], published.stderr

    def counted() -> bool:
        status = json.loads(stack.run("status", "--json").stdout)
        behind = [p["events_behind"] for p in status["projections"] if p["realtime"]]
        counts = [status[name] for name in ("events", "pending", "dead_letters", "head")]
        return counts == [4, 1, 1, 4] and set(behind) == {0}

    readiness.wait(counted, "the counts", seconds=90)
    assert stack.run("batch").returncode == 0
    trail = [json.loads(line) for line in stack.run("events", "--user", "u").stdout.splitlines()]
    assert [each["event_type"] for each in trail] == ["SessionStarted", "CorrectAnswerGiven"]
    letter = json.loads(stack.run("dead-letters", "list", "--json").stdout)
    assert letter["kind"] == "malformed"
    number = str(letter["letter_id"])
    failed(stack.run("dead-letters", "replay", number), "stays")
    assert stack.run("dead-letters", "discard", number, "--reason", "a test").returncode == 0
    assert json.loads(stack.run("status", "--json").stdout)["dead_letters"] == 0
    with redis.Redis.from_url(env["redis_url"]).monitor() as seen:  # type: ignore[no-untyped-call] # theirs
        rebuilt = stack.run("rebuild")
        assert rebuilt.returncode == 0, rebuilt.stderr
        while ":schema" not in seen.next_command()["command"]:
            pass  # the cache is told of what a command folds, too

    assert stack.run("down").returncode == 0
    assert gone(env["pids"])
    down = stack.run("down")
    assert (down.returncode, "does not run" in down.stdout) == (0, True)
    failed(stack.run("env"), "progress up")

    assert stack.up().returncode == 0
    assert json.loads(stack.run("status", "--json").stdout)["events"] == 4


def test_whatever_is_killed_comes_back(stack: Stack) -> None:
    assert stack.up().returncode == 0
    before = stack.env()["pids"]
    for name in sorted(PARTS - {"supervisor"}):
        for pid in before[name]:
            with contextlib.suppress(ProcessLookupError):  # it went with what it hung on
                os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        now = stack.env()["pids"]
        return stack.answers() and all(
            now[name] and not set(now[name]) & set(before[name]) for name in PARTS - {"supervisor"}
        )

    readiness.wait(back, "the killed parts", seconds=60)
    line = json.dumps({"event_id": "after", "event_type": "Something", "data": {}})
    assert stack.run("publish", "-", text=line).returncode == 0
    readiness.wait(
        lambda: json.loads(stack.run("status", "--json").stdout or "{}").get("events") == 1,
        "the event",
        seconds=90,
    )


def test_a_stack_whose_supervisor_was_killed_starts_again(stack: Stack) -> None:
    assert stack.up().returncode == 0
    before = stack.env()["pids"]
    os.kill(before["supervisor"][0], signal.SIGKILL)
    assert stack.up().returncode == 0
    assert stack.answers()
    os.kill(stack.env()["pids"]["supervisor"][0], signal.SIGKILL)
    assert stack.run("down").returncode == 0
    assert gone(before)


def test_a_stack_in_the_foreground_ends_with_its_command(stack: Stack) -> None:
    # In a folder deeper than the name of a socket may be long.
    deep = Stack(stack.folder.joinpath(*["deep"] * 30), stack.port)
    command = subprocess.Popen(
        [sys.executable, "-m", "progress.cli", "up", "--standin", "--port", str(deep.port)],
        env=settings.inherited(PROGRESS_DATA_DIR=str(deep.folder)),
        stdout=subprocess.DEVNULL,
    )
    try:
        folder = data_folder.DataFolder(deep.folder)
        readiness.wait(
            lambda: (now := folder.state()) is not None and now.phase == "ready", "it", seconds=90
        )
        pids = deep.env()["pids"]
        assert deep.run("status").returncode == 0
        command.send_signal(signal.SIGTERM)  # Ctrl-C takes the same way
        assert command.wait(60) == 0
        assert gone(pids)
    finally:
        command.kill()
        command.wait()
        deep.run("down")


def test_a_taken_port_is_named(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", stack.port)):
        failed(stack.up(), f"port {stack.port} is taken", "--port")


def test_a_folder_of_a_newer_version_is_left_alone(stack: Stack) -> None:
    stack.folder.mkdir()
    (stack.folder / "VERSION").write_text("2\n")
    failed(stack.up(), "newer version 2", "PROGRESS_DATA_DIR")
    assert (stack.folder / "VERSION").read_text() == "2\n"


def test_a_database_of_a_newer_postgresql_is_left_alone(stack: Stack) -> None:
    (stack.folder / "postgres").mkdir(parents=True)
    (stack.folder / "postgres" / "PG_VERSION").write_text("99\n")
    failed(stack.up(), "newer version 99", "PROGRESS_DATA_DIR")


def test_a_folder_that_cannot_be_written_to_is_named(stack: Stack) -> None:
    stack.folder.write_text("a file, where the folder should be")
    failed(stack.up(), str(stack.folder), "PROGRESS_DATA_DIR")


def test_a_read_only_folder_is_named(stack: Stack) -> None:
    stack.folder.mkdir(mode=0o500)
    if os.access(stack.folder, os.W_OK):
        pytest.skip("needs a user who may not write everywhere")
    failed(stack.up(), str(stack.folder), "Permission denied", "PROGRESS_DATA_DIR")


def test_a_full_disk_is_named(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", stack.folder],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        failed(stack.up(), str(stack.folder), "is full")
    finally:
        subprocess.run(["umount", stack.folder], check=True)


def test_a_token_is_alone_on_the_output_and_good_for_its_user(stack: Stack) -> None:
    answer = stack.run("token", "--user", "learner-1", "--role", "admin")
    claims = jwt.decode(answer.stdout.strip(), options={"verify_signature": False})
    assert (claims["sub"], claims["roles"]) == ("learner-1", ["admin"])


def test_no_command_waits_for_what_another_needs() -> None:
    """The API, tokens and asyncpg would more than double each command's start."""
    loaded = "import sys, progress.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    names = subprocess.check_output([sys.executable, "-c", loaded], text=True).split()
    assert {"typer", "pg8000"} <= {*names}
    assert not {"strawberry", "graphql", "jwt", "asyncpg", "valkey", "grpc", "flask"} & {*names}


def test_what_cannot_be_reached_or_written_is_one_line(stack: Stack) -> None:
    for away in ("postgresql://u:secret@127.0.0.1:1/d", "postgresql:///d?host=/nowhere"):
        with pytest.MonkeyPatch.context() as set_to:
            set_to.setenv("DATABASE_URL", away)
            failed(stack.run("status"), "no connection to ", "see that it runs")
    if Path("/dev/full").exists():
        at = settings.inherited(PROGRESS_DATA_DIR=str(stack.folder))
        full = [sys.executable, "-m", "progress.cli", "token", "--user", "u"]
        with Path("/dev/full").open("w") as disk:
            ran = subprocess.run(
                full, env=at, stdout=disk, stderr=subprocess.PIPE, text=True, check=False
            )
        assert (ran.returncode, ran.stderr.count("\n")) == (1, 1), ran.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        *[("nothing",), ("publish",), ("up", "--port", "0"), ("token",), ("events", "--x")],
        *[("token", "--user", ""), ("token", "--user", "u", "--role", "king")],
    ],
)
def test_wrong_usage_is_exit_code_2(stack: Stack, arguments: tuple[str, ...]) -> None:
    assert stack.run(*arguments).returncode == 2


def test_two_that_start_it_at_once_both_find_it_running(stack: Stack) -> None:
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(stack.up) for _ in range(2)]
    assert [each.result().returncode for each in both] == [0, 0], both[0].result().stderr
    assert sum("runs already" in each.result().stdout for each in both) == 1
