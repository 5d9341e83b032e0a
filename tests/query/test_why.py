"""What a number is made of: the events of a day, an item or a session, and the days of a streak."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from progress.projections import rebuild
from progress.query.read_models import rows
from progress.query.read_models.rows import RecordedEvent
from tests import oracle
from tests.oracle.counts import Counts
from tests.oracle.events import ANSWERS, CARD
from tests.query.test_lists import EVERYONE, PLAINLY
from tests.support import model_rows
from tests.support.api import QueryClient, plain
from tests.support.event_logs import LEARNERS, Log, logs
from tests.support.stage import Stage, append, connect, undeclared

MORE_EXAMPLES = settings(max_examples=5 * settings().max_examples // 2)
DAY = timedelta(days=1)
ANSWERED = {*ANSWERS, CARD}


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
    return sum(found[kind] for kind in ANSWERED)


def ids(events: Iterable[RecordedEvent | oracle.Event]) -> set[str]:
    return {str(event.event_id) for event in events}


def check_sums(fetch: QueryClient, user: str, days: set[date]) -> None:
    """Compare the numbers of a learner with the counted events of which they are the sums."""
    trail, queries = Trail(fetch, user), fetch.queries
    for day in days:
        found, row = trail.count(day=day), fetch(queries.get_daily_stats(user, day))
        sums = (
            answers(found),
            found["CorrectAnswerGiven"] + found["passed"],
            found["SessionCompleted"],
            found["ReviewProcessed"] + found[CARD],
        )
        assert sums == (
            (row.answers, row.correct_answers, row.sessions_completed, row.reviews)
            if row
            else (0, 0, 0, 0)
        )
    for _, item in fetch(queries.get_item_stats(user, first=200)).items:
        assert answers(trail.count(item_id=item.item_id)) == item.answers
    for _, session in fetch(queries.get_sessions(user, first=200)).items:
        found = trail.count(session_id=session.id)
        assert answers(found) == session.answers
        assert found["SessionCompleted"] == (session.completed_at is not None)
    standing, found = fetch(queries.get_current_progress(user)), trail.count()
    if standing:
        correct = found["CorrectAnswerGiven"] + found["passed"]
        assert standing.total_sessions_completed == found["SessionCompleted"]
        assert standing.accuracy_rate == oracle.ratio(correct, answers(found))


def check_streaks(fetch: QueryClient, world: oracle.World, user: str, days: set[date]) -> None:
    first = min(days, default=date(2024, 3, 1)) - 3 * DAY
    for span in ((first, first + 399 * DAY), (first + 5 * DAY, first + 7 * DAY)):
        query = rows.streak_days(user, *span, at=world.now)
        found = fetch(fetch.queries.run(query))
        assert [plain(day) for day in found] == oracle.streak_days(world, user, *span)
    streak = fetch(fetch.queries.get_streak(user, at=world.now))
    today = fetch(fetch.queries.get_today(user, at=world.now))
    if streak.last_study_date:
        span = (streak.last_study_date, max(today, streak.last_study_date))
        found = fetch(fetch.queries.run(rows.streak_days(user, *span, at=world.now)))
        stands = found[0].run if all(d.kind != "MISSED" for d in found) else 0
        assert streak.current == stands
        assert streak.rest_today == (found[-1].kind == "REST") or streak.active_today


@MORE_EXAMPLES
@given(log=logs(), data=st.data())
def test_the_counted_events_add_up_to_the_numbers_and_the_days_to_the_streak(
    stage: Stage, fetch: QueryClient, log: Log, data: st.DataObject
) -> None:
    stage.sweep()
    with undeclared():
        append(stage.admin, log.delivered)
    recorded = model_rows.read_events(stage.admin)
    among = st.sets(st.sampled_from([e.event_id for e in recorded]), max_size=2)
    poisoned = data.draw(among if recorded else st.just(set[UUID]()))
    stage.admin.run(
        "SELECT event_store.mark_poisoned(schema_fingerprint(), global_position, 'x') "
        "FROM event_store.events WHERE event_id = ANY (CAST(:ids AS uuid[]))",
        ids=[str(one) for one in poisoned],
    )
    check_counts(fetch, Counts(recorded, poisoned, (), log.now))
    stage.deliver(Log((), log.now), PLAINLY)
    counts = Counts(recorded, poisoned, {e.event_id for e in recorded}, log.now)
    for is_rebuilt in (False, True):
        if is_rebuilt:
            rebuild.run(lambda: connect(stage._url))
        check_counts(fetch, counts)
        for user in EVERYONE:
            days = {counts.day(e) for e in recorded if e.user_id == user}
            check_sums(fetch, user, days)
            for at in (log.now, log.now + DAY, log.now - 9 * DAY):
                check_streaks(fetch, replace(counts.world, now=at), user, days)


def check_counts(fetch: QueryClient, counts: Counts) -> None:
    """Compare each event of the learners, and which are those of each local day."""
    for user in LEARNERS:
        trail, of_user = Trail(fetch, user), [e for e in counts.log if e.user_id == user]
        found = {event.event_id: event.counted for event in trail.list()}
        assert found == {str(event.event_id): counts.of(event) for event in of_user}
        days = {counts.day(event) for event in of_user}
        for day in {d + n * DAY for d in days for n in (-1, 0, 1)}:
            wanted = ids(e for e in of_user if counts.day(e) == day)
            assert ids(trail.list(day=day)) == wanted
