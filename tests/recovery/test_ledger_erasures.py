"""After a restore, erased learners are erased again, and their data do not reappear."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks
from progress.adapters.storage.storage import Folder, Storage
from progress.archive import catalogue, erasure_ledger
from progress.archive.erasure_ledger import Key
from progress.cli import recovery
from progress.errors import ProgressError
from progress.event_store import dead_letters
from progress.operations import erasure_steps
from progress.projections import batch, rebuild, replay
from progress.recovery import checks, dumps
from progress.serve import readiness
from tests.conftest import Store
from tests.support import cli, model_rows, sample_events
from tests.support.erasure_fixtures import (
    LEARNER,
    NEEDLES,
    apply_ledger,
    erase,
    find_in_tables,
    leave_traces,
    list_events,
    push_events,
    receipt,
)
from tests.support.operation_fixtures import BLOCKS, Operator, limit_step
from tests.support.recovery_fixtures import nobody
from tests.support.stage import append, connect

LATER = "later-learner"
ARCHIVE_RUNNING = "another run works on the archive: wait until it ends"


def archive() -> Storage:
    return catalogue.open_archive(settings.current())


@pytest.fixture
def restored(  # noqa: PLR0917 - fixtures
    operator: Operator,
    stores: Callable[[], Store],
    store: Store,
    populated: Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Store:
    """A log restored from a dump that is older than the two erasures in the ledger.

    The log has no events of the second learner, who started after the dump.
    """
    leave_traces(populated)
    dumps.run(populated, Folder(tmp_path), nobody)
    append(populated, sample_events.lesson(LATER, 1))
    batch.run(populated)
    for learner in (LEARNER, LATER):
        assert operator.run(erase(operator, learner)["id"])["state"] == "SUCCEEDED"
    new = stores()
    with closing(connect(new.url)) as connection:
        without_ledger = Folder(tmp_path / "none")  # as a log that PostgreSQL's own tools restored
        dumps.load(connection, Folder(tmp_path), without_ledger, nobody)
        assert find_in_tables(connection, LEARNER)
        rebuild.run(new.connect)
    monkeypatch.setenv("DATABASE_URL", new.url)
    settings.current.cache_clear()
    return new


def assert_absent(store: Store) -> None:
    """Deliver all events again, and assert that no data of the ledger's learners reappear."""
    again = [*list_events(), *sample_events.lesson(LATER, 1)]
    with closing(connect(store.url)) as connection:
        assert push_events(connection, *again)["erased"] == len(again)
        batch.run(connection)
        assert find_in_tables(connection, *NEEDLES, LATER) == []
        assert not checks.run(connection, erasure_ledger.read_digests(archive())).findings
        assert not sample_events.find_differences(connection)


def test_an_erased_learner_does_not_reappear_when_data_are_redelivered_rebuilt_or_replayed(
    operator: Operator, restored: Store
) -> None:
    with closing(connect(restored.url)) as connection:
        letters = [letter.letter_id for letter in dead_letters.list_letters(connection)]
        recorded = model_rows.read_table(connection, "event_store.events")
        assert apply_ledger(restored) == (1, 1)
        redelivered = [
            {
                **{name: event[name] for name in ("event_type", "metadata")},
                "event_id": str(event["event_id"]),
                "occurred_at": event["occurred_at"].isoformat(),
                "data": event["event_data"],
            }
            for event in recorded
            if event["stream_id"] == f"learner-{LEARNER}"
        ]
        assert push_events(connection, *redelivered)["erased"] == len(redelivered) > 10
        assert_absent(restored)
        failures = list(replay.replay_all(connection, letters))
        assert len(failures) == len(letters) > 0
        assert_absent(restored)
        rebuild.run(restored.connect)
        assert_absent(restored)
    assert apply_ledger(restored) == (0, 0)


@pytest.mark.exhaustive
def test_the_erasures_that_a_restored_log_lacks_are_reported_and_repeated(restored: Store) -> None:
    checked = cli.progress(restored.url, "check")
    cli.expect_failure(checked, "the ledger has 2 erasures", "run `progress erasures apply`")
    output = cli.expect_success(cli.progress(restored.url, "erasures", "apply"))
    assert "1 learners are erased again. 1 other erased learners are not in this log" in output
    cli.expect_success(cli.progress(restored.url, "check"))
    assert_absent(restored)


@pytest.mark.parametrize("swept", [False, True], ids=["unfinished", "timed out"])
def test_an_erasure_that_was_restored_without_time_left_gets_its_time_from_now_on(  # noqa: PLR0917 - fixtures
    operator: Operator,
    populated: Connection,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    swept: bool,
) -> None:
    """The batch job may find it before `progress erasures apply`, and then it times out."""
    operation_id = erase(operator, "ann")["id"]
    values = {"operation_id": operation_id, "remaining": "-1 second"}
    populated.run(BLOCKS["set remaining time"], **values)
    if swept:
        assert operator.run(operation_id)["state"] == "TIMED_OUT"
    monkeypatch.setenv("DATABASE_URL", store.url)
    settings.current.cache_clear()
    recovery.apply()
    assert receipt(operator.get(operation_id))["found"] == 0
    said = "1 requested erasures were over their time limit: they got 14 days from now on."
    assert said in capsys.readouterr().out
    recovery.apply()
    assert "time limit" not in capsys.readouterr().out


@pytest.mark.exhaustive
def test_an_erasure_that_failed_is_resumed(
    restored: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as limited:
        limit_step(limited, "redact", 0.0)
        with pytest.raises(ProgressError, match=r"1 of 1 erasures failed.*TIMED_OUT"):
            apply_ledger(restored)
    assert apply_ledger(restored) == (1, 0)
    assert_absent(restored)


@pytest.mark.exhaustive
def test_a_restored_log_adopts_the_key_of_the_erasure_ledger(
    restored: Store, stores: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that is filled from the archived events has a new key, not the key of the ledger."""
    new = stores()
    monkeypatch.setenv("DATABASE_URL", new.url)
    settings.current.cache_clear()
    with closing(connect(new.url)) as connection:
        append(connection, [*list_events(), *sample_events.lesson("ben", 1)])
        batch.run(connection)
    assert apply_ledger(new) == (1, 1)
    assert_absent(new)


def test_the_ledger_of_another_log_is_rejected(
    operator: Operator, populated: Connection, store: Store
) -> None:
    operator.run(erase(operator, "ann")["id"])
    archive().remove_file("erasures/key")
    erasure_ledger.write_key(archive(), Key("00" * 64, "11" * 64))
    with pytest.raises(ProgressError, match="belongs to another log"):
        apply_ledger(store)


def test_a_log_adopts_the_key_of_the_erasure_ledger_even_after_a_failed_erasure(
    operator: Operator, populated: Connection, store: Store
) -> None:
    """The batch job may start an erasure before `progress erasures apply`; this erasure fails."""
    key = Key("00" * 64, "11" * 64)
    erasure_ledger.write_key(archive(), key)
    early = operator.run_until_it_ends(erase(operator, "ann")["id"])
    assert (early["state"], "key of another log" in early["error"]) == ("FAILED", True)
    assert apply_ledger(store) == (0, 0)
    operator.retry(early["id"])
    assert receipt(operator.run_until_it_ends(early["id"]))["found"] == 0
    assert erasure_ledger.read_key(archive()) == key


def test_the_erasures_of_one_run_wait_together(
    operator: Operator, populated: Connection, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[set[str]] = []

    def wait(*_: object) -> None:
        with closing(connect(store.url)) as watching:
            steps = model_rows.read_table(watching, "operations.steps")
            begun.append({step["state"] for step in steps if step["name"] == "files"})

    for learner in ("ann", "ben", "cat", "dan", "eva"):
        append(populated, sample_events.lesson(learner, 1))
        erase(operator, learner)
    monkeypatch.setattr(erasure_steps, "_wait_for_requests", wait)
    assert apply_ledger(store) == (5, 0)
    assert begun == [{"SUCCEEDED"}] * 5


@pytest.mark.exhaustive
def test_applying_the_ledger_waits_until_the_archive_run_has_ended(restored: Store) -> None:
    with closing(restored.connect()) as run, ThreadPoolExecutor(1) as pool:
        run.run(blocks("archive/log")["lock"])
        applied = pool.submit(apply_ledger, restored)
        errors = "SELECT error FROM operations.steps"
        readiness.wait(lambda: [ARCHIVE_RUNNING] in run.run(errors), "the step that waits")
        run.run(blocks("archive/log")["unlock"])
        assert applied.result() == (1, 1)
    assert_absent(restored)
