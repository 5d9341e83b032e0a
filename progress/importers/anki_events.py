"""Convert a review log to the domain events that the learner's app would have published.

An event's id is derived from the learner, the card and the time, so a second import of the log is
a redelivery and does not add events.
"""

import bisect
import functools
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import msgspec

from progress.adapters.pubsub.publisher import Message
from progress.event_store import events, learner_post_check, timestamps
from progress.importers import forgetting, local_days
from progress.importers.forgetting import ForgettingState
from progress.importers.local_days import FindDay, Preference
from progress.importers.review_log import EARLIEST, Answer, CardState, Move

MAX_PAUSE = timedelta(minutes=30)  # a longer pause ends a session

# A longer session is split, because a session is published as one message of at most 10 MB, and
# because `SessionStarted` allows at most 10,000 items.
_MAX_ANSWERS = 5_000

_NAMESPACE = UUID("5d1b6d1c-6a4e-5b0e-9d1f-0c2f7f1f3a57")

Envelope = dict[str, Any]


class Learner(msgspec.Struct, frozen=True):
    """The learner whose review log is imported.

    A preference that is None does not change the recorded preference, nor does one whose name is in
    `defaults`: it counts only if the learner has no preference yet. `shifted_days` is the number
    of days by which the times of the review log were moved; None if they were not moved. The
    `UserCreated` event stores this number, so that a second import can move the log equally far.
    """

    user_id: str
    timezone: str | None = None
    day_start_hour: int | None = None
    shifted_days: int | None = None
    display_name: str | None = None
    defaults: tuple[str, ...] = ()


class RecordedChoice(msgspec.Struct, frozen=True):
    """The latest event that sets an item aside or resumes it; `is_own` if an import made it."""

    is_set_aside: bool
    at: datetime
    is_own: bool


class RecordedSession(msgspec.Struct, frozen=True):
    """A session of an earlier import, with the times of its first and its last event."""

    session_id: str
    begin: datetime
    end: datetime


def messages(
    learner: Learner,
    answers: list[Answer],
    recorded: Sequence[RecordedSession] = (),
    preferences: Sequence[Preference] = (),
    is_recorded: Callable[[Answer], bool] = lambda _: False,
) -> Iterator[Message]:
    """Yield a message with the preferences, if any, then two for each session of new answers.

    `recorded` are the sessions of earlier imports, and `preferences` the learner's recorded ones.
    `answers` and `recorded` are sorted by time. If answers would form a session that overlaps a
    recorded session of the same local day, or is within `MAX_PAUSE` of one, they join the recorded
    session instead. An answer that is recorded counts only for the intervals of later ones.
    """
    new = [answer for answer in answers if not is_recorded(answer)]
    if not answers:
        return
    if changed := set_preferences(learner, answers, new, preferences):
        yield Message("user-events", [changed])
        values = (changed["data"].get(name) for name in ("timezone", "day_start_hour"))
        at, event_id = changed["occurred_at"], UUID(changed["event_id"])
        preferences = [*preferences, Preference(at, event_id, *values)]
    find_day = local_days.follow(preferences)
    scheduled = [answer for answer in _schedule(answers, find_day) if not is_recorded(answer)]
    for session in sessions(scheduled, find_day):
        day = find_day(session[0].at)
        if near := _find_near(session, recorded, day, find_day):
            keys = [_find_last_begun(near, answer) for answer in session]
        else:
            frame = _frame_session(learner, session, find_day)
            yield Message(events.LEARNING, frame)
            keys = [frame[0]["data"]["session_id"]] * len(session)
        reviews = map(functools.partial(_review, learner), session, keys)
        yield Message(events.ALGORITHM, list(reviews))


def set_preferences(
    learner: Learner,
    answers: Sequence[Answer],
    new: Sequence[Answer],
    preferences: Sequence[Preference],
) -> Envelope | None:
    """Return the event that sets the learner's preferences; None if they do not change.

    A first import sets them from its first answer on. A later one changes them from its first new
    answer on, never at the instant of another event, because two events of one instant would have
    no order.
    """
    if all(one.timezone is None and one.day_start_hour is None for one in preferences):
        has_values = learner.timezone is not None or learner.day_start_hour is not None
        is_needed = has_values or not preferences
        return create_account(learner, _begin(answers[0])) if is_needed else None
    if not new:
        return None
    at, taken = new[0].at, {one.at for one in preferences}
    while at in taken:
        at += timedelta(microseconds=1)
    zone, hour = local_days.follow_preferences(preferences)(at)
    new_zone = None if "timezone" in learner.defaults else learner.timezone
    new_hour = None if "day_start_hour" in learner.defaults else learner.day_start_hour
    if new_zone in {None, zone} and new_hour in {None, hour}:
        return None
    event = events.UserPreferencesChanged(
        user_id=learner.user_id, timezone=new_zone, day_start_hour=new_hour
    )
    return _envelope(learner, event, at, None)


def _schedule(answers: Iterable[Answer], find_day: FindDay) -> Iterator[Answer]:
    """Yield the answers; one without a schedule gets the interval of FSRS."""
    memories: dict[str, ForgettingState] = {}
    for answer in answers:
        memory = forgetting.follow(memories.get(answer.card_id), find_day(answer.at), answer.rating)
        memories[answer.card_id] = memory
        if answer.interval_days is None and answer.due is None:
            yield msgspec.structs.replace(answer, interval_days=memory.interval_days)
        else:
            yield answer


def sessions(answers: Iterable[Answer], find_day: FindDay) -> Iterator[list[Answer]]:
    """Split answers, which are sorted by time, at long pauses and where a local day starts.

    A session counts on the day of its completion. Without the second rule, a day whose last
    session goes on after the day's end would have answers, but no session.
    """
    for run in split_at_pauses(answers):
        for _, session in itertools.groupby(run, key=lambda answer: find_day(answer.at)):
            yield list(session)


def split_at_pauses(answers: Iterable[Answer]) -> Iterator[list[Answer]]:
    run: list[Answer] = []
    for answer in answers:
        has_paused = run and answer.at - run[-1].at > MAX_PAUSE
        if has_paused or len(run) == _MAX_ANSWERS:
            yield run
            run = []
        run.append(answer)
    if run:
        yield run


def _find_near(
    session: list[Answer], recorded: Sequence[RecordedSession], day: date, find_day: FindDay
) -> list[RecordedSession]:
    """Return the recorded sessions, oldest first, that the answers in `session` join.

    These recorded sessions overlap `session` or are at most `MAX_PAUSE` away from it, and have
    events on its local `day`.
    """
    near = []
    start = bisect.bisect_left(recorded, session[0].at - MAX_PAUSE, key=lambda other: other.end)
    for other in recorded[start:]:
        if other.begin > session[-1].at + MAX_PAUSE:
            break
        if find_day(other.begin) <= day <= find_day(other.end):
            near.append(other)
    return near


def _find_last_begun(near: list[RecordedSession], answer: Answer) -> str:
    """Return the session that the answer joins: the last that began before it, or the first."""
    after = bisect.bisect_right(near, answer.at, key=lambda other: other.begin)
    return near[max(after - 1, 0)].session_id


def _frame_session(learner: Learner, session: list[Answer], find_day: FindDay) -> list[Envelope]:
    begin, end = _begin(session[0]), session[-1].at
    if find_day(begin) != find_day(end):
        begin = session[0].at  # the first card was shown before the day started
    key = str(_id(learner, "session", session[0].at))
    items = len({answer.card_id for answer in session})
    start = events.SessionStarted(session_id=key, user_id=learner.user_id, item_count=items)
    completion = events.SessionCompleted(
        session_id=key,
        score=round(100 * sum(answer.correct for answer in session) / len(session)),
        duration_seconds=min(round((end - begin).total_seconds()), 86_400),
    )
    return [_envelope(learner, start, begin, key), _envelope(learner, completion, end, key)]


def _review(learner: Learner, answer: Answer, session_id: str) -> Envelope:
    review = events.CardReviewed(
        session_id=session_id,
        item_id=answer.card_id,
        rating=answer.rating,
        due=timestamps.to_stored(answer.due.isoformat(), "due") if answer.due else None,
        interval_days=answer.interval_days,
        duration_ms=answer.response_time_ms,
    )
    envelope = _envelope(learner, review, answer.at, session_id)
    if answer.sent_id:
        envelope["event_id"] = learner_post_check.posted_id(learner.user_id, answer.sent_id)
    return envelope


def convert_to_former(review: Envelope) -> list[Envelope]:
    """Return the two events of a `CardReviewed` up to version 0.3: the answer and its review."""
    data, at, user = review["data"], review["occurred_at"], review["metadata"]["user_id"]
    learner, session, item = Learner(user), data["session_id"], data["item_id"]
    kind = events.CorrectAnswerGiven if data["rating"] > 1 else events.IncorrectAnswerGiven
    answer = kind(session_id=session, item_id=item, response_time_ms=data.get("duration_ms"))
    answered = _envelope(learner, answer, at, session)
    days = data.get("interval_days")
    if days is None:
        days = max((timestamps.parse(data["due"], "due") - at).days, 0)
    schedule = events.ReviewProcessed(user_id=user, item_id=item, new_interval=int(days))
    reviewed = _envelope(learner, schedule, at, session)
    reviewed["metadata"]["causation_id"] = answered["event_id"]
    return [answered, reviewed]


def change_cards(
    learner: Learner,
    states: Iterable[CardState],
    moves: Iterable[Move],
    answers: Iterable[Answer],
    recorded: Mapping[str, RecordedChoice],
) -> list[Envelope]:
    """Return the events that move cards without an answer, set cards aside, or resume them.

    A forgotten card is set aside until its next answer, and each card at last as its state says.
    `recorded` are the latest choices by card. An import never undoes the choice of another, nor a
    later one of its own: the file may be an old one. Anki stores a card's time in seconds.
    """
    user = learner.user_id
    times = defaultdict[str, list[datetime]](list)
    for answer in answers:
        times[answer.card_id].append(answer.at)
    latest = defaultdict(lambda: RecordedChoice(False, EARLIEST, True), recorded)
    made: dict[str, Envelope] = {}  # by id: two moves may be followed by one answer

    def add(event: events.Event, at: datetime) -> None:
        envelope = _envelope(learner, event, at, None)
        made[envelope["event_id"]] = envelope

    def choose(card: str, at: datetime, *, is_set_aside: bool) -> None:
        kind = events.ItemSetAside if is_set_aside else events.ItemResumed
        add(kind(user_id=user, item_id=card), at)
        if at > latest[card].at:
            latest[card] = RecordedChoice(is_set_aside, at, True)

    for move in moves:
        card, days, before = move.card_id, move.interval_days, latest[move.card_id]
        moved = events.ReviewProcessed(user_id=user, item_id=card, new_interval=days)
        add(moved, move.at)
        if move.is_forgotten and (before.is_own or not before.is_set_aside):
            choose(card, move.at + timedelta(microseconds=1), is_set_aside=True)
            later = bisect.bisect_right(times[card], move.at)
            for at in times[card][later : later + 1]:
                choose(card, at, is_set_aside=False)
    for state in states:
        before = latest[state.card_id]
        is_later = state.changed_at > before.at - timedelta(seconds=1)
        if before.is_own and is_later and before.is_set_aside != state.is_out:
            at = max(state.changed_at, before.at + timedelta(microseconds=1))
            choose(state.card_id, at, is_set_aside=state.is_out)
    return [*made.values()]


def create_account(learner: Learner, at: datetime) -> Envelope:
    account = events.UserCreated(
        user_id=learner.user_id,
        email="learner@example.com",  # the event requires an address; a review log has none
        timezone=learner.timezone,
        day_start_hour=learner.day_start_hour,
        display_name=learner.display_name or msgspec.UNSET,
    )
    envelope = _envelope(learner, account, at, None)
    if learner.shifted_days is not None:
        envelope["metadata"]["shifted_days"] = learner.shifted_days
    return envelope


def _envelope(
    learner: Learner, event: events.Event, at: datetime, session_id: str | None
) -> Envelope:
    kind = type(event).__name__
    data = {name: v for name, v in msgspec.to_builtins(event).items() if v is not None}
    metadata = {"user_id": learner.user_id}
    if session_id:
        metadata["correlation_id"] = session_id
    return {
        "event_id": derive_id(learner, kind, at, data),
        "event_type": kind,
        "occurred_at": at,
        "data": data,
        "metadata": metadata,
    }


def derive_id(learner: Learner, kind: str, at: datetime, data: dict[str, Any]) -> str:
    """Return the id of an event of the learner.

    The id depends on the item, or on all data if the event has no item. The id of `UserCreated`
    therefore depends on the preferences: an import with other preferences adds an event.
    """
    return str(_id(learner, kind, at.astimezone(UTC), data.get("item_id") or data))


def _id(learner: Learner, *parts: Any) -> UUID:
    key = msgspec.json.encode([learner.user_id, *parts], order="deterministic")
    return uuid5(_NAMESPACE, key.decode())


def _begin(answer: Answer) -> datetime:
    """Return the time at which the card was shown; the log holds the time of the answer."""
    return max(answer.at - timedelta(milliseconds=answer.response_time_ms or 0), EARLIEST)
