"""Scenarios, one for each kind of operation: start the operation, then check its outcome."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.archive import check, manifests
from progress.event_store import dead_letters
from progress.projections import batch
from tests.support import archives, model_rows, sample_events
from tests.support.export_fixtures import export, export_statistics, read
from tests.support.operation_fixtures import Operator, blocks, result
from tests.support.stage import append

_TOO_MANY = {"session_id": "late", "user_id": "ann", "item_count": 99_999}


class Scenario(NamedTuple):
    """`start` starts an operation and returns its id; `check` checks the operation's outcome."""

    start: Callable[[Operator, Connection], str]
    check: Callable[[Connection, Any], None]


def _start_batch(operator: Operator, connection: Connection) -> str:
    append(connection, sample_events.lesson("ann", 9))
    operation_id: str = operator.start("runBatch")["id"]
    return operation_id


def _check_batch(connection: Connection, done: Any) -> None:
    assert result(done).keys() == {"replayed", "swept", "learners"}
    assert not sample_events.find_differences(connection)


def _start_rebuild(operator: Operator, connection: Connection) -> str:
    connection.run(blocks()["damage read models"])
    operation_id: str = operator.start("rebuildProjections")["id"]
    return operation_id


def _check_rebuild(connection: Connection, done: Any) -> None:
    assert result(done) == {"events": model_rows.read_value(connection, "head")}
    assert model_rows.read_value(connection, "schemas") == 1
    assert not sample_events.find_differences(connection)


def _start_replay(operator: Operator, connection: Connection) -> str:
    event = sample_events.envelope("SessionStarted", _TOO_MANY, at=sample_events.BEGIN)
    append(connection, [event])
    (letter,) = dead_letters.list_letters(connection)
    connection.run(blocks()["fix payload"], letter_id=letter.letter_id)
    started = operator.start("replayDeadLetters", f'ids: ["{letter.letter_id}"]')
    operation_id: str = started["id"]
    return operation_id


def _check_replay(connection: Connection, done: Any) -> None:
    assert result(done) == {"replayed": [_letter_id(connection)], "stay": []}
    assert connection.run(blocks()["late sessions"]) == [[1]]
    batch.run(connection)
    assert not sample_events.find_differences(connection)


def _letter_id(connection: Connection) -> str:
    return str(connection.run(blocks()["newest letter"])[0][0])


def _start_export(operator: Operator, _: Connection) -> str:
    operation_id: str = export(operator)["id"]
    return operation_id


def _check_export(_: Connection, done: Any) -> None:
    file = result(done)
    archive = _check_file(file)
    assert json.loads(read(archive)["manifest.json"])["user_id"] == "ann"


def _start_statistics(operator: Operator, _: Connection) -> str:
    operation_id: str = export_statistics(operator, "table: DAILY, format: PARQUET")["id"]
    return operation_id


def _check_statistics(_: Connection, done: Any) -> None:
    assert _check_file(result(done)).read_bytes().startswith(b"PAR1")


def _start_archive(operator: Operator, _: Connection) -> str:
    started = operator.start("archiveEvents", 'before: "2999-01-01T00:00:00Z",')
    operation_id: str = started["id"]
    return operation_id


def _check_archive(connection: Connection, done: Any) -> None:
    length = model_rows.read_value(connection, "head")
    assert result(done) == {"upto": length, "events": length}
    archive = manifests.open_archive(settings.current())
    report = check.run_deep(connection, archive, lambda *_: None)
    assert report.findings == []
    assert len({path.split("/")[1] for path in archives.paths(archive)}) == 1


def _check_file(file: Any) -> Path:
    """Check that `file` describes the only exported file; return the path of this file."""
    (path,) = exported_files()
    assert path.name == file["object"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
    return path


def exported_files() -> list[Path]:
    """Return the files in the folder of exports, including unfinished files."""
    folder = Path(settings.current().progress_data_dir) / "exports"
    return [*folder.iterdir()] if folder.exists() else []


SCENARIOS = {
    "RUN_BATCH": Scenario(_start_batch, _check_batch),
    "REBUILD": Scenario(_start_rebuild, _check_rebuild),
    "REPLAY_DEAD_LETTERS": Scenario(_start_replay, _check_replay),
    "ARCHIVE": Scenario(_start_archive, _check_archive),
    "EXPORT_USER": Scenario(_start_export, _check_export),
    "EXPORT_STATISTICS": Scenario(_start_statistics, _check_statistics),
}
