"""What was learned before an import counts as if a device had sent it, minutes too."""

import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub.publisher import Message
from progress.importers import anki_import
from progress.importers.anki_events import Learner
from progress.importers.anki_import import Record
from progress.importers.review_log import Answer
from progress.projections.projector import Projector
from tests.importers.test_anki import make_former
from tests.importers.test_anki_recorded import prefer, record
from tests.support import model_rows, sample_events
from tests.support.stage import Stage

BEGIN, DAY = datetime(2024, 3, 1, tzinfo=UTC), timedelta(days=1)
OF_SESSIONS = ("sessions_completed", "study_seconds", "scores", "scored_sessions", "sessionless_ms")

answers = st.builds(
    Answer,
    at=st.integers(0, 3_000).map(lambda minute: BEGIN + timedelta(minutes=minute)),
    card_id=st.sampled_from("abc"),
    rating=st.integers(1, 4),
    response_time_ms=st.none() | st.integers(0, 90_000),
    interval_days=st.sampled_from([0, 3, 7]),
)
logs = st.lists(answers, unique_by=lambda a: (a.at, a.card_id), min_size=1, max_size=40).map(sorted)
LONG = [Answer(BEGIN + timedelta(minutes=n), "a", 3, 60_000, 1) for n in range(250)]


@given(log=logs, early=st.sets(st.integers(0, 40)), hour=st.integers(0, 23))
@example(log=LONG, early=set(), hour=0)
@example(
    log=[Answer(BEGIN + n * timedelta(minutes=29), "a", 3, 4_000, 1) for n in (0, 1)],
    early={0},
    hour=0,
)
def test_the_days_of_an_import_are_those_of_a_device_that_sends_the_same_answers(
    stage: Stage, log: list[Answer], early: set[int], hour: int
) -> None:
    """A first file has only some of the answers, which the second one has, too."""
    stage.sweep()
    imported, sent = Learner("imported", "Asia/Tokyo", hour), Learner("sent")
    for file in ([answer for n, answer in enumerate(log) if n in early], log):
        record(stage.admin, anki_import.select_new(stage.admin, Record(imported, file)))
    posted = [
        sample_events.envelope(
            "CardReviewed",
            {
                "user_id": sent.user_id,
                "item_id": answer.card_id,
                "rating": answer.rating,
                "duration_ms": answer.response_time_ms,
                "interval_days": answer.interval_days,
            },
            at=answer.at,
        )
        for answer in log
    ]
    preference = prefer(sent, BEGIN, "Asia/Tokyo", hour)
    record(stage.admin, [Message("user-events", [preference, *posted])])
    Projector(stage.admin).catch_up_all()
    days: dict[str, dict[Any, dict[str, Any]]] = {"imported": {}, "sent": {}}
    for row in model_rows.read_table(stage.admin, "daily_stats"):
        days[row.pop("user_id")][row["day"]] = row
    assert days["imported"].keys() == days["sent"].keys()
    for day, row in days["sent"].items():
        other = days["imported"][day]
        assert 0 <= row["study_seconds"] - other["study_seconds"] <= other["sessions_completed"]
        assert {**row, **{name: other[name] for name in OF_SESSIONS}} == other


@given(logs, logs, st.tuples(*[st.integers(0, 9)] * 3), st.booleans())
def test_an_import_that_was_killed_is_completed_once_also_that_of_version_0_4(
    connection: Connection,
    log: list[Answer],
    more: list[Answer],
    cut: tuple[int, int, int],
    is_former: bool,
) -> None:
    """Recorded sessions keep their durations; a newer import may be killed in a message, too."""
    learner = Learner(f"anna-{uuid.uuid4()}", "Asia/Tokyo", 4)
    [account, *made] = [message.events for message in Record(learner, log).messages()]
    begun = [make_former(*frame) if is_former else frame for frame in made[::2]]
    frames, reviews, part = min(cut[0], len(begun)), min(cut[:2]), cut[2] * (not is_former)
    following = made[1::2][reviews:frames] + begun[frames:]
    killed = [account, *begun[:frames], *made[1::2][:reviews]]
    killed += [events[:part] for events in following[:1]]
    recorded = [event for events in killed for event in events]
    record(connection, [Message("user-events", recorded)])
    later = log[-1].at + 2 * DAY
    newer = [*log, *(msgspec.structs.replace(a, at=a.at - BEGIN + later) for a in more)]
    assert record(connection, anki_import.select_new(connection, Record(learner, newer))) == {
        "appended"
    }
    for file in (log, newer):
        assert anki_import.select_new(connection, Record(learner, file)) == []
    stored = [e for e in model_rows.read_events(connection) if e.user_id == learner.user_id]
    names = ("session_id", "item_id", "rating", "score", "item_count")
    found = [
        (e.type, e.occurred_at, *map(e.data.get, names))
        for e in stored
        if e.occurred_at < later - DAY
    ]
    events = [event for events in (account, *made) for event in events]
    wanted = [(e["event_type"], e["occurred_at"], *map(e["data"].get, names)) for e in events]
    assert Counter(found) == Counter(wanted)
    assert {event["event_id"] for event in recorded} <= {str(event.event_id) for event in stored}
