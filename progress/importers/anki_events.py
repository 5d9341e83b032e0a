"""Convert a review log to the domain events that the learner's app would have published.

An event's id is derived from the learner, the card and the time, so a second import of the log is
a redelivery and does not add events.
"""

import bisect
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
from progress.importers.review_log import EARLIEST, LATEST, STEP, Answer, CardState, Move

MAX_PAUSE = timedelta(minutes=30)  # a longer pause ends a session

# A longer session is split, because a session is published as one message of at most 10 MB, and
# because `SessionStarted` allows at most 10,000 items.
_MAX_ANSWERS = 5_000
_MAX_ANSWER_MS, _MAX_SESSION_MS = 60_000, 14_400_000  # which count of an answer and of a session

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
    """A session of an earlier import, with the times of its first and its last event.

    `started` is the time and the id of its SessionStarted, and `completed` the time and the data of
    its SessionCompleted; None if this is not recorded.
    """

    session_id: str
    begin: datetime
    end: datetime
    started: tuple[datetime, str]
    completed: tuple[datetime, dict[str, Any]] | None


def messages(
    learner: Learner,
    answers: list[Answer],
    recorded: Sequence[RecordedSession] = (),
    preferences: Sequence[Preference] = (),
    find_recorded: Callable[[Answer], str | None] = lambda _: None,
) -> Iterator[Message]:
    """Yield a message with the preferences, if any, then two for each session of new answers.

    `recorded` are the sessions of earlier imports, and `preferences` the learner's recorded ones.
    `answers` and `recorded` are sorted by time. `find_recorded` returns the session of a recorded
    answer, "" without one; such an answer counts only for the intervals of later ones. What an
    interrupted import left out keeps its session. Other new answers that overlap a recorded session
    of the same local day, or are within `MAX_PAUSE` of one, have none: their own time counts.
    """
    if not answers:
        return
    new = [answer for answer in answers if find_recorded(answer) is None]
    if changed := set_preferences(learner, answers, new, preferences):
        yield Message("user-events", [changed])
        values = (changed["data"].get(name) for name in ("timezone", "day_start_hour"))
        at, event_id = changed["occurred_at"], UUID(changed["event_id"])
        preferences = [*preferences, Preference(at, event_id, *values)]
    find_day = local_days.follow(preferences)
    found = {answer: find_recorded(answer) for answer in _schedule(answers, find_day)}
    scheduled = [*found]
    for one in recorded:
        session = _find_interrupted(learner, one, scheduled, found, find_day)
        if lost := [answer for answer in session if found[answer] is None]:
            yield Message(events.LEARNING, _frame_session(learner, session, find_day))
            reviews = [_review(learner, answer, one.session_id) for answer in lost]
            yield Message(events.ALGORITHM, reviews)
            found |= dict.fromkeys(lost, one.session_id)
    for session in sessions((a for a, known in found.items() if known is None), find_day):
        near = _find_near(session, recorded, find_day(session[0].at), find_day)
        if near is None:
            yield Message(events.LEARNING, frame := _frame_session(learner, session, find_day))
        key = near or frame[0]["data"]["session_id"]
        reviews = [_review(learner, answer, key, is_alone=near is not None) for answer in session]
        yield Message(events.ALGORITHM, reviews)


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
    at = new[0].at
    for taken in sorted(one.at for one in preferences):
        at = taken + STEP if taken <= at < taken + STEP else at
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
    run, total = list[Answer](), 0
    for answer in answers:
        has_paused = run and answer.at - run[-1].at > MAX_PAUSE
        total += _count_ms(answer)
        if has_paused or len(run) == _MAX_ANSWERS or total > _MAX_SESSION_MS:
            yield run
            run, total = [], _count_ms(answer)
        run.append(answer)
    if run:
        yield run


def _count_ms(answer: Answer) -> int:
    """Return the time of the answer that counts as study time, as that of a device's answer."""
    return min(answer.response_time_ms or 0, _MAX_ANSWER_MS)


def _find_interrupted(
    learner: Learner,
    one: RecordedSession,
    answers: Sequence[Answer],
    found: Mapping[Answer, str | None],
    find_day: FindDay,
) -> list[Answer]:
    """Return the answers of which an import made the recorded session; [] if they are not known.

    `found` has the sessions of those of the file's answers that are recorded.
    """
    (begin, started_id), completed = one.started, one.completed
    end = completed[0] if completed else LATEST
    first = bisect.bisect_left(answers, begin, key=lambda answer: answer.at)
    after = bisect.bisect_right(answers, end, key=lambda answer: answer.at)
    own = [answer for answer in answers[first:after] if found[answer] in {None, one.session_id}]
    own = own if completed else next(sessions(own, find_day), [])
    if not any(found[answer] is None for answer in own):
        return []
    start, completion = _frame_session(learner, own, find_day)
    data = completion["data"]
    seconds = round((end - begin).total_seconds())  # as up to version 0.4
    former = data | {"duration_seconds": min(seconds, 86_400)}
    is_same = completed is None or completed[1] in (data, former)
    return own if is_same and start["event_id"] == started_id else []


def _find_near(
    session: list[Answer], recorded: Sequence[RecordedSession], day: date, find_day: FindDay
) -> str | None:
    """Return the first recorded session that has events on the local `day` of the answers.

    It overlaps `session` or is at most `MAX_PAUSE` away from it.
    """
    start = bisect.bisect_left(recorded, session[0].at - MAX_PAUSE, key=lambda other: other.end)
    for other in recorded[start:]:
        if other.begin > session[-1].at + MAX_PAUSE:
            break
        if find_day(other.begin) <= day <= find_day(other.end):
            return other.session_id
    return None


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
        duration_seconds=sum(map(_count_ms, session)) // 1_000,
    )
    return [_envelope(learner, start, begin, key), _envelope(learner, completion, end, key)]


def _review(
    learner: Learner, answer: Answer, session_id: str, *, is_alone: bool = False
) -> Envelope:
    """Return the event; an answer that `is_alone` is near the session, and no part of it."""
    review = events.CardReviewed(
        session_id=None if is_alone else session_id,
        user_id=learner.user_id if is_alone else None,
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
    learner, session, item = Learner(user), review["metadata"]["correlation_id"], data["item_id"]
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
        at = state.changed_at if state.changed_at > before.at else state.seen_at
        is_later = at > before.at - timedelta(seconds=1)
        if before.is_own and is_later and before.is_set_aside != state.is_out:
            choose(state.card_id, max(at, before.at + STEP), is_set_aside=state.is_out)
    return [*made.values()]


def mark_file(learner: Learner, at: datetime, lists: Sequence[str]) -> Envelope:
    """Return an event that changes nothing: of these lists, a file of this time was imported."""
    event = _envelope(learner, events.UserPreferencesChanged(user_id=learner.user_id), at, None)
    event["event_id"] = derive_id(learner, "file", at, {"lists": lists})
    event["metadata"]["imported_lists"] = lists
    return event


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
