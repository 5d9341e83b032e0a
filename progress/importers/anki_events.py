"""Convert a review log to the domain events that the learner's app would have published.

An event's id is derived from the learner, the card and the time, so a second import of the log is
a redelivery and does not add events.
"""

import bisect
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import msgspec

from progress.adapters.pubsub.publisher import Message
from progress.event_store import events
from progress.importers import local_days, sm2
from progress.importers.anki_log import EARLIEST, Answer, CardState, Review
from progress.importers.local_days import FindDay, Preference

MAX_PAUSE = timedelta(minutes=30)  # a longer pause ends a session

# A longer session is split, because a session is published as one message of at most 10 MB, and
# because `SessionStarted` allows at most 10,000 items.
_MAX_ANSWERS = 5_000

_NAMESPACE = UUID("5d1b6d1c-6a4e-5b0e-9d1f-0c2f7f1f3a57")

# SM-2's grades for Anki's buttons: again, hard, good, easy.
QUALITY = {1: 2, 2: 3, 3: 4, 4: 5}

Envelope = dict[str, Any]


class Learner(msgspec.Struct, frozen=True):
    """The learner whose review log is imported.

    A preference that is None does not change the recorded preference. `shifted_days` is the number
    of days by which the times of the review log were moved; None if they were not moved. The
    `UserCreated` event stores this number, so that a second import can move the log equally far.
    """

    user_id: str
    timezone: str | None = None
    day_start_hour: int | None = None
    shifted_days: int | None = None
    display_name: str | None = None


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
) -> Iterator[Message]:
    """Yield a message with the `UserCreated` event, then a message per session.

    `recorded` are the sessions of earlier imports, and `preferences` the learner's recorded ones.
    `answers` and `recorded` are sorted by time. If answers would form a session that overlaps a
    recorded session of the same local day, or is within `MAX_PAUSE` of one, they join the recorded
    session instead.
    """
    if not answers:
        return
    account = create_account(learner, _begin(answers[0]))
    yield Message("user-events", [account])
    find_day = local_days.follow([*preferences, _preference(learner, account)])
    memories: dict[str, sm2.Sm2Memory] = {}
    for session in sessions(answers, find_day):
        if near := _find_near(session, recorded, find_day):
            converted = _added_events(learner, session, memories, near)
        else:
            converted = _session_events(learner, session, memories, find_day)
        yield Message("learning-events", list(converted))


def _preference(learner: Learner, account: Envelope) -> Preference:
    return Preference(
        account["occurred_at"],
        UUID(account["event_id"]),
        learner.timezone,
        learner.day_start_hour,
    )


def sessions(answers: Iterable[Answer], find_day: FindDay) -> Iterator[list[Answer]]:
    """Split answers, which are sorted by time, at long pauses and where a local day starts.

    A session counts on the day of its completion. Without the second rule, a day whose last
    session goes on after the day's end would have answers, but no session.
    """
    for run in split_at_pauses(answers):
        for _, session in itertools.groupby(run, key=lambda answer: find_day(answer.at)):
            yield list(session)


def split_at_pauses(answers: Iterable[Answer]) -> Iterator[list[Answer]]:
    """Split answers, which are sorted by time, at pauses of more than `MAX_PAUSE`."""
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
    session: list[Answer], recorded: Sequence[RecordedSession], find_day: FindDay
) -> list[RecordedSession]:
    """Return the recorded sessions, oldest first, that the answers in `session` join.

    These recorded sessions overlap `session` or are at most `MAX_PAUSE` away from it, and have
    events on its local day.
    """
    near = []
    day = find_day(session[0].at)
    start = bisect.bisect_left(recorded, session[0].at - MAX_PAUSE, key=lambda other: other.end)
    for other in recorded[start:]:
        if other.begin > session[-1].at + MAX_PAUSE:
            break
        if find_day(other.begin) <= day <= find_day(other.end):
            near.append(other)
    return near


def _added_events(
    learner: Learner,
    session: list[Answer],
    memories: dict[str, sm2.Sm2Memory],
    near: list[RecordedSession],
) -> Iterator[Envelope]:
    """Yield events that add the answers to the recorded sessions in `near`.

    Each answer joins the last session that began before the answer. If all sessions began later,
    the answer joins the first session.
    """
    for answer in session:
        after = bisect.bisect_right(near, answer.at, key=lambda other: other.begin)
        key = near[max(after - 1, 0)].session_id
        yield from _answer_events(learner, key, answer, _review(answer, memories))


def _session_events(
    learner: Learner, session: list[Answer], memories: dict[str, sm2.Sm2Memory], find_day: FindDay
) -> Iterator[Envelope]:
    begin, end = _begin(session[0]), session[-1].at
    if find_day(begin) != find_day(end):
        begin = session[0].at  # the first card was shown before the day started
    key = str(_id(learner, "session", session[0].at))
    items = len({answer.card_id for answer in session})
    start = events.SessionStarted(session_id=key, user_id=learner.user_id, item_count=items)
    yield _envelope(learner, start, begin, key)
    for answer in session:
        yield from _answer_events(learner, key, answer, _review(answer, memories))
    completion = events.SessionCompleted(
        session_id=key,
        score=round(100 * sum(answer.correct for answer in session) / len(session)),
        duration_seconds=min(round((end - begin).total_seconds()), 86_400),
    )
    yield _envelope(learner, completion, end, key)


def _review(answer: Answer, memories: dict[str, sm2.Sm2Memory]) -> Review:
    """Return the answer's review from the log; if the log has no schedule, compute it with SM-2."""
    if not isinstance(answer.review, msgspec.UnsetType):
        return answer.review
    memory = sm2.repeat(memories.get(answer.card_id), answer.at, QUALITY[answer.rating])
    memories[answer.card_id] = memory
    return Review(memory.interval_days, memory.easiness)


def _answer_events(
    learner: Learner, session_id: str, answer: Answer, scheduled: Review
) -> Iterator[Envelope]:
    kind = events.CorrectAnswerGiven if answer.correct else events.IncorrectAnswerGiven
    answered = _envelope(
        learner,
        kind(
            session_id=session_id,
            item_id=answer.card_id,
            response_time_ms=answer.response_time_ms,
        ),
        answer.at,
        session_id,
    )
    yield answered
    review = events.ReviewProcessed(
        user_id=learner.user_id,
        item_id=answer.card_id,
        new_interval=scheduled.interval_days,
        easiness_factor=scheduled.easiness,
    )
    reviewed = _envelope(learner, review, answer.at, session_id)
    reviewed["metadata"]["causation_id"] = answered["event_id"]
    yield reviewed


def choose(
    learner: Learner, states: Iterable[CardState], recorded: Mapping[str, RecordedChoice]
) -> Iterator[Envelope]:
    """Yield the events that set aside the cards that are suspended or deleted, or resume others.

    `recorded` are the latest such events by card. An import never undoes the choice of another,
    nor a later one of its own: the file may be an old one. Anki stores a card's time in seconds.
    """
    for state in states:
        before = recorded.get(state.card_id, RecordedChoice(False, EARLIEST, True))
        is_later = state.changed_at > before.at - timedelta(seconds=1)
        if before.is_own and is_later and before.is_set_aside != state.is_out:
            kind = events.ItemSetAside if state.is_out else events.ItemResumed
            choice = kind(user_id=learner.user_id, item_id=state.card_id)
            at = max(state.changed_at, before.at + timedelta(microseconds=1))
            yield _envelope(learner, choice, at, None)


def create_account(learner: Learner, at: datetime) -> Envelope:
    """Return the `UserCreated` event."""
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
    return str(_id(learner, kind, at, data.get("item_id") or data))


def _id(learner: Learner, *parts: Any) -> UUID:
    key = msgspec.json.encode([learner.user_id, *parts], order="deterministic")
    return uuid5(_NAMESPACE, key.decode())


def _begin(answer: Answer) -> datetime:
    """Return the time at which the card was shown; the log holds the time of the answer."""
    return max(answer.at - timedelta(milliseconds=answer.response_time_ms), EARLIEST)
