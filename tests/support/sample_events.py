"""Sample events, and a comparison of the read models with the oracle."""

from datetime import UTC, datetime, timedelta
from typing import Any

from progress.adapters.postgres import database
from tests import oracle
from tests.support import envelopes, model_rows
from tests.support.stage import append

Envelope = dict[str, Any]

BEGIN = datetime(2024, 4, 1, 9, tzinfo=UTC)


def lesson(user: str, number: int, *, items: int = 3) -> list[Envelope]:
    at = BEGIN + timedelta(days=number)
    session = f"{user}-{number}"
    events = [("SessionStarted", {"session_id": session, "user_id": user, "item_count": items})]
    for item in (f"i{n}" for n in range(items)):
        answer = "IncorrectAnswerGiven" if number % 3 == 0 else "CorrectAnswerGiven"
        events += [
            (answer, {"session_id": session, "item_id": item, "response_time_ms": 900 + number}),
            ("ReviewProcessed", _review(user, item, number)),
        ]
    events.append(
        ("SessionCompleted", {"session_id": session, "score": 80, "duration_seconds": 61})
    )
    return [envelope(*one, at=at + timedelta(seconds=n)) for n, one in enumerate(events)]


def _review(user: str, item: str, number: int) -> dict[str, Any]:
    interval = (1, 7, 3, 30)[number % 4]
    return {"user_id": user, "item_id": item, "new_interval": interval, "easiness_factor": 2.5}


def envelope(kind: str, data: dict[str, Any], *, at: datetime) -> Envelope:
    return envelopes.envelope(kind, data, occurred_at=at.isoformat())


def choices(user: str) -> list[Envelope]:
    chosen: dict[str, dict[str, Any]] = {
        "LearnerJoinedGroup": {"group_id": "g1", "group_name": f"{user}'s class"},
        "GoalSet": {"answers_per_day": 2},
        "RestDayTaken": {"date": "2024-04-05"},
        "ItemSetAside": {"item_id": "i9"},
        "ItemResumed": {"item_id": "i9"},
        "ListPublished": {"list_id": "l1", "name": "Deck"},
        "ItemListed": {"list_id": "l1", "item_id": "i9", "headword": "Wort"},
    }
    return [
        envelope(kind, {"user_id": user, **data}, at=BEGIN + timedelta(minutes=n))
        for n, (kind, data) in enumerate(chosen.items())
    ]


def varied_study(user: str) -> list[Envelope]:
    """Return events that give the learner, or the catalogue, a row in every table."""
    return [
        *(item_published(f"i{n}") for n in range(3)),
        *(event for n in range(4) for event in lesson(user, n)),
        *further_study(user),
        *catalogue_list(),
    ]


def further_study(user: str) -> list[Envelope]:
    """Return events that change every number of a learner who had four lessons.

    Items are wrong every time, right every time or in turn, on four days of two weeks. One is due,
    and there are enough tests of recall for a calibration.
    """
    preferences = {"timezone": "Asia/Kathmandu", "day_start_hour": 4, "display_name": "Ann"}
    # repeated_answers has a row for each answer of a gap (see reviews.sql) except the first. This
    # answer comes first, so that the lesson's own answer gets a row.
    again = {"session_id": f"{user}-0", "item_id": "i0", "response_time_ms": 5}
    events: list[tuple[str, dict[str, Any], datetime]] = [
        ("UserPreferencesChanged", {"user_id": user, **preferences}, BEGIN + timedelta(days=2)),
        ("CorrectAnswerGiven", again, BEGIN),
        ("ReviewProcessed", _review(user, "q0", 0), BEGIN - timedelta(days=2)),
    ]
    for number, day in enumerate((-5, -2, 1, 2)):
        at = BEGIN + timedelta(days=day, minutes=10)
        for n in range(20):
            kind = ("Incorrect", "Correct", ("Correct", "Incorrect")[number % 2])[n % 3]
            answer = {"user_id": user, "session_id": f"{user}-quiz", "item_id": f"q{n}"}
            events.append((f"{kind}AnswerGiven", answer, at + timedelta(seconds=n)))
    return [*(envelope(kind, data, at=at) for kind, data, at in events), *choices(user)]


def item_published(
    item: str, level: str = "A1", *, language: str | None = None, at: datetime = BEGIN
) -> Envelope:
    data = {"item_id": item, "domains": ["R"], "cefr_level": level, "headword": item}
    return envelope("ItemPublished", data | ({"language": language} if language else {}), at=at)


ASSIGNED = {"list_id": "l1", "group_id": "g1", "due_on": "2024-04-05"}


def catalogue_list() -> list[Envelope]:
    told: dict[str, dict[str, Any]] = {
        "ListPublished": {"list_id": "l1", "name": "N5", "scale": "JLPT", "rank": 1},
        "ItemListed": {"list_id": "l1", "item_id": "i0", "position": 1},
        "ListAssigned": ASSIGNED,
    }
    return [envelope(kind, data, at=BEGIN) for kind, data in told.items()]


def user_deleted(user: str) -> Envelope:
    return envelope("UserDeleted", {"user_id": user}, at=BEGIN)


def change_preferences(user: str, **preferences: object) -> Envelope:
    return envelope("UserPreferencesChanged", {"user_id": user, **preferences}, at=BEGIN)


def record_lessons(connection: database.Connection, *users: str, lessons: int = 4) -> None:
    append(connection, [item_published(f"i{n}") for n in range(3)])
    for user in users:
        append(connection, [event for n in range(lessons) for event in lesson(user, n)])


def poison(connection: database.Connection, user: str) -> int:
    """Damage one of the learner's answers, so that folds fail; return the answer's position."""
    connection.run("ALTER TABLE event_store.events DISABLE TRIGGER append_only")
    position: int = model_rows.read_value(connection, "poison", user=user)
    return position


def find_differences(connection: database.Connection) -> list[str]:
    world = oracle.see(model_rows.read_events(connection), datetime(2024, 6, 1, tzinfo=UTC))
    return model_rows.compare(model_rows.read_rows(connection), model_rows.compute_rows(world))
