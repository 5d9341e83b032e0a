"""The local stack and its command: start, stop, restarts, errors, access to its data folder."""

import asyncio
import contextlib
import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import psutil
import pytest
import typer
from typer.testing import CliRunner

from progress import __version__
from progress import cli as program
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import StackError
from progress.serve import (
    data_folder,
    development_key,
    process_specs,
    processes,
    readiness,
    system_account,
)
from progress.serve.laptop import postgres
from tests.support import (
    cli,
    folders,
    http_client,
    http_servers,
    local_stack,
    postgres_servers,
    programs,
    sample_events,
)
from tests.support.local_stack import Stack
from tests.support.postgres_servers import url_of

PARTS = {"postgres", "valkey", "ingest", "project", "query", "supervisor"}


@pytest.fixture
def stack() -> Iterator[Stack]:
    with local_stack.create() as made:
        yield made


def assert_one_system(stack: Stack, line: str) -> None:
    """No command posts to the stack and looks into another database."""
    other = {"DATABASE_URL": "postgresql:///other?host=/nowhere"}
    importing = ("import", "list", "/dev/stdin", "--name", "Body")
    for text, command in ((line, ("publish", "-")), ("house", importing)):
        refused = stack.run(*command, text=text, **other)
        cli.expect_failure(refused, "DATABASE_URL is not that of the local stack")
    own = stack.run("publish", "-", text=line, DATABASE_URL=stack.database_url)
    assert own.stdout.endswith("1 redelivered\n"), own.stderr


def env_of(stack: Stack) -> dict[str, Any]:
    env: dict[str, Any] = json.loads(stack.progress("env", "--json"))
    return env


def assert_page_and_schedule(stack: Stack) -> None:
    page = {"origin": "http://localhost:5173", "access-control-request-method": "POST"}
    asked = urllib.request.Request(
        f"http://127.0.0.1:{stack.port}/graphql", headers=page, method="OPTIONS"
    )
    with urllib.request.urlopen(asked) as allowed:  # noqa: S310 - the stack's own
        assert allowed.headers["access-control-allow-origin"] == page["origin"]
    teacher = ("--role", "teacher", "--group", "g")
    assert "#sign-in=" in stack.run("open", "--user", "u", *teacher).stdout
    assert "ENABLED" in stack.run("schedule", "list").stdout
    assert "is paused." in stack.run("schedule", "pause").stdout
    assert "PAUSED" in stack.run("schedule", "list", "--json").stdout
    assert "is started." in stack.run("schedule", "run").stdout
    assert "is enabled." in stack.run("schedule", "resume").stdout
    cli.expect_failure(stack.run("schedule", "pause", "x"), "only has progress-batch")
    assert_post(stack)
    assert_workers_publish_nothing(stack)


def have_ended(pids: dict[str, list[int]]) -> bool:
    for pid in (pid for numbers in pids.values() for pid in numbers):
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return False
    return True


def assert_an_analyst_sees(database_url: str, user: str) -> None:
    url = url_of(database_url, "analyst")
    with contextlib.closing(postgres_servers.connect_plainly(url)) as analyst:
        assert analyst.run("SELECT user_id FROM progress.user_progress") == [[user]]
        assert analyst.run("SHOW statement_timeout") == [["1min"]]


def assert_strict(stack: Stack, *, unknown: str, pending: str) -> None:
    for text, fault in (
        (unknown, "1 event types are unknown; nothing was published"),
        (pending, "1 events are pending: publish their SessionStarted"),
    ):
        result = stack.run("publish", "-", "--strict", text=text)
        assert result.returncode == 1
        assert fault in result.stderr.splitlines()[-1]


def assert_post(stack: Stack) -> None:
    token = stack.run("token", "--role", "publisher").stdout.strip()
    headers = http_client.headers(token)
    url = urlsplit(env_of(stack)["events_url"])
    for port in (url.port or 0, stack.port):  # the page's address takes posts, too
        status, answer = http_client.fetch_json(port, "POST", url.path, [], **headers)
        assert (status, answer["dead_letters"]) == (200, [])
    query = {"query": "{ streak { current } }"}
    _, answer = http_client.fetch_json(stack.port, "POST", "/graphql", query, **headers)
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"


def assert_workers_publish_nothing(stack: Stack) -> None:
    """Assert that operations in a command, such as `erasures apply`, leave Google Cloud alone."""
    script = (
        "from progress import settings; from progress.cli import connections;"
        "connections.use_stack(); print(settings.current().publish_events)"
    )
    printed = programs.run([sys.executable, "-c", script], stack.environment())
    assert printed.strip() == "off"


def test_a_stack_starts_and_counts_events_and_leaves_no_process_behind(stack: Stack) -> None:
    stack.up()
    env = env_of(stack)
    assert env["graphql_url"] == f"http://127.0.0.1:{stack.port}/graphql"
    assert {name for name, numbers in env["pids"].items() if numbers} >= PARTS
    assert {
        "ingest_url", "events_url", "project_id", "database_url", "redis_url", "jwks_url",
    } <= env.keys()  # fmt: skip

    again = stack.try_up()
    assert again.returncode == 0
    assert "is already running" in again.stdout
    assert_page_and_schedule(stack)
    envelopes = [
        {"event_id": str(uuid.uuid4()), "event_type": kind, "data": data,
         "occurred_at": "2024-03-29T20:32:32Z", ("metadata" if data else "metdata"): {}}
        for kind, data in (
            ("SessionStarted", {"session_id": "s", "user_id": "u", "item_count": 1}),
            ("CorrectAnswerGiven", {"session_id": "s", "item_id": "i", "response_time_ms": 900}),
            ("CorrectAnswerGiven", {"session_id": "lost", "item_id": "i", "response_time_ms": 9}),
            ("ItemPublished", {"item_id": "i", "domains": ["R"]}),
            ("SomethingElse", {}),
        )
    ]  # fmt: skip
    lines = [*(json.dumps(envelope) for envelope in envelopes), "", "{}"]
    assert_strict(stack, unknown=lines[4], pending=lines[2])
    published = stack.run("publish", "-", text="\ufeff" + "\n".join(lines[:5]))
    assert published.stdout.splitlines() == [
        "5 published",
        "4 appended (1 of unknown types), 1 redelivered",
    ], published.stderr
    assert published.stderr.startswith(
        "line 5: unknown event type 'SomethingElse'; it is recorded, but not counted\n"
        "line 5: unknown field 'metdata' (did you mean metadata?); it is not used\n"
    )
    lines[0] = json.dumps(envelopes[0] | {"data": {**envelopes[0]["data"], "item_count": 2}})  # type: ignore[dict-item]
    conflicting = stack.run("publish", "-", "--force", "--strict", text="\n".join(lines))
    assert conflicting.returncode == 1, conflicting.stdout + conflicting.stderr
    assert conflicting.stdout == "6 published\n0 appended, 4 redelivered, 2 dead letters\n"
    assert "2 events became dead letters" in conflicting.stderr
    assert_one_system(stack, lines[1])

    def has_counted() -> bool:
        status = json.loads(stack.run("status", "--json").stdout)
        behind = [p["events_behind"] for p in status["projections"] if p["realtime"]]
        counts = [status[name] for name in ("events", "pending", "dead_letters", "head")]
        return counts == [4, 1, 2, 4] and set(behind) == {0}

    readiness.wait(has_counted, "the counts", seconds=90)
    assert stack.run("batch").returncode == 0
    trail = [json.loads(line) for line in stack.run("events", "--user", "u").stdout.splitlines()]
    assert [event["event_type"] for event in trail] == ["SessionStarted", "CorrectAnswerGiven"]
    letters = [
        json.loads(row) for row in stack.run("dead-letters", "list", "--json").stdout.splitlines()
    ]
    numbers = {letter["kind"]: str(letter["letter_id"]) for letter in letters}
    assert numbers.keys() == {"malformed", "conflict"}
    number = numbers["malformed"]
    cli.expect_failure(stack.run("dead-letters", "replay", number), "stays")
    assert stack.run("dead-letters", "discard", number, "--reason", "a test").returncode == 0
    assert_an_analyst_sees(env["database_url"], "u")

    assert stack.run("down").returncode == 0
    assert have_ended(env["pids"])
    down = stack.run("down")
    assert (down.returncode, "is not running" in down.stdout) == (0, True)
    cli.expect_failure(stack.run("env"), "progress up")

    with postgres_servers.run_in(stack.folder.path) as url:
        kept = urlsplit(url)._replace(path="/progress").geturl()
        with contextlib.closing(database.connect(kept)) as left:
            assert left.run("SELECT count(*) FROM event_store.events") == [[4]]


@pytest.mark.exhaustive
def test_two_simultaneous_up_commands_start_one_stack_and_a_killed_stack_starts_again(
    stack: Stack,
) -> None:
    with ThreadPoolExecutor() as pool:
        starts = [pool.submit(stack.try_up) for _ in range(2)]
    answers = [start.result() for start in starts]
    assert [answer.returncode for answer in answers] == [0, 0], answers[0].stderr
    assert sum("is already running" in answer.stdout for answer in answers) == 1
    before = env_of(stack)["pids"]
    os.kill(before["supervisor"][0], signal.SIGKILL)
    stack.up()
    assert http_client.fetch(stack.port, "GET", "/health")[0] == 200
    os.kill(env_of(stack)["pids"]["supervisor"][0], signal.SIGKILL)
    assert stack.run("down").returncode == 0
    assert have_ended(before)


@pytest.mark.exhaustive
def test_a_stack_in_the_foreground_ends_if_its_command_gets_sigterm(stack: Stack) -> None:
    # A stack must also start in a folder whose path is too long for a Unix socket.
    deep = Stack(stack.folder.path.joinpath(*["deep"] * 30))
    command = subprocess.Popen(
        [*cli.COMMAND, "up", "--port", str(deep.port)],
        env=deep.environment(),
        stdout=subprocess.DEVNULL,
    )
    try:
        readiness.wait(
            lambda: (now := deep.folder.state()) is not None and now.phase == "ready",
            "the stack",
            seconds=90,
        )
        pids = env_of(deep)["pids"]
        assert deep.run("status").returncode == 0
        command.send_signal(signal.SIGTERM)  # Ctrl-C is handled the same way
        assert command.wait(60) == 0
        assert have_ended(pids)
    finally:
        command.kill()
        command.wait()
        deep.run("down")


def test_the_error_names_a_port_that_is_in_use(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", stack.port)):
        cli.expect_failure(stack.try_up(), f"port {stack.port} is taken", "--port")


@pytest.mark.parametrize("name", ["VERSION", "postgres/PG_VERSION"])
def test_data_of_a_newer_version_is_rejected_and_stays_unchanged(stack: Stack, name: str) -> None:
    file = stack.folder.path / name
    file.parent.mkdir(parents=True)
    file.write_text("99\n")
    cli.expect_failure(stack.try_up(), "newer version 99", "PROGRESS_DATA_DIR")
    assert file.read_text() == "99\n"


def test_the_error_names_a_data_folder_that_is_a_file_or_read_only_or_full(stack: Stack) -> None:
    folder = stack.folder.path
    folder.write_text("a file, where the folder should be")
    cli.expect_failure(stack.try_up(), str(folder), "PROGRESS_DATA_DIR")
    folder.unlink()
    folder.mkdir(mode=0o500)
    if not os.access(folder, os.W_OK):  # root may write
        cli.expect_failure(stack.try_up(), str(folder), "Permission denied", "PROGRESS_DATA_DIR")
    folder.chmod(0o700)
    with folders.mount(folder, "size=8m"):
        cli.expect_failure(stack.try_up(), str(folder), " MB free, and 200 are needed")
        assert not data_folder.is_held(stack.folder)


# A supervisor handles the signal, and may be killed before or after its child asks for the signal.
PARENT = """
import os, signal, subprocess, sys, time
from progress.serve import processes
signal.signal(signal.SIGTERM, lambda *_: None)
parent, output, ask = os.getpid(), os.dup(1), processes.die_with_parent
def kill(when):
    if when == sys.argv[1]:
        os.kill(parent, signal.SIGKILL)
        while os.getppid() == parent:
            pass
def ask_beside_a_kill(*given):
    os.write(output, b"%d\\n" % os.getpid())
    kill("before")
    ask(*given)
    kill("after")
processes.die_with_parent = ask_beside_a_kill
processes.start(["sleep", "60"], output=subprocess.DEVNULL)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sends a signal at a parent's death")
@pytest.mark.parametrize("when", ["before", "after", "later"])
def test_a_process_ends_with_its_killed_parent(when: str) -> None:
    command = [sys.executable, "-c", PARENT, when]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = processes.identify(int(parent.stdout.readline()))
        if when == "later":
            assert processes.is_alive(child)
            parent.kill()
    readiness.wait(lambda: not processes.is_alive(child), "the end of the child")


@pytest.mark.parametrize("status", [200, 503])
def test_a_function_is_ready_once_it_answers_with_200(tmp_path: Path, status: int) -> None:
    class Handler(http_servers.Handler):
        def do_GET(self) -> None:
            self.respond(status)

    async def answers(port: int) -> bool:
        folder = {"PROGRESS_DATA_DIR": str(tmp_path)}
        return await process_specs.function("query", port, folder).answers()

    with http_servers.serve(Handler) as url:
        assert asyncio.run(answers(urlsplit(url).port or 0)) == (status == 200)


MASKS = (0o000, 0o022)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("exists", [True, False])
def test_a_new_folder_is_private(tmp_path: Path, mask: int, exists: bool) -> None:
    folder = tmp_path / "data"
    with folders.umask(mask):
        if exists:
            folder.mkdir()
        data_folder.make_usable(data_folder.at(str(folder)))
    assert folders.list_open_files(folder) == []


def test_a_shared_folder_keeps_its_permissions(tmp_path: Path) -> None:
    with folders.umask(0o022):
        shared = tmp_path / "shared"
        shared.mkdir()
        (shared / "other").write_text("of another program")
        before = modes(shared)
        data_folder.make_usable(data_folder.at(str(shared)))
    assert modes(shared) == before | {"VERSION": 0o600, "logs": 0o700}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who runs PostgreSQL as another user")
def test_only_the_account_of_postgresql_can_pass_through_a_folder_of_root() -> None:
    with folders.create("pass") as place:
        folder = data_folder.at(str(place / "data"))
        for _ in range(2):
            data_folder.make_usable(folder)
            postgres.prepare(folder.postgres)
            account = pwd.getpwnam(system_account.find() or "")
            state = folder.path.stat()
            assert (stat.S_IMODE(state.st_mode), state.st_gid) == (0o710, account.pw_gid)
        command = ["test", "-w", str(folder.postgres / "PG_VERSION")]
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        assert subprocess.run(command, check=False, **user).returncode == 0  # type: ignore[call-overload]
        nobody = pwd.getpwnam("nobody")
        other = user | {"user": nobody.pw_uid, "group": nobody.pw_gid}
        for path in (folder.logs, folder.path / "VERSION"):
            for who in (user, other):
                command = ["test", "-r", str(path)]
                assert subprocess.run(command, check=False, **who).returncode == 1  # type: ignore[call-overload]


def test_a_socket_folder_of_another_user_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep, temporary = tmp_path.joinpath(*["deep"] * 30), tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    short = postgres.socket_folder(deep)
    assert (short.parent, stat.S_IMODE(short.stat().st_mode)) == (temporary, 0o700)
    short.chmod(0o777)
    assert stat.S_IMODE(postgres.socket_folder(deep).stat().st_mode) == 0o700
    short.rename(tmp_path / "other")
    short.symlink_to(tmp_path / "other")
    with pytest.raises(StackError, match="belongs to another user: remove it"):
        postgres.socket_folder(deep)


@pytest.mark.exhaustive
@pytest.mark.parametrize("mask", MASKS)
def test_only_the_owner_can_access_the_files_of_a_stack(stack: Stack, mask: int) -> None:
    with folders.umask(mask):
        data_folder.make_usable(stack.folder)
        stack.folder.log("query").write_text("of an earlier start\n")
        stack.folder.log("query").chmod(0o600)
        stack.up()
        assert stack.run("token", "--user", "u").returncode == 0
        assert stack.run("open", "--user", "u").returncode == 0
        assert stack.run("schedule", "pause").returncode == 0
        assert folders.list_open_files(stack.folder.path) == []
        assert stack.run("down").returncode == 0
        log = stack.folder.log("query").read_text()
        assert log.startswith("of an earlier start\n")
        assert "database system is shut down" in stack.folder.log("postgres").read_text()
        assert folders.list_open_files(stack.folder.path) == []


def test_the_token_command_prints_only_a_token_for_the_user(stack: Stack) -> None:
    cli.expect_failure(stack.run("token", "--user", "u"), "first start the local stack")
    assert not stack.folder.path.exists()
    stack.folder.path.mkdir()
    development_key.ensure(stack.folder.key)
    for options, *expected in (
        ("--user learner-1 --role admin", "learner-1", ["admin"], []),
        ("--user t --role teacher --group g1 --group g2", "t", ["teacher"], ["g1", "g2"]),
        ("--role publisher", "publisher", ["publisher"], []),
        ("--role publisher --user p", "p", ["publisher"], []),
    ):
        token = stack.progress("token", *options.split()).strip()
        claims = jwt.decode(token, options={"verify_signature": False})
        assert [claims.get(name) for name in ("sub", "roles", "groups")] == expected
    assert [*stack.folder.path.iterdir()] == [stack.folder.key]


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("42P01", "`progress migrate` may help"),
        ("53100", "free some space on the database's disk"),
        ("57P01", "try again"),
    ],
)
def test_a_rejected_statement_says_what_to_do(
    connection: Connection,
    code: str,
    advice: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = typer.Typer()
    statement = f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$"
    app.command()(lambda: connection.run(statement))
    monkeypatch.setattr(sys, "argv", ["progress"])
    with pytest.raises(SystemExit):
        program.main(app)
    assert capsys.readouterr().err.endswith(f" no; {advice}\n")


def test_an_unreachable_database_or_a_full_output_device_gives_a_one_line_error(
    stack: Stack,
) -> None:
    for away in ("postgresql://u:secret@127.0.0.1:1/d", "postgresql:///d?host=/nowhere"):
        failed = cli.progress(away, "status", PROGRESS_DATA_DIR=str(stack.folder.path))
        cli.expect_failure(failed, "no connection to ", "check that the service is running")
    if Path("/dev/full").exists():
        stack.folder.path.mkdir()
        development_key.ensure(stack.folder.key)
        full = f"{' '.join(cli.COMMAND)} token --user u > /dev/full"
        ran = programs.try_run(["sh", "-c", full], stack.environment())
        assert (ran.returncode, ran.stderr.count("\n")) == (1, 1), ran.stderr


def test_an_interrupt_during_the_imports_ends_the_command_without_a_traceback() -> None:
    script = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Interrupt:
    def find_spec(self, name, *_):
        if name == "typer":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from progress.serve import system_account
from progress.__main__ import main
main()
"""
    ran = programs.try_run([sys.executable, "-c", script])
    why = "progress: interrupted before anything was done\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", why)


def test_the_version_and_the_shell_completion_are_available() -> None:
    version = CliRunner().invoke(program.build_app(), ["--version"])
    assert (version.exit_code, version.output) == (0, f"progress {__version__}\n")
    assert "--install-completion" in CliRunner().invoke(program.build_app(), ["--help"]).output


def test_wrong_usage_gives_exit_code_2() -> None:
    app = program.build_app()
    for arguments in (
        *[("nothing",), ("publish",), ("up", "--port", "0"), ("token",), ("events", "--x")],
        *[("token", "--user", ""), ("token", "--user", "u", "--role", "king")],
        *[("token", "--user", "u", *role, "--group", "g") for role in ((), ("--role", "admin"))],
        *[("token", "--role", "publisher", "--role", "admin"), ("token", "--role", "learner")],
        ("token", "--user", "u", "--role", "teacher", *("--group", "g") * 51),
        *[("events", "--since", since) for since in ("soon", "999999d", "9" * 30 + "s")],
        *[("demo", "--anki", "f", "--as-recorded")],
        *[("demo", "--user", "u"), ("import",)],
        *[("import", "anki", "f", "--language", "e"), ("import", "anki", "f", "--user", "")],
    ):
        assert CliRunner().invoke(app, arguments).exit_code == 2, arguments


def test_the_events_command_suggests_the_declared_type_that_is_similar_to_an_unknown_type() -> None:
    arguments = ["events", "--json", "--type", "Sessionstarted"]
    unreachable = {"DATABASE_URL": "postgresql:///d?host=/nowhere"}
    answer = CliRunner().invoke(program.build_app(), arguments, env=unreachable)
    assert "(did you mean SessionStarted?)" in answer.output


def test_publish_uses_google_cloud_with_its_option_and_without_an_emulator(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps(sample_events.user_deleted("ann")), encoding="utf-8")
    answer = cli.progress(
        "",
        *("publish", "--pubsub", str(file)),
        PUBSUB_PROJECT_ID="a-project",
        GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "none.json"),
    )
    assert answer.returncode == 1
    assert "Pub/Sub at Google Cloud does not accept messages: no credentials" in answer.stderr
