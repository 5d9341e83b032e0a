"""A learner about whom nothing is recorded is announced once, and erased 30 days later."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from jsonschema import Draft202012Validator

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.archive import catalogue, erasure_ledger
from progress.errors import SettingsError
from progress.event_store import outgoing
from progress.event_store.contract import schemas
from progress.operations import batch_job, erasure_rows
from progress.projections.projector import Projector
from progress.serve import system
from tests.conftest import Store
from tests.support import published, sample_events
from tests.support.erasure_fixtures import apply_ledger, erase, push_events, receipt
from tests.support.operation_fixtures import BLOCKS, Operator
from tests.support.published import Publisher
from tests.support.stage import append

pytestmark = pytest.mark.every_postgres

MONTHS = 12
SCHEMA = Draft202012Validator(schemas.make_published()["ErasureAnnounced"])


def record(connection: Connection, *learners: str, number: int = 0) -> None:
    for learner in learners:
        append(connection, sample_events.lesson(learner, number))
    Projector(connection).catch_up_all()


def let_pass(connection: Connection, **time: int) -> None:
    """Move everything that was recorded so far into the past."""
    connection.run(BLOCKS["let the log be changed"])
    connection.run(BLOCKS["let pass"], time=" ".join(f"{n} {unit}" for unit, n in time.items()))


def run(job: Connection, publisher: Publisher, months: int | None = MONTHS) -> None:
    batch_job.erase_by_time(job, None, months)
    publisher.run()


def announced(publisher: Publisher) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for message in publisher.pubsub.messages(outgoing.TOPIC):
        attributes = dict(message.attributes)
        if attributes["kind"] == "announced":
            body = json.loads(message.data)
            assert SCHEMA.is_valid(body)
            assert message.ordering_key == f"learner-{body['user_id']}"
            assert found.setdefault(attributes["ce-id"], body) == body
    return found


def erasures(connection: Connection) -> list[str]:
    return [learner for (learner,) in connection.run(BLOCKS["erasures"])]


@pytest.mark.parametrize("publisher", ["milestones", "all"], indirect=True)
def test_a_silent_learner_is_announced_once_and_erased_30_days_after_the_publication(
    connection: Connection, job: Connection, publisher: Publisher
) -> None:
    record(connection, "ann", "ben")
    let_pass(connection, months=MONTHS, days=-1)
    run(job, publisher)
    assert announced(publisher) == {}
    let_pass(connection, days=2)
    record(connection, "ben", number=1)
    for _ in range(3):
        run(job, publisher)
    (body,) = announced(publisher).values()
    in_31_days = (datetime.now(UTC) + timedelta(days=31)).date()
    assert (body["user_id"], body["erase_on"] >= in_31_days.isoformat()) == ("ann", True)
    let_pass(connection, days=33)
    connection.run(
        "UPDATE event_store.erasure_announcements SET published_at = published_at + interval '4 d'"
    )
    run(job, publisher)
    assert erasures(connection) == []  # erase_on has come, but Pub/Sub took it 29 days ago
    let_pass(connection, days=1)
    for _ in range(3):
        run(job, publisher)
    assert erasures(connection) == ["ann"]
    assert len(announced(publisher)) == 1


@pytest.mark.parametrize("fault", published.FAULTS)
def test_whatever_fails_an_announcement_is_published_with_one_id_and_its_days_count_from_then(
    connection: Connection, job: Connection, publisher: Publisher, fault: str
) -> None:
    record(connection, "ann")
    publisher.run()
    let_pass(connection, months=MONTHS, days=1)
    batch_job.erase_by_time(job, None, MONTHS)
    publisher.run_and_fail(fault, 1)
    run(job, publisher)
    assert len(announced(publisher)) == 1
    ((published_at,),) = connection.run(
        "SELECT published_at FROM event_store.erasure_announcements"
    )
    assert datetime.now(UTC) - published_at < timedelta(minutes=1)


def test_an_announcement_that_waits_for_a_day_is_replaced_by_one_with_a_later_day(
    connection: Connection, job: Connection, publisher: Publisher
) -> None:
    record(connection, "ann")
    let_pass(connection, months=MONTHS, days=1)
    batch_job.erase_by_time(job, None, MONTHS)
    let_pass(connection, days=33)
    publisher.run()
    assert announced(publisher) == {}
    run(job, publisher)
    assert erasures(connection) == []
    (body,) = announced(publisher).values()
    assert body["erase_on"] > (datetime.now(UTC) + timedelta(days=30)).date().isoformat()


def test_an_event_cancels_the_erasure_and_a_later_silence_is_announced_again(
    connection: Connection, job: Connection, publisher: Publisher
) -> None:
    record(connection, "ann")
    let_pass(connection, months=MONTHS, days=1)
    run(job, publisher)
    let_pass(connection, days=40)
    record(connection, "ann", number=1)
    run(job, publisher)
    assert (erasures(connection), len(announced(publisher))) == ([], 1)
    let_pass(connection, months=MONTHS, days=1)
    run(job, publisher)
    assert (erasures(connection), len(announced(publisher))) == ([], 2)


def test_the_setting_may_change_and_without_it_announcements_are_withdrawn(
    connection: Connection, job: Connection, publisher: Publisher
) -> None:
    record(connection, "ann", "ben")
    let_pass(connection, months=MONTHS, days=1)
    record(connection, "ben", number=1)
    let_pass(connection, months=6)
    for months, count in ((MONTHS, 1), (3, 2), (3, 2), (24, 2), (3, 4)):
        run(job, publisher, months)
        assert len(announced(publisher)) == count
    let_pass(connection, days=40)
    run(job, publisher, None)
    run(job, publisher, MONTHS)
    assert (erasures(connection), len(announced(publisher))) == ([], 5)


def test_who_is_deleted_or_being_erased_or_has_only_dead_letters_is_not_announced(
    connection: Connection, job: Connection, publisher: Publisher, operator: Operator
) -> None:
    record(connection, "ann", "ben", "cyd", "dan", "fay")
    append(connection, [sample_events.user_deleted("ann")])  # no fold has deleted ann yet
    goal = {"user_id": "eve", "answers_per_day": -1}
    push_events(connection, sample_events.envelope("GoalSet", goal, at=sample_events.BEGIN))
    operator.run(erase(operator, "cyd")["id"])
    let_pass(connection, months=MONTHS, days=1)
    erase(operator, "ben")
    batch_job.erase_by_time(job, None, MONTHS)
    append(connection, [sample_events.user_deleted("fay")])  # who was to be announced
    publisher.run()
    assert publisher.run() == 0
    assert [body["user_id"] for body in announced(publisher).values()] == ["dan"]
    append(connection, [sample_events.user_deleted("dan")])
    let_pass(connection, days=40)
    run(job, publisher)
    assert erasures(connection)[1:] == ["ben"]


def begin_erasure(connection: Connection, job: Connection, publisher: Publisher) -> str:
    record(connection, "ann", "ben")
    let_pass(connection, months=MONTHS, days=1)
    record(connection, "ben", number=1)
    run(job, publisher)
    let_pass(connection, days=33)
    run(job, publisher)
    ((operation_id,),) = connection.run("SELECT operation_id::text FROM operations.operations")
    return str(operation_id)


def test_the_receipt_says_why_and_nothing_of_the_announcement_is_left(
    connection: Connection, job: Connection, publisher: Publisher, operator: Operator
) -> None:
    done = receipt(operator.run(begin_erasure(connection, job, publisher)))
    assert done["reason"].startswith("no event was recorded for 12 months, since 20")
    assert "; announced on 20" in done["reason"]
    assert (done["erased"]["erasure_announcements"], done["found"]) == (1, 0)
    assert connection.run("SELECT FROM event_store.erasure_announcements") == []
    assert receipt(operator.run(erase(operator, "ben")["id"]))["reason"] == "requested"
    run(job, publisher)
    assert len(announced(publisher)) == 1


def expect_prevented(connection: Connection, operator: Operator, operation_id: str) -> None:
    done = operator.run(operation_id)
    assert (done["state"], done["error"]) == (
        "FAILED",
        "an event was recorded after the announcement, or it was withdrawn",
    )
    cancelled_by = "SELECT cancelled_by FROM operations.operations WHERE operation_id = :id"
    assert connection.run(cancelled_by, id=operation_id) == [["system:return"]]


def test_an_event_that_is_recorded_before_the_first_step_cancels_the_erasure(
    connection: Connection, job: Connection, publisher: Publisher, operator: Operator
) -> None:
    operation_id = begin_erasure(connection, job, publisher)
    record(connection, "ann", number=1)
    expect_prevented(connection, operator, operation_id)
    run(job, publisher)
    let_pass(connection, months=MONTHS, days=1)
    for _ in range(2):
        run(job, publisher)
        let_pass(connection, days=33)
    run(job, publisher)
    assert erasures(connection) == ["ann", "ann", "ben"]


def test_an_erasure_that_has_not_begun_ends_with_the_setting_and_without_an_error_in_the_log(
    connection: Connection,
    job: Connection,
    publisher: Publisher,
    operator: Operator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    operation_id = begin_erasure(connection, job, publisher)
    run(job, publisher, None)
    expect_prevented(connection, operator, operation_id)
    assert '"severity":"ERROR"' not in capsys.readouterr().out


def test_an_erasure_that_an_administrator_requests_too_is_prevented_by_no_event_and_no_restore(
    store: Store, connection: Connection, job: Connection, publisher: Publisher, operator: Operator
) -> None:
    operation_id = begin_erasure(connection, job, publisher)
    assert erase(operator, "ann")["id"] == operation_id
    record(connection, "ann", number=1)
    assert (apply_ledger(store), apply_ledger(store)) == ((1, 0), (0, 0))
    assert receipt(operator.get(operation_id))["found"] == 0


def test_a_deletion_prevents_the_erasure_and_starts_another_one_after_its_own_time(
    connection: Connection, job: Connection, publisher: Publisher, operator: Operator
) -> None:
    operation_id = begin_erasure(connection, job, publisher)
    append(connection, [sample_events.user_deleted("ann")])
    Projector(connection).catch_up_all()
    expect_prevented(connection, operator, operation_id)
    for days, started in ((29, ["ann"]), (2, ["ann", "ann"]), (0, ["ann", "ann"])):
        let_pass(connection, days=days)
        batch_job.erase_by_time(job, 30, MONTHS)
        assert erasures(connection) == started


def test_a_restore_withdraws_announcements_because_the_log_may_lack_an_event(
    store: Store, connection: Connection, job: Connection, publisher: Publisher, operator: Operator
) -> None:
    operation_id = begin_erasure(connection, job, publisher)
    assert apply_ledger(store) == (0, 0)
    expect_prevented(connection, operator, operation_id)
    run(job, publisher)
    assert (erasures(connection), len(announced(publisher))) == (["ann"], 2)


def test_a_learner_whose_erasure_was_prevented_and_repeated_is_erased_again_after_a_restore(
    store: Store, connection: Connection, job: Connection, publisher: Publisher, operator: Operator
) -> None:
    prevented = begin_erasure(connection, job, publisher)
    record(connection, "ann", number=1)
    expect_prevented(connection, operator, prevented)
    archive = catalogue.open_archive(settings.current())
    erasure_ledger.write_key(archive, erasure_rows.read_key(connection))
    ((digest,),) = connection.run("SELECT encode(event_store.erasure_digest('ann'), 'hex')")
    entry = erasure_ledger.Entry(digest, str(uuid4()), datetime.now(UTC))
    erasure_ledger.write_entry(archive, entry)
    assert (apply_ledger(store), erasures(connection)[1:]) == ((1, 0), [digest])


def test_the_setting_is_refused_if_nothing_is_published() -> None:
    given = {"RETENTION_MONTHS": "240"}
    read = settings.read(given)
    assert (read.retention_months, settings.read({}).retention_months) == (240, None)
    with pytest.raises(SettingsError, match="RETENTION_MONTHS: expected PUBLISH_EVENTS"):
        settings.read({**given, "PUBLISH_EVENTS": "off"})
    with pytest.raises(SettingsError, match="RETENTION_MONTHS: expected PUBLISH_EVENTS"):
        system._choose_publication(
            read
        )  # without a project of Google Cloud, `serve` publishes none
    for months in ("0", "241", "x"):
        with pytest.raises(SettingsError, match="an integer from 1 to 240"):
            settings.read({"RETENTION_MONTHS": months})
