"""The import turns a review log into domain events, whose dates a demo shifts by whole days."""

import hashlib
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub import publisher
from progress.demo import loading
from progress.errors import ReviewLogError
from progress.event_store import envelope, log
from progress.event_store.entries import Message
from progress.event_store.log import Delivery
from progress.importers import anki_events, anki_import, review_log, shifts
from progress.importers.anki_events import Envelope
from progress.importers.anki_events import convert_to_former as to_former
from progress.importers.review_log import Answer
from tests.support import cli as commands
from tests.support.posts import NotedIngest

LOG = Path(__file__).parents[2] / "data" / "anki_reviews.csv"
LEARNER = anki_events.Learner("anna", "America/New_York", 4)


@pytest.fixture(scope="module")
def record() -> list[Answer]:
    return review_log.read(LOG)


def events(log: list[Answer], learner: anki_events.Learner = LEARNER) -> list[anki_events.Envelope]:
    return [event for message in anki_events.messages(learner, log) for event in message.events]


def of(kind: str, log: list[Answer]) -> list[anki_events.Envelope]:
    return [event for event in events(log) if event["event_type"] == kind]


def local_day(at: datetime) -> date:
    wall = at.astimezone(ZoneInfo("America/New_York")).replace(tzinfo=None)
    return (wall - timedelta(hours=4)).date()


def test_the_sessions_of_the_real_log_and_the_former_ids_are_those_of_version_0_3(
    record: list[Answer],
) -> None:
    """The digests are of the events into which version 0.3.0 converts this log.

    Only the durations of sessions were others.
    """
    account, *others = events(record)
    frames = [event for event in others if event["event_type"] != "CardReviewed"]
    pairs = zip(frames[::2], frames[1::2], strict=True)
    sessions = [account, *itertools.chain(*itertools.starmap(make_former, pairs))]
    former = [pair for one in of("CardReviewed", record) for pair in to_former(one)]
    texts = (
        msgspec.json.encode(sessions, order="deterministic"),
        "".join(event["event_id"] for event in former).encode(),
    )
    assert [hashlib.sha256(text).hexdigest() for text in texts] == [
        "e0e858d50df28d27ce2b17808d055c02967a209a726846a5dcda6aa174f06508",
        "cc9a12a5de04b533f95303f18b30b1844aee07a700ac306ee8eb0cbfd93ab612",
    ]


def make_former(started: Envelope, completed: Envelope) -> list[Envelope]:
    """Return the events up to version 0.4, whose sessions last as long as on the clock."""
    begin, end = started["occurred_at"], completed["occurred_at"]
    data = completed["data"] | {"duration_seconds": round((end - begin).total_seconds())}
    learner = anki_events.Learner(completed["metadata"]["user_id"])
    event_id = anki_events.derive_id(learner, "SessionCompleted", end, data)
    return [started, completed | {"data": data, "event_id": event_id}]


def test_a_session_ends_at_a_pause_of_more_than_half_an_hour() -> None:
    log = [Answer(NOW + timedelta(minutes=minute), "a", 3, 0) for minute in (0, 30, 61)]
    assert [*anki_events.split_at_pauses(log)] == [log[:2], log[2:]]
    longest = [Answer(NOW + timedelta(seconds=n), "a", 3, 0) for n in range(5_001)]
    assert [*anki_events.split_at_pauses(longest)] == [longest[:5_000], longest[5_000:]]


def test_days_are_those_of_the_pinned_zones_whatever_the_machine_has(tmp_path: Path) -> None:
    (tmp_path / "Africa").mkdir()
    tokyo = resources.files("tzdata").joinpath("zoneinfo", "Asia", "Tokyo").read_bytes()
    (tmp_path / "Africa" / "Casablanca").write_bytes(tokyo)
    code = """from datetime import UTC, datetime
from progress.importers.local_days import find_day
print(find_day(datetime(2024, 3, 1, 20, tzinfo=UTC), "Africa/Casablanca", 0))"""
    environment = settings.child_env(PYTHONTZPATH=str(tmp_path))
    shown = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert shown == "2024-03-01\n", "in Tokyo, the next day has begun"


HEADER = "card_id,review_rating,review_time,review_duration\n"
FULL = "card_id,review_time,review_rating,interval,due,headword,kind\n"


def test_a_review_log_may_have_intervals_due_times_words_and_kinds(
    tmp_path: Path, noted_ingest: NotedIngest
) -> None:
    file = tmp_path / "log.csv"
    rows = ("7,2024-03-29,3,2.5,,house,", "7,2024-03-30,1,,2024-03-30T00:10:00Z,house,typing")
    more = ("8,2024-03-30T00:01Z,4,,,,", "7,2024-03-31,3,,,,", "7,2024-03-31,4,,,,", "7,,0,,,,")
    file.write_text(FULL + "\n".join((*rows, *more)))
    record = anki_import.read(file, LEARNER, in_catalogue=True)
    made = [event for message in record.messages() for event in message.events]
    reviews = [event["data"] for event in made if event["event_type"] == "CardReviewed"]
    assert [(data.get("interval_days"), data.get("due")) for data in reviews] == [
        (2.5, None), (None, "2024-03-30T00:10:00.000000Z"), (8, None), (2, None),
    ]  # fmt: skip
    assert all("duration_ms" not in data for data in reviews)
    items = [event for event in made if event["event_type"] == "ItemPublished"]
    assert [(e["data"]["headword"], e["data"]["kind"], e["data"]["cefr_level"]) for e in items] == [
        ("house", "typing", "A1")
    ]
    shown = commands.expect_success(
        commands.progress("", "import", "reviews", str(file), **noted_ingest.environment)
    )
    assert "4 answers to 2 cards in 3 sessions" in shown
    assert "1 rows with the rating 0 are left out." in shown
    assert "1 repeated rows are left out." in shown
    kinds = Counter(event["event_type"] for event in noted_ingest.events)
    assert (kinds["CardReviewed"], kinds["ItemPublished"]) == (4, 0), "none for the catalogue"
    assert f"{kinds.total()} appended\n" in shown


def test_rows_that_other_programs_write_are_read_or_left_out_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    header = "card_id,review_time,review_rating,review_state,review_duration,interval"
    rows = [
        "7,1711744359497.0,3.0,2,7241.5,-600",  # Anki's seconds
        "7,1711744359497,3,2,7241,2.5",  # once more
        "7,2024-04-01,2,,9.0,-172800",
        "7,2024-04-02,0,,0,1.5",  # ts-fsrs: the card was reset
        "8,,0.0,,,",
        "8,2024-04-03,4,,,",
        "8,2024-04-04,4,,0,",
    ]
    file.write_text("\n".join([header, *rows]))
    found = review_log.read_log(file)
    answers = found.answers
    assert [(one.rating, one.response_time_ms, one.interval_days) for one in answers] == [
        (3, 7_241, 0), (2, 9, 2), (4, None, None), (4, 0, None),
    ]  # fmt: skip
    assert answers[0].at == datetime(2024, 3, 29, 20, 32, 39, 497_000, tzinfo=UTC)
    assert found.left_out == {"manual": 2, "repeated": 1, "faulty": 0}


def test_an_invalid_file_gives_an_error_with_the_row_and_the_column(tmp_path: Path) -> None:
    for text, fault in [
        ("", "row 1, column card_id: "),
        ("card_id,review_time\n7,1\n", "row 1, column review_rating: "),
        (HEADER + "8,3,32503680000000,1\n", "row 2, column review_time: .*milliseconds"),
        (HEADER + "8,3,946684799999,1\n", "row 2, column review_time: "),
        (HEADER + "8,3,1999-12-31T23:59:59+00:00,1\n", "row 2, column review_time: "),
        (HEADER + "8,2.5,2024-03-29T20:33:00+00:00,1\n", "row 2, column review_rating: "),
        (HEADER + "1.71E+12,3,2024-03-29,1\n", "row 2, column card_id: .* has shortened"),
        (HEADER + '"1,71E+12",3,2024-03-29,1\n', "row 2, column card_id: .* has shortened"),
        (HEADER + "1.71E12,3,2024-03-29,1\n", "row 2, column card_id: .* has shortened"),
        (HEADER + '8,"3,2024-03-29\n', "row 2: expected csv"),
    ]:
        file = tmp_path / "log.csv"
        file.write_text(text)
        with pytest.raises(ReviewLogError, match=fault) as raised:
            review_log.read(file)
        assert "\n" not in str(raised.value)
    with pytest.raises(ReviewLogError, match=r"/dev/zero: row 1: expected csv, field larger than"):
        review_log.read(Path("/dev/zero"))


def start_import(file: Path, port: int) -> subprocess.Popen[str]:
    posts = {"EVENTS_URL": f"http://127.0.0.1:{port}/events", "EVENTS_TOKEN": "token"}
    return subprocess.Popen(
        [sys.executable, "-m", "progress", "import", "anki", str(file)],
        env=settings.child_env(**posts, COLUMNS="200"),
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupt(command: subprocess.Popen[str]) -> str:
    command.send_signal(signal.SIGINT)
    _, printed = command.communicate(timeout=60)
    assert command.returncode == 130, printed
    return printed.splitlines()[-1]


def test_an_import_that_is_interrupted_while_it_reads_the_file_says_that_nothing_was_done(
    tmp_path: Path,
) -> None:
    file = tmp_path / "log.csv"
    os.mkfifo(file)
    command = start_import(file, 9)
    with file.open("wb"):  # waits until the command reads
        told = interrupt(command)
    assert told == "Interrupted before anything was published: run the same command again."


def test_an_import_that_is_interrupted_while_it_publishes_says_what_was_done(
    record: list[Answer],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        command = start_import(LOG, silent.getsockname()[1])
        silent.settimeout(60)
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)  # the command waits for the response
            told = interrupt(command)
    assert told == (
        f"Interrupted: 0 of {len(record):,} rows are published. To go on, run the same command "
        "again: no event counts twice."
    )


ZONE = "America/New_York"
NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)


@given(days=st.integers(0, 1_500))
def test_a_shift_keeps_the_sessions_and_moves_each_by_the_given_number_of_local_days(
    record: list[Answer], days: int
) -> None:
    # The first and last answer of each session suffice: all its answers move by the same duration.
    ends = [[session[0], session[-1]] for session in anki_events.split_at_pauses(record)]
    moved, zone = [shifts.shift(edges, days, ZONE) for edges in ends], ZoneInfo(ZONE)
    for (first, last), (moved_first, moved_last) in zip(ends, moved, strict=True):
        assert local_day(moved_first.at) - local_day(first.at) == timedelta(days)
        assert local_day(moved_last.at) - local_day(last.at) == timedelta(days)
        assert moved_first.at.astimezone(zone).time() == first.at.astimezone(zone).time()
        assert moved_last.at - moved_first.at == last.at - first.at
    for (_, before), (after, _) in itertools.pairwise(moved):
        assert after.at - before.at > anki_events.MAX_PAUSE


def append_first(connection: Connection, messages: list[publisher.Message]) -> None:
    for message in messages[:1]:
        entries = envelope.decode(publisher.encode(message), Message())
        log.append(connection, [Delivery(Message(message_id="m"), entries)])


def test_a_demo_on_a_later_day_adds_no_events(connection: Connection) -> None:
    first = loading.prepare(connection, NOW, as_recorded=False)
    append_first(connection, first.messages)
    later = loading.prepare(connection, NOW + timedelta(days=3), as_recorded=False)
    assert first.shifted_days == later.shifted_days > 0
    published, again = (list(map(publisher.encode, one.messages)) for one in (first, later))
    assert [message for message in published if message in again] == again
    assert len(published) == len(again) + 2  # the frame and the answers of the first day's session


def test_original_dates_are_kept_if_the_record_is_loaded_again(connection: Connection) -> None:
    as_recorded = loading.prepare(connection, NOW, as_recorded=True)
    append_first(connection, as_recorded.messages)
    later = loading.prepare(connection, NOW, as_recorded=False)
    assert (as_recorded.shifted_days, later) == (0, as_recorded)
