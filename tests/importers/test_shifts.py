"""The dates of a review log are shifted by whole days, so that the log ends yesterday.

If the log is loaded again, the same shift is used. The sessions stay whole.
"""

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub import publisher
from progress.adapters.pubsub.publisher import Message
from progress.demo import living, loading
from progress.event_store import envelope, log
from progress.event_store.event_parser import Message as Received
from progress.event_store.log import Delivery
from progress.importers import anki_events, anki_log, shifts

ZONE = "America/New_York"
NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)
ANSWERS = anki_log.read(loading.LOG)
# The first and last answer of each session suffice: all its answers move by the same duration.
EDGES = [[session[0], session[-1]] for session in anki_events.sessions(ANSWERS)]


def local_day(at: datetime) -> date:
    wall = at.astimezone(ZoneInfo(ZONE)).replace(tzinfo=None)
    return (wall - timedelta(hours=4)).date()


@given(st.integers(0, 1_500))
def test_a_shift_keeps_the_sessions_and_moves_each_by_the_given_number_of_local_days(
    days: int,
) -> None:
    moved = [shifts.shift(edges, days, ZONE) for edges in EDGES]
    for (first, last), (moved_first, moved_last) in zip(EDGES, moved, strict=True):
        assert local_day(moved_first.at) - local_day(first.at) == timedelta(days)
        assert local_day(moved_last.at) - local_day(last.at) == timedelta(days)
        assert moved_last.at - moved_first.at == last.at - first.at
    for (_, before), (after, _) in itertools.pairwise(moved):
        assert after.at - before.at > anki_events.MAX_PAUSE


def test_a_shift_keeps_the_sessions_and_the_answers_of_the_real_log() -> None:
    days = shifts.count_days_to_yesterday(ANSWERS, NOW, ZONE, 4)
    moved = shifts.shift(ANSWERS, days, ZONE)
    assert local_day(moved[-1].at) == local_day(NOW) - timedelta(days=1)
    sessions, moved_sessions = (list(anki_events.sessions(each)) for each in (ANSWERS, moved))
    assert [len(session) for session in moved_sessions] == [len(session) for session in sessions]
    for before, after in zip(sessions, moved_sessions, strict=True):
        assert after[-1].at - after[0].at == before[-1].at - before[0].at


def record(connection: Connection, messages: list[Message]) -> None:
    """Record the first message, which creates the account and stores the shift."""
    for message in messages[:1]:
        entries = envelope.decode(publisher.encode(message), Received())
        log.append(connection, [Delivery(Received(message_id="m"), entries)])


def test_a_demo_on_a_later_day_has_the_same_events(connection: Connection) -> None:
    first = living.prepare(connection, NOW, as_recorded=False)
    record(connection, first.messages)
    later = living.prepare(connection, NOW + timedelta(days=3), as_recorded=False)
    assert first.shifted_days == later.shifted_days > 0
    assert list(map(publisher.encode, first.messages)) == list(
        map(publisher.encode, later.messages)
    )


def test_original_dates_are_kept_if_the_record_is_loaded_again(connection: Connection) -> None:
    as_recorded = living.prepare(connection, NOW, as_recorded=True)
    record(connection, as_recorded.messages)
    later = living.prepare(connection, NOW, as_recorded=False)
    assert (as_recorded.shifted_days, later) == (0, as_recorded)
