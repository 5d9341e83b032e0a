"""Any worker folds every live schema of read models, and what nobody reads delays nobody."""

import contextlib
import queue
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.errors import DatabaseUnavailable, ProjectionError
from progress.event_store import dead_letters
from progress.projections import batch, live, projector, replacement, replay, schema
from progress.projections.projector import SHARDS
from progress.serve import readiness
from tests.conftest import Store
from tests.support import api, model_rows, sample_events
from tests.support.api import QueryClient
from tests.support.postgres_servers import url_of
from tests.support.stage import append, connect

OTHER = "progress_0123456789ab"
OWN = schema.schema_name()
FORBID = f"ALTER TABLE {OTHER}.completions ADD CONSTRAINT low CHECK (score < 80)"
MISSING = f"ALTER TABLE {OTHER}.item_days RENAME TO item_days_gone"
INTERRUPT = f"""
CREATE FUNCTION {OTHER}.interrupt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'interrupted' USING ERRCODE = 'deadlock_detected'; END $$;
CREATE TRIGGER interrupted BEFORE INSERT ON {OTHER}.completions EXECUTE FUNCTION {OTHER}.interrupt()
"""
READ = (
    "UPDATE event_store.read_models SET read_until = clock_timestamp() - "
    "CAST(:age AS interval), built_at = '2026-01-01' WHERE schema = :schema"
)


@pytest.fixture
def woken(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """A database with read models of two versions; nobody has read those of the other one."""
    monkeypatch.setenv("DATABASE_URL", url_of(store.url, "project"))
    monkeypatch.setenv("PUBLISH_EVENTS", "off")
    settings.current.cache_clear()
    monkeypatch.setattr(projector, "_idle", queue.LifoQueue())
    with contextlib.closing(connect(store.url)) as made:
        schema.create(made, OTHER)
        read(made, OWN, "0")
        read(made, OTHER, "2 hours")
        schema.set_search_path(made)
        yield made
    while not projector._idle.empty():
        projector._idle.get().close()


def read(connection: Connection, name: str, age: str) -> None:
    """Let a query function have read the schema so long ago; it was built long before."""
    connection.run(READ, schema=name, age=age)


def wake_all() -> int:
    return sum(projector.wake(shard) for shard in SHARDS)


def count_sessions(connection: Connection, name: str) -> int:
    rows = model_rows.read_table(connection, f"{name}.user_progress")
    return sum(row["sessions_completed"] for row in rows)


def test_a_wake_up_folds_every_live_schema_the_served_one_first(woken: Connection) -> None:
    sample_events.record_lessons(woken, "ann", "ben")
    assert live.find(woken) == ([OWN, OTHER], 1)
    assert wake_all() > 0
    assert count_sessions(woken, OTHER) == count_sessions(woken, OWN) == 8
    read(woken, OTHER, "0")
    read(woken, OWN, "2 hours")
    assert live.find(woken) == ([OTHER, OWN], 1)
    append(woken, sample_events.lesson("ann", 4))
    assert wake_all() == len(sample_events.lesson("ann", 4))
    batch.run(woken)
    for name in (OWN, OTHER):
        schema.set_search_path(woken, name)
        assert not sample_events.find_differences(woken)


def test_a_schema_with_a_later_interface_or_without_tables_is_left_to_its_own_workers(
    woken: Connection,
) -> None:
    woken.run(
        "UPDATE event_store.read_models SET interface = interface + 1 WHERE schema = :s", s=OTHER
    )
    woken.run("INSERT INTO event_store.read_models VALUES ('progress_ba9876543210', '', 1)")
    assert live.find(woken).schemas == [OWN]


def test_a_schema_that_cannot_fold_an_event_neither_delays_nor_poisons_another(
    woken: Connection,
) -> None:
    woken.run(FORBID)
    read(woken, OTHER, "0")
    sample_events.record_lessons(woken, "ann", lessons=2)
    wake_all()
    assert (count_sessions(woken, OWN), count_sessions(woken, OTHER)) == (2, 0)
    batch.run(woken)
    schema.set_search_path(woken)
    assert not sample_events.find_differences(woken)
    letters = dead_letters.list_letters(woken)
    assert [letter.reason[-20:] for letter in letters] == ["(folds 0123456789ab)"] * 2
    woken.run(f"ALTER TABLE {OTHER}.completions DROP CONSTRAINT low")
    assert [*replay.replay_all(woken, [letter.letter_id for letter in letters])] == [None, None]
    assert (count_sessions(woken, OWN), count_sessions(woken, OTHER)) == (2, 2)
    assert dead_letters.list_letters(woken) == []


@pytest.mark.parametrize("age", ["0", "2 hours"])
@pytest.mark.parametrize(
    ("fault", "error"), [(MISSING, ProjectionError), (INTERRUPT, DatabaseUnavailable)]
)
def test_a_schema_that_cannot_be_folded_delays_no_other_and_fails_a_wake_up_only_if_it_is_read(
    woken: Connection, age: str, fault: str, error: type[Exception]
) -> None:
    """The server interrupts folds that, for example, wait for a lock, or are deadlocked."""
    woken.run(fault)
    read(woken, OTHER, age)
    read(woken, OWN, "0" if age != "0" else "10 minutes")
    sample_events.record_lessons(woken, "ann", lessons=1)
    with pytest.raises(error) if age == "0" else contextlib.nullcontext():
        projector.wake(model_rows.read_value(woken, "shard", user="ann"))
    assert (count_sessions(woken, OWN), count_sessions(woken, OTHER)) == (1, 0)


def test_a_schema_that_nobody_reads_gets_one_window_of_a_wake_up(
    woken: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector, "WINDOW", 9)
    sample_events.record_lessons(woken, "ann")
    projector.wake(model_rows.read_value(woken, "shard", user="ann"))
    assert (count_sessions(woken, OWN), count_sessions(woken, OTHER)) == (4, 1)
    batch.run(woken)
    assert count_sessions(woken, OTHER) == 4


def test_a_query_function_notes_once_a_minute_that_it_reads_its_schema(
    store: Store, woken: Connection
) -> None:
    def age(name: str) -> float:
        sql = (
            "SELECT extract(epoch FROM clock_timestamp() - read_until)::float8 "
            "FROM event_store.read_models WHERE schema = :name"
        )
        seconds: float = woken.run(sql, name=name)[0][0]
        return seconds

    read(woken, OWN, "2 hours")
    with api.serve(url_of(store.url, "query")) as running:

        def is_noted() -> bool:
            running.data("{ goal { __typename } }")  # the loop of the API runs during a request
            return age(OWN) < 60

        readiness.wait(is_noted, "the note")
        assert age(OTHER) > 3600
        read(woken, OWN, "10 minutes")
        for _ in range(3):
            running.data("{ goal { __typename } }")
        assert age(OWN) > 500
        running.reader.note_reads()  # a minute later
        readiness.wait(is_noted, "the next note")


def test_the_batch_job_drops_what_nobody_has_read_for_days(store: Store, woken: Connection) -> None:
    with contextlib.closing(connect(url_of(store.url, "batch"))) as job:
        read(woken, OTHER, "6 days")
        replacement.drop_former(job, 7)
        assert live.find(woken).schemas == [OWN, OTHER]
        read(woken, OWN, "9 days")
        read(woken, OTHER, "8 days")  # what was read last may be what is served
        replacement.drop_former(job, 7)
        assert schema.exists(woken, OTHER)
        read(woken, OWN, "0")
        replacement.drop_former(job, 7)
        assert live.find(woken).schemas == [OWN]
        assert not schema.exists(woken, OTHER)
        read(woken, OWN, "9 days")
        replacement.drop_former(job, 7)
        assert schema.exists(woken, OWN)


def test_what_is_being_read_or_is_read_since_it_was_chosen_is_not_pruned(woken: Connection) -> None:
    """For example by a query function of the other version, while an operator prunes."""
    read(woken, OTHER, "59 minutes")
    assert list(replacement.drop_unused(woken)) == []
    read(woken, OTHER, "61 minutes")
    woken.run("CREATE SCHEMA progress_000000000000")
    dropped = replacement.drop_unused(woken)
    assert next(dropped) == "progress_000000000000"
    read(woken, OTHER, "0")
    with pytest.raises(DatabaseUnavailable, match="still being read"):
        next(dropped)
    assert live.find(woken).schemas == [OWN, OTHER]
    assert schema.exists(woken, OTHER)
    read(woken, OTHER, "61 minutes")
    assert list(replacement.drop_unused(woken)) == [OTHER]
    assert woken.run("SELECT schema FROM event_store.read_models") == [[OWN]]


def test_every_live_schema_marks_milestones_and_the_key_makes_each_once(woken: Connection) -> None:
    """After a rollback, nothing is left untold: what only the other schema marked is told, too."""
    now = datetime.now(UTC)
    events = [event for n in range(4) for event in sample_events.lesson("ann", n, items=12)]
    for event in events:
        event["occurred_at"] = now.isoformat()
    append(woken, events)
    woken.run(f"ALTER TABLE {OWN}.item_days RENAME TO item_days_gone")
    shard = model_rows.read_value(woken, "shard", user="ann")
    with pytest.raises(ProjectionError):
        projector.wake(shard)
    marks = "SELECT kind, value, is_told FROM event_store.milestone_marks ORDER BY number"
    told = woken.run(marks)
    assert ["ITEMS_LEARNED", 10, True] in told
    woken.run(f"ALTER TABLE {OWN}.item_days_gone RENAME TO item_days")
    projector.wake(shard)
    assert woken.run(marks) == told


def test_the_limits_of_the_lag_are_five_seconds_and_ten_minutes_or_settings(
    connection: Connection, fetch: QueryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample_events.record_lessons(connection, "ann")
    for name, limit in (
        ("user_progress", timedelta(seconds=5)),
        ("level_stats", timedelta(minutes=10)),
    ):
        now = datetime.now(UTC)
        assert fetch(fetch.queries.check_lag(name, at=now + limit)).status == "CRITICAL"
        assert fetch(fetch.queries.check_lag(name, at=now - timedelta(days=1))).status == "NORMAL"
    for limits, status in (
        ({"MAX_LAG_EVENTS": "1", "MAX_LAG_SECONDS": "1000"}, "CRITICAL"),
        ({"MAX_LAG_SECONDS": "1000"}, "NORMAL"),
        ({"MAX_LAG_SECONDS": "10"}, "CRITICAL"),
    ):
        made = settings.read(limits)
        monkeypatch.setattr(settings, "current", lambda made=made: made)
        lag = fetch(fetch.queries.check_lag("user_progress", at=now + timedelta(seconds=60)))
        assert lag.status == status
    made = settings.Settings(max_lag_batch_seconds=30)
    monkeypatch.setattr(settings, "current", lambda: made)
    lag = fetch(fetch.queries.check_lag("level_stats", at=now + timedelta(seconds=60)))
    assert lag.status == "CRITICAL"


def test_the_lag_of_an_unknown_projection_is_an_error(fetch: QueryClient) -> None:
    with pytest.raises(ProjectionError, match="no projection streaks"):
        fetch(fetch.queries.check_lag("streaks"))
