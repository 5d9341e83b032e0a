"""`progress export`: one learner's record as a file."""

import threading
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from progress.adapters.postgres.database import Connection
from progress.operations import claim, executor
from tests.conftest import Store
from tests.support import cli
from tests.support.operation_fixtures import Operator, fake_publisher, operator, populated

__all__ = ["fake_publisher", "operator", "populated"]


@contextmanager
def workers(store: Store) -> Iterator[None]:
    """Run every operation that is started during the block."""
    ends = threading.Event()

    def run_operations() -> None:
        with closing(store.connect()) as connection:
            while not ends.wait(0.05):
                for operation_id in claim.list_unclaimed(connection):
                    executor.run(operation_id)

    thread = threading.Thread(target=run_operations)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def test_export_writes_the_learners_record_into_a_folder(
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


@pytest.mark.parametrize("command", ["export"])
def test_an_unknown_learner_is_an_error(store: Store, command: str) -> None:
    unknown = cli.progress(store.url, command, "nobody")
    cli.expect_failure(unknown, "no events of the learner nobody are recorded")
