"""`progress export` saves a learner's record as a file; `progress erase` erases the learner."""

import json
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.cli import operations
from progress.operations import executor, records
from tests.conftest import Store
from tests.support import cli
from tests.support.erasure_fixtures import no_requests
from tests.support.operation_fixtures import Operator, blocks

__all__ = ["no_requests"]


@contextmanager
def workers(store: Store) -> Iterator[None]:
    """Run every operation that is started during the block."""
    ends = threading.Event()

    def run_operations() -> None:
        with closing(store.connect()) as connection:
            while not ends.wait(0.05):
                for operation_id in records.list_unclaimed(connection):
                    executor.run(operation_id)

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
    operator: Operator, populated: Connection, store: Store
) -> None:
    with workers(store):
        output = cli.expect_success(cli.progress(store.url, "erase", "ann", "--yes"))
    rows = dict(re.findall(r"^ *(\S.*?) {2,}(.*\S)", output, re.MULTILINE))
    assert (rows["rows found afterwards"], rows[operations._PLACES["sessions"]]) == ("0", "4")
    assert "ann" not in rows["learner, as a digest"]
    again = cli.expect_success(cli.progress(store.url, "erase", "ann", "--json"))
    assert json.loads(again)["digest"] == rows["learner, as a digest"]
    (operation_id,) = [
        operation["id"]
        for line in cli.expect_success(
            cli.progress(store.url, "operations", "list", "--json")
        ).splitlines()
        if (operation := json.loads(line))["kind"] == "ERASE_USER"
    ]
    shown = cli.expect_success(cli.progress(store.url, "operations", "show", operation_id))
    assert json.loads(shown)["result"]["found"] == 0
    waited = cli.expect_success(cli.progress(store.url, "operations", "wait", operation_id))
    assert rows["learner, as a digest"] in waited
    waited = cli.expect_success(
        cli.progress(store.url, "operations", "wait", operation_id, "--json")
    )
    assert json.loads(waited) == json.loads(again)


def test_erase_asks_for_confirmation_and_names_what_cannot_be_undone(
    populated: Connection, store: Store
) -> None:
    refused = cli.progress(store.url, "erase", "ann")
    assert refused.returncode == 1
    assert "No event with this learner id is ever accepted again" in refused.stdout
    assert populated.run(blocks()["erasures"]) == []


@pytest.mark.parametrize("command", ["export", "erase"])
def test_an_unknown_learner_is_an_error(store: Store, command: str) -> None:
    unknown = cli.progress(store.url, command, "nobody")
    cli.expect_failure(unknown, "no events of the learner nobody are recorded")
