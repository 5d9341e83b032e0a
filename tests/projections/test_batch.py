"""The batch job folds the shards whose wake-up was lost, and replays due dead letters."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import DatabaseUnavailable
from progress.event_store import dead_letters
from progress.projections import batch, replay
from progress.projections.projector import SHARDS, Projector
from progress.projections.schema import fingerprint
from tests.conftest import Store
from tests.oracle.events import CARD
from tests.support import model_rows, sample_events
from tests.support.stage import append, connect

pytestmark = pytest.mark.every_postgres


def test_a_second_run_finds_nothing_new(connection: Connection) -> None:
    sample_events.record_lessons(connection, "ann", "ben")
    batch.run(connection)
    assert batch.run(connection) == batch.BatchReport(replayed=0, swept=0, learners=0)


def test_tasks_divide_the_learners_among_themselves(connection: Connection) -> None:
    users = [f"u{n}" for n in range(20)]
    sample_events.record_lessons(connection, *users, lessons=1)
    reports = [batch.run(connection, task, 3) for task in range(3)]
    shares = [report.learners or 0 for report in reports]
    assert sum(shares) == len(users)
    assert all(shares)
    assert [report.replayed for report in reports] == [0, 0, 0]
    assert not sample_events.find_differences(connection)


def test_a_run_whose_connection_breaks_reports_that_the_database_is_unavailable(
    store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann")
    running, observer = connect(store.url), connect(store.url)
    pid = model_rows.read_value(running, "pid")
    connection.run("BEGIN")
    Projector(connection)
    connection.run("LOCK TABLE domain_stats IN ACCESS EXCLUSIVE MODE")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(batch.run, running)
        model_rows.kill_at_lock(observer, pid, call)
        with pytest.raises(DatabaseUnavailable):
            call.result()
    connection.run("ROLLBACK")
    database.close(running)
    observer.close()


def test_an_event_replayed_during_a_run_is_folded_by_the_next_run(
    store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann", "ben")
    sample_events.poison(connection, "ann")
    batch.run(connection)
    model_rows.read_value(connection, "mend")
    append(connection, sample_events.lesson("ben", 4))
    Projector(connection).catch_up_all()
    (letter,) = dead_letters.list_letters(connection)
    with closing(connect(store.url)) as locker, closing(connect(store.url)) as job:
        pid = model_rows.read_value(job, "pid")
        locker.run("BEGIN")
        locker.run("LOCK TABLE weekly_stats IN SHARE MODE")
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(batch.fold, job, list(SHARDS))
            model_rows.wait_for_lock(connection, pid, running)
            assert replay.replay(connection, letter.letter_id) is None
            locker.run("ROLLBACK")
            assert running.result() == 1
    batch.run(connection)
    assert not sample_events.find_differences(connection)


@pytest.fixture
def folded(connection: Connection) -> Connection:
    sample_events.record_lessons(connection, "ann", "ben")
    Projector(connection).catch_up_all()
    return connection


def test_a_learner_who_is_deleted_during_a_run_has_no_rows_afterwards(
    store: Store, folded: Connection
) -> None:
    with closing(connect(store.url)) as job, closing(connect(store.url)) as folding:
        projector, pid = Projector(folding), model_rows.read_value(folding, "pid")
        job.run("BEGIN")
        assert batch.fold(job, list(SHARDS)) == 2
        append(folded, [sample_events.user_deleted("ann")])
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(projector.catch_up_all)
            model_rows.wait_for_lock(folded, pid, running)
            job.run("COMMIT")
            assert running.result() == 1
    assert not sample_events.find_differences(folded)


def test_a_deletion_does_not_wait_for_a_running_batch_fold(
    store: Store, folded: Connection
) -> None:
    folded.run("""
        CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM pg_advisory_xact_lock_shared(77); RETURN NEW; END $$;
        CREATE TRIGGER wait BEFORE INSERT ON weekly_stats FOR EACH ROW EXECUTE FUNCTION wait()""")
    folded.run("SELECT pg_advisory_lock(77)")
    with closing(connect(store.url)) as job, ThreadPoolExecutor(1) as pool:
        pid = model_rows.read_value(job, "pid")
        running = pool.submit(batch.fold, job, list(SHARDS))
        model_rows.wait_for_lock(folded, pid, running)
        append(folded, [sample_events.user_deleted("ann")])
        Projector(folded).catch_up_all()
        folded.run("SELECT pg_advisory_unlock(77)")
        assert running.result() == 2
    assert not sample_events.find_differences(folded)


def publish(connection: Connection, language: str, *items: str, day: int = 1) -> None:
    at = sample_events.BEGIN + timedelta(days=day)
    append(connection, [sample_events.item_published(i, language=language, at=at) for i in items])


def test_an_imported_deck_changes_the_totals_of_the_learners_of_its_language_alone(
    connection: Connection,
) -> None:
    sample_events.record_lessons(connection, "ann")
    publish(connection, "en-GB", "i0", "i1", "i2", "i3")
    batch.run(connection)
    before = model_rows.read(connection, "level_stats")
    assert [(row["level"], row["catalogue_items"]) for row in before] == [("A1", 4)]
    publish(connection, "de", *(f"d{number}" for number in range(5)))
    assert batch.run(connection).learners == 0  # no learner has met an item of the deck
    assert model_rows.read(connection, "level_stats") == before
    assert not sample_events.find_differences(connection)


def test_a_run_updates_learners_whose_item_descriptions_were_folded_after_the_previous_run(
    connection: Connection,
) -> None:
    append(connection, [sample_events.item_published(f"i{n}") for n in range(3)])
    projector = Projector(connection)
    item_shards = projector.find_shards_behind()
    sample_events.record_lessons(connection, *(f"u{n}" for n in range(20)))
    for shard in set(SHARDS).difference(item_shards):
        projector.catch_up(shard)
    # batch.fold updates only the batch models. The items' shards are folded later, by batch.run.
    batch.fold(connection, list(SHARDS))
    batch.run(connection)
    assert not sample_events.find_differences(connection)


def test_old_item_descriptions_are_not_processed_again_if_a_shard_is_behind(
    connection: Connection,
) -> None:
    users = [f"u{n}" for n in range(20)]
    sample_events.record_lessons(connection, *users)
    append(
        connection,
        [sample_events.item_published("i1", "C2", at=sample_events.BEGIN + timedelta(days=1))],
    )
    batch.run(connection)
    append(connection, sample_events.lesson("u0", 4))
    batch.fold(connection, list(SHARDS))  # the lesson is not folded yet
    assert batch.run(connection).learners == 1
    assert not sample_events.find_differences(connection)


def test_a_future_event_is_appended_when_it_is_due(connection: Connection) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=10, seconds=1)
    append(connection, [sample_events.item_published("i1", at=soon)])
    assert [letter.kind for letter in dead_letters.list_letters(connection)] == ["future"]
    while not batch.run(connection).replayed:
        pass  # the event is due within a second
    assert not dead_letters.list_letters(connection)
    assert model_rows.read_value(connection, "head") == 1
    assert not sample_events.find_differences(connection)


LATER = sample_events.BEGIN + timedelta(days=9)


def read_by_next_run(connection: Connection, card: str) -> list[str]:
    append(connection, [publish_card(card)])
    Projector(connection).catch_up_all()
    with database.transaction(connection):
        assert batch.fold(connection, list(SHARDS)) == 0
        found = model_rows.read_table(connection, f"batch_learners_{fingerprint()}")
    return sorted(row["user_id"] for row in found)


def publish_card(card: str) -> sample_events.Envelope:
    """Publish a card that is named after its kind, its number and, if it has one, its language."""
    kind, _, *language = card.split("-")
    event = sample_events.item_published(card, language=next(iter(language), None))
    return {**event, "data": {**event["data"], "kind": kind}}


def test_a_batch_run_reads_only_learners_of_a_changed_pair_who_know_enough_of_it_or_a_language(
    connection: Connection,
) -> None:
    reading, german = [f"reading-{n}" for n in range(10)], [f"reading-{n}-de" for n in range(5)]
    typing = [f"typing-{n}-de" for n in range(9)]
    append(connection, [publish_card(card) for card in (*reading, *german, *typing, "rare-0")])
    known = {
        "both": [*reading[:7], *german],
        "few": reading[:7],
        "german": german,
        "many": reading[:8],
        "rare": ["rare-0"],
        "typing": typing,
    }
    for user, cards in known.items():
        data = {"user_id": user, "rating": 3, "interval_days": 30}
        reviews = [{**data, "item_id": card} for card in cards]
        append(connection, [sample_events.envelope(CARD, one, at=LATER) for one in reviews])
    batch.run(connection)
    rows = model_rows.read(connection, "milestones")
    assert sorted(row["user_id"] for row in rows if row["level"]) == [
        *("both", "german", "many", "rare", "typing")
    ]
    assert read_by_next_run(connection, "reading-10") == ["both", "many"]
    assert read_by_next_run(connection, "rare-1") == ["rare"]
    assert not sample_events.find_differences(connection)
