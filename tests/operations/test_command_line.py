"""`progress operations`, `progress export` and `progress erase`."""

import functools
import json
import os
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.cli import operations
from progress.operations import records, runner
from progress.serve import data_folder, ports, processes
from progress.serve.data_folder import StackState
from tests.conftest import Store
from tests.support import cli
from tests.support.fake_publisher import FakePublisher
from tests.support.operation_fixtures import BLOCKS, Operator, deliver, limit_step
from tests.support.stage import connect

Run = Callable[..., cli.Result]
UNKNOWN = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def run(store: Store) -> Run:
    return functools.partial(cli.progress, store.url, "operations")


def test_wait_exits_with_1_if_the_operation_fails(
    operator: Operator, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_step(monkeypatch, "fold", 0.0)
    operation_id = operator.start("rebuildProjections")["id"]
    deliver(operation_id)
    waited = run("wait", operation_id)
    cli.expect_failure(waited, "TIMED_OUT: fold: not done within 0 s")


def test_cancel_ends_an_operation_that_has_not_reached_its_point_of_no_return(
    operator: Operator, connection: Connection, run: Run
) -> None:
    operation_id = operator.start("runBatch")["id"]
    cli.expect_success(run("cancel", operation_id))
    callers = "SELECT started_by, cancelled_by, requesters FROM operations.operations"
    assert connection.run(callers) == [["ada", "system:command line", ["ada"]]]
    assert operator.run(operation_id)["error"] == "cancelled"
    again = run("cancel", operation_id)
    cli.expect_failure(again, "cannot be cancelled")


def test_a_command_goes_on_if_pubsub_does_not_accept_the_call_of_a_worker(
    operator: Operator, run: Run
) -> None:
    operation_id = operator.start("runBatch")["id"]
    away = {"PUBSUB_EMULATOR_HOST": f"127.0.0.1:{ports.reserve()}"}
    cancelled = run("cancel", operation_id, **away)
    cli.expect_success(cancelled)
    assert "the scheduled job calls a worker later: " in cancelled.stderr


def test_a_local_stack_gets_no_commands_of_another_database(
    operator: Operator, run: Run, fake_publisher: FakePublisher, tmp_path: Path
) -> None:
    nobody = f"http://127.0.0.1:{ports.reserve()}/"
    state = StackState(
        supervisor=processes.identify(os.getpid()),
        phase="ready",
        addresses={"project_url": nobody, "database_url": "postgresql:///another"},
    )
    data_folder.at(str(tmp_path)).write(state)
    operation_id = operator.start("runBatch")["id"]
    before = len(fake_publisher.commands())
    cli.expect_success(run("cancel", operation_id, PROGRESS_DATA_DIR=str(tmp_path)))
    assert fake_publisher.commands()[before:] == [{"command": "operation", "id": operation_id}]


def test_retry_resumes_an_operation_that_timed_out_after_its_point_of_no_return(
    operator: Operator, store: Store, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation_id = operator.start("rebuildProjections")["id"]
    retried = run("retry", operation_id)
    cli.expect_failure(retried, "start a new operation")
    with monkeypatch.context() as limited, closing(connect(store.url)) as holder:
        limit_step(limited, "swap", 0.3)
        holder.run("BEGIN")
        holder.run(BLOCKS["hold the swap"])
        deliver(operation_id)
    assert operator.get(operation_id)["state"] == "TIMED_OUT"
    cli.expect_success(run("retry", operation_id))
    assert operator.run(operation_id)["state"] == "SUCCEEDED"
    assert '"events"' in cli.expect_success(run("wait", operation_id))


def test_the_download_command_saves_the_file_that_the_show_command_names(
    operator: Operator, run: Run, populated: Connection, tmp_path: Path
) -> None:
    operation_id = operator.start("exportStatistics", "table: DAILY,")["id"]
    cli.expect_failure(run("download", operation_id), "has no file")
    operator.run(operation_id)
    name = json.loads(cli.expect_success(run("show", operation_id)))["download"]
    cli.expect_success(run("download", operation_id, str(tmp_path / "here")))
    assert (tmp_path / "here" / name).read_text(encoding="utf-8-sig").startswith("user_id,date,")
    batch = operator.start("runBatch")["id"]
    operator.run(batch)
    assert json.loads(cli.expect_success(run("show", batch)))["download"] is None
    cli.expect_failure(run("download", batch), "has no file")


@pytest.mark.parametrize("command", ["show", "wait", "cancel", "retry", "download"])
def test_an_unknown_operation_is_an_error(run: Run, command: str) -> None:
    unknown = run(command, UNKNOWN)
    cli.expect_failure(unknown, f"there is no operation {UNKNOWN}")


@contextmanager
def workers(store: Store) -> Iterator[None]:
    ends = threading.Event()

    def run_operations() -> None:
        with closing(store.connect()) as connection:
            while not ends.wait(0.05):
                for operation_id in records.list_unclaimed(connection):
                    runner.run(operation_id)

    thread = threading.Thread(target=run_operations)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def test_export_writes_the_record_of_a_learner_into_a_folder(
    operator: Operator, populated: Connection, store: Store, tmp_path: Path
) -> None:
    with workers(store):
        output = cli.expect_success(
            cli.progress(
                store.url, "export", "ann", str(tmp_path / "here"), PROGRESS_DATA_DIR=str(tmp_path)
            )
        )
    (file,) = (tmp_path / "here").iterdir()
    assert str(file) in output
    with zipfile.ZipFile(file) as archive:
        assert '"ann"' in archive.read("events.jsonl").decode()


def test_an_export_does_not_replace_an_earlier_file_of_the_same_name(tmp_path: Path) -> None:
    folder = storage.open_storage(str(tmp_path))
    for expected in ("progress-1.zip", "progress-1-2.zip", "progress-1-3.zip"):
        name = operations.choose_name(folder, "progress-1.zip")
        assert name == expected
        (tmp_path / name).touch()


def test_erase_shows_the_receipt_even_if_the_learner_is_already_erased(
    operator: Operator, populated: Connection, store: Store, run: Run
) -> None:
    with workers(store):
        output = cli.expect_success(cli.progress(store.url, "erase", "ann", "--yes"))
    rows = dict(re.findall(r"^ *(\S.*?) {2,}(.*\S)", output, re.MULTILINE))
    assert (rows["rows found afterwards"], rows[operations._PLACES["sessions"]]) == ("0", "4")
    assert "ann" not in rows["learner, as a digest"]
    again = cli.expect_success(cli.progress(store.url, "erase", "ann", "--json"))
    assert json.loads(again)["digest"] == rows["learner, as a digest"]
    (listed,) = map(json.loads, cli.expect_success(run("list", "--json")).splitlines())
    operation_id = listed["id"]
    assert operation_id in cli.expect_success(run("list"))
    assert json.loads(cli.expect_success(run("show", operation_id))) == listed
    assert (listed["result"]["found"], listed["started_by"]) == (0, "system:command line")
    waited = cli.expect_success(run("wait", operation_id))
    assert rows["learner, as a digest"] in waited
    waited = cli.expect_success(run("wait", operation_id, "--json"))
    assert json.loads(waited) == json.loads(again)


def test_erase_asks_for_confirmation_and_names_what_cannot_be_undone(
    populated: Connection, store: Store
) -> None:
    refused = cli.progress(store.url, "erase", "ann")
    assert refused.returncode == 1
    assert "No event with this learner id is ever accepted again" in refused.stdout
    assert populated.run(BLOCKS["erasures"]) == []


@pytest.mark.parametrize("command", ["export", "erase"])
def test_an_unknown_learner_is_an_error(store: Store, command: str) -> None:
    unknown = cli.progress(store.url, command, "nobody")
    cli.expect_failure(unknown, "no events of the learner nobody are recorded")
    cli.expect_failure(cli.progress(store.url, command, "caf\udce9"), "expected UTF-8")
