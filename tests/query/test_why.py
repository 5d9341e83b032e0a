"""What a number is made of: the events of a day, an item or a session, and the days of a streak."""

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from progress.projections import rebuild
from progress.query.read_models import rows
from progress.query.read_models.rows import RecordedEvent
from tests import oracle
from tests.oracle.counts import Counts
from tests.oracle.events import ANSWERS, CARD
from tests.query.test_lists import PLAINLY
from tests.support import model_rows, sample_events
from tests.support.api import QueryClient, plain
from tests.support.event_logs import LEARNERS, Log, logs
from tests.support.stage import Stage, append, connect, undeclared

MORE_EXAMPLES = settings(max_examples=5 * settings().max_examples // 2)
DAY = timedelta(days=1)
RIGHT = ANSWERS[0]


class Trail:
    """The recorded events of a learner, as the queries tell of them."""

    def __init__(self, fetch: QueryClient, user: str) -> None:
        self.fetch, self.user = fetch, user

    def list(self, **given: object) -> list[RecordedEvent]:
        query = rows.recorded_events(self.user, first=10_000, **given)  # type: ignore[arg-type]
        return self.fetch(self.fetch.queries.run(query))

    def count(self, **given: object) -> Counter[str]:
        """Return how many counted events there are of each type, and how many correct cards."""
        found = [event for event in self.list(**given) if event.counted == "COUNTED"]
        passed = [e for e in found if e.event_type == CARD and '"rating": 1' not in e.data]
        return Counter(event.event_type for event in found) + Counter({"passed": len(passed)})


def answers(found: Counter[str]) -> int:
    return sum(found[kind] for kind in (*ANSWERS, CARD))


def check_sums(fetch: QueryClient, user: str, days: set[date]) -> None:
    """Compare the numbers of a learner with the counted events of which they are the sums."""
    trail, queries = Trail(fetch, user), fetch.queries
    for day in days:
        found, row = trail.count(day=day), fetch(queries.get_daily_stats(user, day))
        reviews, right = found["ReviewProcessed"] + found[CARD], found[RIGHT] + found["passed"]
        sums = (answers(found), right, found["SessionCompleted"], reviews)
        names = ("answers", "correct_answers", "sessions_completed", "reviews")
        assert sums == tuple(getattr(row, name, 0) for name in names)
    for _, item in fetch(queries.get_item_stats(user, first=200)).items:
        assert answers(trail.count(item_id=item.item_id)) == item.answers
    for _, session in fetch(queries.get_sessions(user, first=200)).items:
        found = trail.count(session_id=session.id)
        assert answers(found) == session.answers
        assert found["SessionCompleted"] == (session.completed_at is not None)
    standing, found = fetch(queries.get_current_progress(user)), trail.count()
    if standing:
        correct = found[RIGHT] + found["passed"]
        assert standing.total_sessions_completed == found["SessionCompleted"]
        assert standing.accuracy_rate == oracle.ratio(correct, answers(found))


def check_streaks(fetch: QueryClient, counts: Counts, user: str, at: datetime) -> None:
    world = replace(counts.world, now=at)
    days = [counts.day(e) for e in counts.log if e.user_id == user]
    first = min(days, default=date(2024, 3, 1)) - 3 * DAY
    for span in ((first + 5 * DAY, first + 7 * DAY), (first, first + 399 * DAY)):
        found = fetch(fetch.queries.run(rows.streak_days(user, *span, at=at)))
        assert [*map(plain, found)] == oracle.streak_days(world, user, *span)
    streak = fetch(fetch.queries.get_streak(user, at=at))
    today = fetch(fetch.queries.get_today(user, at=at))
    since = [d for d in found if (streak.last_study_date or date.max) <= d.date <= today]
    if since and since[-1].date == today:
        is_over = any(day.kind == "MISSED" for day in since)
        assert streak.current == (0 if is_over else since[0].run)


@MORE_EXAMPLES
@given(log=logs(), data=st.data())
def test_the_counted_events_add_up_to_the_numbers_and_the_days_to_the_streak(
    stage: Stage, fetch: QueryClient, log: Log, data: st.DataObject
) -> None:
    stage.sweep()
    with undeclared():
        append(stage.admin, log.delivered)
    ids = [str(e.event_id) for e in model_rows.read_events(stage.admin)]
    poisoned = data.draw(st.sets(st.sampled_from(ids), max_size=2)) if ids else set()
    counts = fold(stage, fetch, log.now, poisoned)
    for is_rebuilt in (False, True):
        if is_rebuilt:
            rebuild.run(lambda: connect(stage._url))
        check_all(fetch, counts)
        for user, at in itertools.product(LEARNERS, (log.now, log.now + DAY, log.now - 9 * DAY)):
            check_streaks(fetch, counts, user, at)


def fold(stage: Stage, fetch: QueryClient, now: datetime, poisoned: Iterable[str]) -> Counts:
    """Fold all events but the poisoned ones; check what is told of them before."""
    recorded, gone = model_rows.read_events(stage.admin), {*map(UUID, poisoned)}
    stage.admin.run(
        "SELECT event_store.mark_poisoned(schema_fingerprint(), global_position, 'x') "
        "FROM event_store.events WHERE event_id = ANY (CAST(:ids AS uuid[]))",
        ids=[*poisoned],
    )
    check_counts(fetch, Counts(recorded, gone, now, is_folded=False))
    stage.deliver(Log((), now), PLAINLY)
    return Counts(recorded, gone, now, is_folded=True)


def check_all(fetch: QueryClient, counts: Counts) -> None:
    check_counts(fetch, counts)
    for user in LEARNERS:
        check_sums(fetch, user, {counts.day(e) for e in counts.log if e.user_id == user})


def check_counts(fetch: QueryClient, counts: Counts) -> None:
    """Compare each event of the learners, and which are those of each local day."""
    for user in LEARNERS:
        trail, of_user = Trail(fetch, user), [e for e in counts.log if e.user_id == user]
        found = {event.event_id: (event.counted, event.retracted) for event in trail.list()}
        assert found == {
            str(event.event_id): (counts.of(event), counts.is_retracted(event)) for event in of_user
        }
        days = {counts.day(event) for event in of_user}
        for day in {d + n * DAY for d in days for n in (-1, 0, 1)}:
            wanted = {str(e.event_id) for e in of_user if counts.day(e) == day}
            assert {event.event_id for event in trail.list(day=day)} == wanted


def at(day: float, kind: str, user: str = "ann", **data: object) -> sample_events.Envelope:
    """Return an event at this number of days after 2024-04-01, a Monday."""
    begin = sample_events.BEGIN.replace(hour=0)
    return sample_events.envelope(kind, {"user_id": user, **data}, at=begin + day * DAY)


def test_an_event_of_each_kind_counts_as_it_does(stage: Stage, fetch: QueryClient) -> None:
    answer, item = "CorrectAnswerGiven", {"session_id": "s1", "item_id": "i1"}
    given = [
        at(3.9 + n / 100, answer, session_id=f"s{n % 2}", item_id=f"i{n % 3}") for n in range(20)
    ]
    rest = [at(n / 10, "RestDayTaken", date=f"2024-04-0{d}") for n, d in enumerate((3, 3, 3, 7, 5))]
    card: dict[str, Any] = {"item_id": "i1", "interval_days": 3, "session_id": "s2"}
    plain = [
        at(0, "UserPreferencesChanged", timezone="Asia/Kathmandu", day_start_hour=0),
        at(9, "UserPreferencesChanged", timezone="America/New_York", day_start_hour=23),
        *(at(1, "SessionStarted", session_id=f"s{n}", item_count=1) for n in range(2)),
        *given,
        *(at(day, answer, **item) for day in (11.02, 11.1, 11.9, 12.2, 12.99)),
        *(at(12 + n, "CardReviewed", rating=n, **card) for n in (1, 2)),
        *(at(5 + n, "SessionCompleted", session_id="s1", score=1) for n in range(3)),
        *rest,
        at(1, "ReviewProcessed", item_id="i1", new_interval=3, easiness_factor=2.5),
        *(at(n, answer, "bob", session_id="b", item_id="i1") for n in range(2)),
        at(3, "UserDeleted", "bob"),
    ]
    refused = at(1, "GoalSet", answers_per_day=1_001)
    named = [*given[3:5], given[3], rest[0], plain[2], refused, at(0, "Unheard"), given[5]]
    retracted = [
        at(14 + n / 10, "EventRetracted", retracted_event_id=one["event_id"])
        for n, one in enumerate(named)
    ]
    of_nobody = at(15, "EventRetracted", session_id="s1", retracted_event_id=given[6]["event_id"])
    del of_nobody["data"]["user_id"]  # it is in ann's stream by its session alone
    retracted.append(at(15, "EventRetracted", "bob", retracted_event_id=given[7]["event_id"]))
    stage.sweep()
    with undeclared():
        append(stage.admin, [at(1, "BadgeAwarded"), refused])
    append(stage.admin, [*plain, *retracted])
    with undeclared():
        append(stage.admin, [of_nobody])
    poisoned = [given[4]["event_id"], retracted[-2]["event_id"]]
    check_all(fetch, fold(stage, fetch, sample_events.BEGIN + 20 * DAY, poisoned))
    found = {event.counted for user in LEARNERS for event in Trail(fetch, user).list()}
    assert found == {*rows.EventCount} - {"NOT_YET"}


def test_the_days_of_an_example_are_those_of_its_streak(stage: Stage, fetch: QueryClient) -> None:
    stage.sweep()
    resting = [at(0, "RestDayTaken", date=f"2024-04-{day:02}") for day in (4, 7, 13, 14, 16, 17)]
    studied = [
        at(n + 0.5, "CardReviewed", item_id="i1", rating=3, interval_days=1)
        for n in (1, 2, 4, 7, 8, 10, 11)
    ]
    append(stage.admin, [*resting, *studied])
    counts = fold(stage, fetch, sample_events.BEGIN, ())
    for day in range(24):
        check_streaks(fetch, counts, "ann", sample_events.BEGIN + day * DAY)
