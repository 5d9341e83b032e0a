"""Kill the worker or interrupt the database in every step of every kind of operation."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.archive import check, manifests
from progress.errors import DatabaseUnavailable
from progress.event_store import dead_letters
from progress.operations import runner
from progress.operations.claim import ClaimedOperation
from progress.operations.records import PLANS
from progress.projections import batch, projector
from tests.support import archives, doomed_worker, model_rows, sample_events
from tests.support.export_fixtures import export, export_statistics, read
from tests.support.operation_fixtures import BLOCKS, Operator, deliver, result
from tests.support.postgres_servers import url_of
from tests.support.postgres_wire import Wire
from tests.support.stage import append

_EVER, _DAILY = 'before: "2999-01-01T00:00:00Z",', "table: DAILY, format: PARQUET"
_TOO_MANY = {"session_id": "late", "user_id": "ann", "item_count": -99_999}


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
    connection.run(BLOCKS["damage read models"])
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
    connection.run(BLOCKS["fix payload"], letter_id=letter.letter_id)
    started = operator.start("replayDeadLetters", f'ids: ["{letter.letter_id}"]')
    operation_id: str = started["id"]
    return operation_id


def _check_replay(connection: Connection, done: Any) -> None:
    assert result(done) == {"replayed": [_letter_id(connection)], "stay": []}
    assert connection.run(BLOCKS["late sessions"]) == [[1]]
    batch.run(connection)
    assert not sample_events.find_differences(connection)


def _letter_id(connection: Connection) -> str:
    return str(connection.run(BLOCKS["newest letter"])[0][0])


def _check_export(_: Connection, done: Any) -> None:
    file = result(done)
    archive = _check_file(file)
    assert json.loads(read(archive)["manifest.json"])["user_id"] == "ann"


def _check_statistics(_: Connection, done: Any) -> None:
    assert _check_file(result(done)).read_bytes().startswith(b"PAR1")


def _check_archive(connection: Connection, done: Any) -> None:
    length = model_rows.read_value(connection, "head")
    assert result(done) == {"upto": length, "events": length}
    archive = manifests.open_archive(settings.current())
    report = check.run_deep(connection, archive, lambda *_: None)
    assert report.findings == []
    assert len({path.split("/")[1] for path in archives.paths(archive)}) == 1


def _check_file(file: Any) -> Path:
    """Check that `file` describes the only exported file; return the path of this file."""
    (path,) = Path(settings.current().progress_data_dir, "exports").iterdir()
    assert path.name == file["object"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
    return path


SCENARIOS = {
    "RUN_BATCH": Scenario(_start_batch, _check_batch),
    "REBUILD": Scenario(_start_rebuild, _check_rebuild),
    "REPLAY_DEAD_LETTERS": Scenario(_start_replay, _check_replay),
    "ARCHIVE": Scenario(
        lambda operator, _: str(operator.start("archiveEvents", _EVER)["id"]), _check_archive
    ),
    "EXPORT_USER": Scenario(lambda operator, _: str(export(operator)["id"]), _check_export),
    "EXPORT_STATISTICS": Scenario(
        lambda operator, _: str(export_statistics(operator, _DAILY)["id"]), _check_statistics
    ),
}
STEPS = [(kind, step.name) for kind in SCENARIOS for step in PLANS[kind].steps]


def attempts(done: Any) -> dict[str, int]:
    """Return the number of counted attempts of each step, by the step's name."""
    return {step["name"]: step["attempts"] for step in done["steps"]}


@pytest.mark.first_in_gate("point")
@pytest.mark.parametrize("point", doomed_worker.POINTS[::-1])
@pytest.mark.parametrize(("kind", "step"), STEPS)
def test_the_first_redelivery_completes_the_operation_of_a_dead_worker(
    operator: Operator, populated: Connection, kind: str, step: str, point: str
) -> None:
    scenario = SCENARIOS[kind]
    operation_id = scenario.start(operator, populated)
    doomed_worker.run(operation_id, kind, step, point)
    doomed_worker.await_lost_claim(populated)
    assert deliver(operation_id)
    done = operator.get(operation_id)
    assert attempts(done) == {s.name: 1 + (s.name == step) for s in PLANS[kind].steps}
    scenario.check(populated, done)


@pytest.mark.exhaustive
@pytest.mark.parametrize("outage", ["refuses", "hangs", "loses_requests"])
@pytest.mark.parametrize(("kind", "step"), STEPS)
def test_a_database_outage_during_a_step_does_not_count_as_an_attempt(
    operator: Operator,
    populated: Connection,
    wire: Wire,
    monkeypatch: pytest.MonkeyPatch,
    *,
    kind: str,
    step: str,
    outage: str,
) -> None:
    scenario = SCENARIOS[kind]
    operation_id = scenario.start(operator, populated)
    monkeypatch.setenv("DATABASE_URL", url_of(wire.url, "project"))
    settings.current.cache_clear()
    with fail_database(wire, kind, step, outage, monkeypatch), pytest.raises(DatabaseUnavailable):
        deliver(operation_id)
    doomed_worker.await_lost_claim(populated)
    assert deliver(operation_id)
    done = operator.get(operation_id)
    assert attempts(done) == {s.name: 1 for s in PLANS[kind].steps}
    scenario.check(populated, done)


@contextmanager
def fail_database(
    wire: Wire, kind: str, step: str, outage: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Make the database refuse connections or hang, from the step's beginning until the block ends.

    If the database refuses connections, open connections are cut at once. If replies or requests
    are lost, they are cut after 0.1 s, as a failover would cut them.
    """
    actions = runner.ACTIONS[kind]
    timers = []

    def act(operation: ClaimedOperation) -> object:
        setattr(wire, outage, True)
        timers.append(threading.Timer(0 if wire.refuses else 0.1, wire.cut))
        timers[0].start()
        return actions[step](operation)

    with monkeypatch.context() as during:
        during.setitem(runner.ACTIONS, kind, {**actions, step: act})
        yield
    setattr(wire, outage, False)
    timers[0].join()


def append_letter(connection: Connection, event: dict[str, Any]) -> int:
    """Append an event that becomes a dead letter; return the id of the dead letter."""
    append(connection, [event])
    return max(letter.letter_id for letter in dead_letters.list_letters(connection))


@pytest.mark.every_postgres
def test_repaired_dead_letters_are_replayed_but_invalid_or_discarded_ones_stay(
    operator: Operator, connection: Connection
) -> None:
    session = {"session_id": "s", "user_id": "dan", "item_count": -99_999}
    valid = append_letter(
        connection, sample_events.envelope("SessionStarted", session, at=sample_events.BEGIN)
    )
    bad = append_letter(
        connection,
        sample_events.envelope(
            "SessionStarted", {**session, "session_id": "t"}, at=sample_events.BEGIN
        ),
    )
    discarded = append_letter(
        connection, sample_events.envelope("SessionStarted", {}, at=sample_events.BEGIN)
    )
    dead_letters.discard(connection, discarded, "of no use")
    connection.run(BLOCKS["fix payload"], letter_id=valid)
    ids = ", ".join(f'"{letter_id}"' for letter_id in (discarded, bad, valid))
    done = operator.run(operator.start("replayDeadLetters", f"ids: [{ids}]")["id"])
    outcome = result(done)
    assert outcome["replayed"] == [str(valid)]
    reasons = {letter["id"]: letter["reason"] for letter in outcome["stay"]}
    assert reasons[str(bad)].endswith("at $.data.item_count")
    assert reasons[str(discarded)] == f"dead letter {discarded} was discarded: of no use"
    assert model_rows.read_value(connection, "head") == 1
    batch.run(connection)
    assert not sample_events.find_differences(connection)


def test_a_poisoned_event_is_replayed_when_it_can_be_folded(
    operator: Operator, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    sample_events.poison(connection, "ann")
    projector.Projector(connection).catch_up_all()
    (letter,) = dead_letters.list_letters(connection)
    first = operator.start("replayDeadLetters", f'ids: ["{letter.letter_id}"]')
    (stays,) = result(operator.run(first["id"]))["stay"]
    assert stays["id"] == str(letter.letter_id)
    assert stays["reason"].startswith("the event still fails:")
    model_rows.read_value(connection, "mend")
    second = operator.start("replayDeadLetters", f'ids: ["{letter.letter_id}"]')
    assert result(operator.run(second["id"])) == {"replayed": [str(letter.letter_id)], "stay": []}
    assert model_rows.read_value(connection, "poisoned") is None
    batch.run(connection)
    assert not sample_events.find_differences(connection)
