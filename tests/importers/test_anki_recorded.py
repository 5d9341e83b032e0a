"""Answers common to several files are imported once, in sessions that do not overlap."""

import itertools
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub import publisher
from progress.adapters.pubsub.publisher import Message
from progress.errors import ReviewLogError
from progress.event_store import StoredEvent, envelope, log
from progress.event_store.entries import Message as Received
from progress.event_store.log import Delivery, PostgresEventStore
from progress.importers import anki_events, anki_import
from progress.importers.anki_events import Learner
from progress.importers.anki_import import Record
from progress.importers.review_log import Answer, CardState
from progress.projections.projector import Projector
from tests import oracle
from tests.importers import test_anki
from tests.support import model_rows, sample_events
from tests.support.stage import Stage

CARDS = "abc"

answers = st.builds(
    Answer,
    at=st.integers(0, 400).map(lambda m: datetime(2024, 3, 1, tzinfo=UTC) + timedelta(minutes=m)),
    card_id=st.sampled_from(CARDS),
    rating=st.integers(1, 4),
    response_time_ms=st.none() | st.integers(0, 90_000),
    interval_days=st.sampled_from([3, 0]),
)
ZONES = ("America/New_York", "Asia/Tokyo", "Australia/Lord_Howe")
minutes = st.integers(-60, 460).map(
    lambda m: datetime(2024, 3, 1, tzinfo=UTC) + timedelta(minutes=m)
)
logs = st.lists(answers, unique_by=lambda a: (a.at, a.card_id), min_size=1, max_size=30)
# A file is generated as a pair: the cards that it contains, and whether it is a CSV file.
# If a learner exports one deck, the file contains only the cards of this deck. Answers from a CSV
# file have no interval.
files = st.tuples(st.sets(st.sampled_from(CARDS), min_size=1), st.booleans())


def read(log_: list[Answer], file: tuple[set[str], bool], learner: Learner) -> Record:
    cards, is_csv = file
    chosen = [answer for answer in sorted(log_, key=lambda a: a.at) if answer.card_id in cards]
    if is_csv:
        chosen = [msgspec.structs.replace(answer, interval_days=None) for answer in chosen]
    return Record(learner=learner, answers=chosen)


def record(connection: Connection, messages: list[Message]) -> set[str]:
    read_ = [envelope.decode(publisher.encode(message), Received()) for message in messages]
    deliveries = [Delivery(Received(message_id=str(uuid.uuid4())), entries) for entries in read_]
    outcomes = log.append(connection, deliveries).outcomes
    return {outcome for outcome, events in outcomes.items() if events}


def import_new(connection: Connection, file: Record) -> list[anki_events.Envelope]:
    """Record the events that an import makes, and return them; a second import makes none."""
    new = anki_import.select_new(connection, file)
    assert record(connection, new) <= {"appended"}
    assert anki_import.select_new(connection, file) == []
    return [event for message in new for event in message.events]


def at(minute: int) -> datetime:
    return datetime(2024, 3, 1, tzinfo=UTC) + timedelta(minutes=minute)


@example(log_=[Answer(at(1440 * day), "a", 3, 1) for day in (0, 3, 13)], cut=2, is_dated=False)
@given(log_=logs, cut=st.integers(0, 30), is_dated=st.booleans())
def test_a_prefix_and_then_the_whole_make_the_reviews_of_the_whole_at_once(
    log_: list[Answer], cut: int, is_dated: bool
) -> None:
    whole = read(log_, ({*CARDS}, not is_dated), Learner("ann")).answers

    def reviews(answers: list[Answer], known: list[Answer]) -> list[Any]:
        keys = {(answer.at, answer.card_id) for answer in known}
        made = anki_events.messages(
            Learner("ann"),
            answers,
            find_recorded=lambda answer: "" if (answer.at, answer.card_id) in keys else None,
        )
        sent = [event for message in made for event in message.events]
        names = ("item_id", "rating", "duration_ms", "interval_days")
        return [
            (event["occurred_at"], *map(event["data"].get, names))
            for event in sent
            if event["event_type"] == "CardReviewed"
        ]

    first, once = whole[:cut], reviews(whole, [])
    assert reviews(first, []) + reviews(whole, first) == once
    rows = [(a.at, a.card_id, a.rating, a.response_time_ms, a.interval_days) for a in whole]
    assert [row[: 4 + is_dated] for row in once] == [row[: 4 + is_dated] for row in rows]


@given(
    log_=logs,
    files_=st.lists(files, min_size=1, max_size=3),
    cuts=st.lists(st.integers(0, 30), min_size=5, max_size=5),
    lost=st.sets(st.integers(0, 30)),
)
def test_answers_common_to_several_files_are_recorded_once_also_those_of_an_earlier_version(
    connection: Connection,
    log_: list[Answer],
    files_: list[tuple[set[str], bool]],
    cuts: list[int],
    lost: set[int],
) -> None:
    """Import the first rows of a file with version 0.3, in part, and without the reviews in `lost`.

    Then import this file and others, each first in part.
    """
    learner = Learner(f"anna-{uuid.uuid4()}", "Asia/Tokyo", 4)
    first = read(log_, files_[0], learner)
    older, killed, *parts = cuts
    former = make_former(msgspec.structs.replace(first, answers=first.answers[:older]), lost)
    record(connection, former[:killed])
    records = [read(log_, file, learner) for file in files_]
    for each, done in zip(records, parts, strict=False):
        new = anki_import.select_new(connection, each)
        record(connection, new[:done])
        import_new(connection, each)
    stored = PostgresEventStore(connection).read_events(f"learner-{learner.user_id}", 1)
    require_once(("AnswerGiven", "CardReviewed"), stored, records)
    require_once(("ReviewProcessed", "CardReviewed"), stored, records)
    require_separate_sessions(stored)


def make_former(record_: Record, lost: set[int]) -> list[Message]:
    """Return the messages of version 0.3, one for each session, without the reviews in `lost`."""
    messages, numbers = record_.messages(), itertools.count()
    made = messages[:1]
    for session, reviews in zip(messages[1::2], messages[2::2], strict=True):
        pairs = [anki_events.convert_to_former(event) for event in reviews.events]
        kept = [event for pair in pairs for event in (pair[:1] if next(numbers) in lost else pair)]
        started, completed = session.events
        made.append(Message("learning-events", [started, *kept, completed]))
    return made


def require_once(
    suffix: str | tuple[str, ...], stored: list[StoredEvent], records: list[Record]
) -> None:
    found = [(e.occurred_at, e.event_data["item_id"]) for e in of(suffix, stored)]
    assert sorted(found) == sorted({(a.at, a.card_id) for each in records for a in each.answers})


STATES = st.sampled_from([("file", False), ("file", True), ("page", False), ("page", True)])


@given(st.lists(STATES, max_size=6), st.booleans())
def test_an_import_never_undoes_what_the_learner_did_on_the_page(
    connection: Connection, steps: list[tuple[str, bool]], is_old: bool
) -> None:
    """Each step is a newer file, or the learner's choice. In the end, an old file is imported."""
    learner = Learner(f"anna-{uuid.uuid4()}")
    answer = Answer(at(0), "a", 3, 0)
    wanted, is_of_the_page = False, False

    def import_file(is_out: bool, minute: int) -> None:
        times = at(minute), at(minute)
        states = [CardState("a", is_out, *times), CardState("b", False, *times)]
        import_new(connection, Record(learner=learner, answers=[answer], states=states))

    for minute, (source, is_out) in enumerate(steps, start=1):
        if source == "file":
            import_file(is_out, minute)
            wanted = wanted if is_of_the_page else is_out
        else:
            kind = "ItemSetAside" if is_out else "ItemResumed"
            ids = {"user_id": learner.user_id, "item_id": "a"}
            choice = sample_events.envelope(kind, ids, at=at(minute))
            assert record(connection, [Message("user-events", [choice])]) == {"appended"}
            wanted, is_of_the_page = is_out, True
    if is_old and {*steps} - {("file", False)}:  # these files leave no event: nothing is newer
        import_file(not wanted, 0)
    world = oracle.see(model_rows.read_events(connection), at(60))
    assert oracle.set_aside(world, learner.user_id) == ({"a"} if wanted else set())


def of(suffix: str | tuple[str, ...], stored: list[StoredEvent]) -> list[StoredEvent]:
    return [event for event in stored if event.event_type.endswith(suffix)]


def require_separate_sessions(stored: list[StoredEvent]) -> None:
    times: dict[str, list[datetime]] = {}
    for event in stored:
        if session := event.event_data.get("session_id"):
            times.setdefault(session, []).append(event.occurred_at)
    assert len(of("SessionStarted", stored)) == len(of("SessionCompleted", stored)) == len(times)
    spans = sorted((min(each), max(each)) for each in times.values())
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


@given(
    log_=logs,
    imported=st.lists(files, min_size=1, max_size=3),
    preferences=st.lists(st.tuples(minutes, st.sampled_from(ZONES), st.integers(0, 23))),
)
def test_every_day_with_imported_answers_has_a_completed_session(
    connection: Connection,
    log_: list[Answer],
    imported: list[tuple[set[str], bool]],
    preferences: list[tuple[datetime, str, int]],
) -> None:
    learner = Learner(f"anna-{uuid.uuid4()}")
    record(connection, [Message("user-events", [prefer(learner, *each) for each in preferences])])
    for file in imported:
        import_new(connection, read(log_, file, learner))
    world = oracle.see(model_rows.read_events(connection), datetime(2025, 1, 1, tzinfo=UTC))
    rows = oracle.daily_stats(world, learner.user_id).values()
    assert all(row["sessions_completed"] for row in rows if row["answers"])


@given(
    log_=logs,
    preferences=st.lists(
        st.tuples(st.sampled_from(ZONES), st.integers(0, 23)), min_size=2, max_size=3
    ),
)
def test_an_import_with_other_preferences_does_not_cut_recorded_sessions_again(
    connection: Connection, log_: list[Answer], preferences: list[tuple[str, int]]
) -> None:
    user = f"anna-{uuid.uuid4()}"
    for number, each in enumerate(preferences):
        new = import_new(connection, read(log_, (set(CARDS), False), Learner(user, *each)))
        assert not number or {event["event_type"] for event in new} <= {"UserCreated"}


def test_a_later_import_changes_preferences_only_if_asked_and_at_an_instant_of_its_own(
    connection: Connection,
) -> None:
    own = Learner("anna", "Asia/Tokyo", 4, defaults=("timezone", "day_start_hour"))
    other = msgspec.structs.replace(own, timezone="Europe/Berlin", day_start_hour=0)
    zone, hour = Learner("anna", "Europe/Berlin"), Learner("anna", "Europe/Berlin", 3)

    def import_(answers_: int, learner: Learner, messages: int = 99) -> list[tuple[object, ...]]:
        log_ = [Answer(at(60 * hour), "a", 3, None) for hour in range(answers_)]
        new = anki_import.select_new(connection, Record(learner=learner, answers=log_))[:messages]
        if new:
            assert record(connection, new) == {"appended"}
        changes = [e for message in new if message.topic == "user-events" for e in message.events]
        names = ("timezone", "day_start_hour")
        return [(e["event_type"], e["occurred_at"], *map(e["data"].get, names)) for e in changes]

    assert import_(1, own, messages=1) == [("UserCreated", at(0), "Asia/Tokyo", 4)]
    later = at(0) + timedelta(milliseconds=1)
    changed = ("UserPreferencesChanged", later, "Europe/Berlin", None)
    assert import_(1, zone, messages=1) == [changed]
    assert import_(2, other) == import_(2, hour) == []
    assert import_(3, hour) == [("UserPreferencesChanged", at(120), "Europe/Berlin", 3)]
    assert import_(4, hour) == import_(5, own) == []


@given(logs, st.sets(st.integers(0, 30)), st.booleans(), st.booleans())
def test_an_answer_that_another_program_sent_is_not_imported_again(
    connection: Connection, log_: list[Answer], sent: set[int], is_whole: bool, is_card: bool
) -> None:
    """The file has whole seconds, or milliseconds; the other program sends microseconds."""
    learner = Learner(f"anna-{uuid.uuid4()}")
    milliseconds = timedelta(milliseconds=0 if is_whole else 7)
    file = sorted(msgspec.structs.replace(a, at=a.at + milliseconds) for a in log_)
    user = {"user_id": learner.user_id}
    kind = "CardReviewed" if is_card else "CorrectAnswerGiven"
    given = {**user, "rating": 3, "interval_days": 7} if is_card else {"session_id": "of a device"}
    later = timedelta(microseconds=987_654 if is_whole else 999)
    posted = [
        sample_events.envelope(kind, {"item_id": a.card_id, **given}, at=a.at + later)
        | {"metadata": user}
        for n, a in enumerate(file)
        if n in sent
    ]
    record(connection, [Message("algorithm-events", posted)])
    import_new(connection, Record(learner=learner, answers=file))
    stored = PostgresEventStore(connection).read_events(f"learner-{learner.user_id}", 1)
    unit = timedelta(seconds=1) if is_whole else timedelta(milliseconds=1)
    found = [
        (e.event_data["item_id"], (e.occurred_at - at(0)) // unit)
        for e in of(("AnswerGiven", "CardReviewed"), stored)
    ]
    assert sorted(found) == sorted({(a.card_id, (a.at - at(0)) // unit) for a in file})
    of_answers = {e.event_data.get("session_id") for e in of("CardReviewed", stored)}
    assert {e.event_data["session_id"] for e in of("SessionStarted", stored)} == of_answers - {None}


def test_a_row_with_an_id_is_the_event_that_a_device_posts_under_this_id(
    connection: Connection, tmp_path: Path
) -> None:
    namespace = uuid.uuid5(uuid.NAMESPACE_OID, "learner")
    own = str(uuid.uuid4())
    ids = {own.upper(): own, "Übung 7": str(uuid.uuid5(namespace, "Übung 7"))}
    file = tmp_path / "log.csv"
    rows = [f"{id_},i,2024-03-0{n},3" for n, id_ in enumerate(ids, start=1)]
    file.write_text("\n".join(["id,card_id,review_time,review_rating", *rows]), encoding="utf-8")
    imported = anki_import.read(file, Learner("anna"))
    cards = [e for m in imported.messages() for e in m.events if e["event_type"] == "CardReviewed"]
    assert [e["event_id"] for e in cards] == [
        str(uuid.uuid5(namespace, f'["anna","{id_}"]')) for id_ in ids.values()
    ]
    posted = [{**e, "occurred_at": e["occurred_at"] + timedelta(hours=1)} for e in cards]
    record(connection, [Message("algorithm-events", posted)])
    new = import_new(connection, imported)
    assert [e["event_type"] for e in new] == ["UserCreated"]
    file.write_text(file.read_text(encoding="utf-8") + f"\n{own.upper()},j,2024-03-05,3")
    with pytest.raises(ReviewLogError, match="row 4, column id: expected an id that no other row"):
        anki_import.read(file, Learner("anna"))


def prefer(learner: Learner, at: datetime, zone: str, hour: int) -> dict[str, object]:
    data = {"user_id": learner.user_id, "timezone": zone, "day_start_hour": hour}
    return sample_events.envelope("UserPreferencesChanged", data, at=at)


def test_imported_answers_are_not_added_to_a_session_of_another_app(connection: Connection) -> None:
    learner = Learner("bert")
    own = read([Answer(datetime(2024, 3, 1, tzinfo=UTC), "a", 3, 900)], ({"a"}, True), learner)
    [_, session, _] = anki_events.messages(learner, own.answers)
    renamed = [event | {"event_id": str(uuid.uuid4())} for event in session.events]
    start = renamed[0] | {"data": renamed[0]["data"] | {"session_id": "other"}}
    record(connection, [Message("learning-events", [start])])
    kinds = [event["event_type"] for event in import_new(connection, own)]
    assert kinds.count("SessionStarted") == kinds.count("SessionCompleted") == 1


OF_SESSIONS = ("sessions_completed", "study_seconds", "scores", "scored_sessions", "sessionless_ms")
LONG = [Answer(at(minute), "a", 3, 60_000, 1) for minute in range(490)]


@given(log_=logs, early=st.sets(st.integers(0, 30)), hour=st.integers(0, 23))
@example(log_=LONG, early=set(), hour=0)
@example(log_=[Answer(at(minute), "a", 3, 4_000, 1) for minute in (0, 29)], early={0}, hour=0)
def test_the_days_of_an_import_are_those_of_a_device_that_sends_the_same_answers(
    stage: Stage, log_: list[Answer], early: set[int], hour: int
) -> None:
    """A first file has only some of the answers, which the second one has, too."""
    stage.sweep()
    log_, imported = sorted(log_), Learner("imported", "Asia/Tokyo", hour)
    for file in ([answer for n, answer in enumerate(log_) if n in early], log_):
        import_new(stage.admin, Record(learner=imported, answers=file))
    posted = [prefer(Learner("sent"), at(0), "Asia/Tokyo", hour)]
    for answer in log_:
        data = {
            "user_id": "sent",
            "item_id": answer.card_id,
            "rating": answer.rating,
            "duration_ms": answer.response_time_ms,
            "interval_days": answer.interval_days,
        }
        posted.append(sample_events.envelope("CardReviewed", data, at=answer.at))
    record(stage.admin, [Message("user-events", posted)])
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
    log_: list[Answer],
    more: list[Answer],
    cut: tuple[int, int, int],
    is_former: bool,
) -> None:
    """Recorded sessions keep their durations; a newer import may be killed in a message, too."""
    learner, file = Learner(f"anna-{uuid.uuid4()}", "Asia/Tokyo", 4), sorted(log_)
    [account, *made] = [
        message.events for message in Record(learner=learner, answers=file).messages()
    ]
    begun = [test_anki.make_former(*frame) if is_former else frame for frame in made[::2]]
    frames, reviews, part = min(cut[0], len(begun)), min(cut[:2]), cut[2] * (not is_former)
    following = made[1::2][reviews:frames] + begun[frames:]
    killed = [account, *begun[:frames], *made[1::2][:reviews], *(e[:part] for e in following[:1])]
    recorded = [event for events in killed for event in events]
    record(connection, [Message("user-events", recorded)])
    later = [msgspec.structs.replace(one, at=one.at + timedelta(days=9)) for one in sorted(more)]
    assert import_new(connection, Record(learner=learner, answers=[*file, *later]))
    assert anki_import.select_new(connection, Record(learner=learner, answers=file)) == []
    stored = [e for e in model_rows.read_events(connection) if e.user_id == learner.user_id]
    names = ("session_id", "item_id", "rating", "score", "item_count")
    found = Counter(
        (event.type, event.occurred_at, *map(event.data.get, names))
        for event in stored
        if event.occurred_at < at(10_000)
    )
    assert found == Counter(
        (event["event_type"], event["occurred_at"], *map(event["data"].get, names))
        for events in (account, *made)
        for event in events
    )
    assert {event["event_id"] for event in recorded} <= {str(event.event_id) for event in stored}
