"""The commands accept the benchmark's simulated archive.

The test also restores a log from this archive. Rebuilds from the archive and from that log give
the same rows.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import simulated_archive
from bench.simulated_archive import Size
from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.archive import check, plan, restore
from progress.projections import rebuild, schema
from tests.conftest import Store
from tests.support import archive_rebuilds, archives
from tests.support.backup_fixtures import every_row


def ignore(_done: int, _total: int) -> None:
    """Ignore the progress."""


@pytest.mark.exhaustive
def test_rebuilds_from_a_simulated_archive_and_from_its_restored_log_give_the_same_rows(
    store: Store,
    connection: Connection,
    stores: Callable[[], Store],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan, "RANGE", 9_000)
    schema.drop(connection, schema.schema_name())  # no read models, as after a change of folds
    stored = storage.open_storage(str(tmp_path))
    with simulated_archive.open_simulation(connection, Size(15_000, 16, days=10)) as simulation:
        simulation.load_log(connection)
        simulation.write(connection, stored, ignore)
    report = check.run(stored, ignore)
    assert (report.findings, report.events, len(archives.ranges(stored))) == ([], 15_000, 2)
    archive_rebuilds.run(store, tmp_path, archive_rebuilds.run_in_turn)
    restored = stores()
    with contextlib.closing(restored.connect()) as whole_log:
        restore.run(whole_log, stored, ignore)
        rebuild.run(restored.connect)
        expected = every_row(whole_log)
    assert every_row(connection) == expected
    assert len(expected["user_progress"]) >= 10
