"""The demo's events, and how they are sent to ingest.

The real learner's log is shifted by whole days so that it ends yesterday. A session of today, up
to the moment of loading, is added.

The review log contains neither the text of a card nor the skill that a word trains. This module
assigns text and skills by a rule, and the demo says so.
"""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

import msgspec
import requests

from progress.adapters import retries, terminal
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub import publisher
from progress.adapters.pubsub.publisher import Message
from progress.adapters.pubsub.push_request import PushedMessage, PushEnvelope
from progress.adapters.terminal import Console
from progress.errors import StackError
from progress.event_store import events, timestamps
from progress.event_store.posting import Ingest, Poster
from progress.importers import (
    anki_events,
    anki_import,
    forgetting,
    lists,
    local_days,
    review_log,
    shifts,
    word_lists,
)
from progress.importers.anki_import import Record
from progress.importers.forgetting import ForgettingState
from progress.importers.review_log import Answer
from progress.importers.word_lists import Word

LEARNER = anki_events.Learner("demo-learner", "America/New_York", 4)

LOG = word_lists.DATA / "anki_reviews.csv"
_PUSH_TIMEOUT_S = 60.0
RULE = (
    "each level gets half as many cards as the level below it; the part of speech of a word "
    "determines its skills"
)

_LEVELS = ("A1", "A2", "B1", "B2", "C1", "C2")
_SCALE, _TOPICS = "CEFR-J", "Core Inventory"  # the scales of the lists
_UNIT = "Unit 7"  # the list of a task
_PUBLISHED_AT = datetime(2024, 1, 1, tzinfo=UTC)
_NAMESPACE = UUID("8f0f3c0a-3f5e-5d53-8a54-0d8f1f0c9b42")


def messages(
    learner: anki_events.Learner = LEARNER, answers: list[Answer] | None = None
) -> list[Message]:
    """Return the messages of the learner's account, of the catalogue and of each session."""
    answers = review_log.read(LOG) if answers is None else answers
    items = deal(word_lists.read(), cards(answers))
    account, *sessions = anki_events.messages(learner, answers)
    return [account, *item_messages(items), *list_messages(items), *sessions]


def load(
    console: Console,
    user: str,
    messages: Sequence[Message],
    addresses: dict[str, str],
    ingest: Ingest,
) -> int:
    """Send the messages to ingest; return how many of their events were new.

    The first message of each topic is pushed, as Pub/Sub does in the cloud, and the events of the
    others are posted. The first of all, the account, stores the shift of the record: a later load
    finds it even if this load is interrupted. Raise StackError if the learner is erased, because
    none of the learner's events would be recorded.
    """
    with contextlib.closing(database.connect(addresses["database_url"], name="demo")) as connection:
        if database.run(connection, "demo/loading", "is erased", learner=user)[0][0]:
            raise StackError(
                f"the learner {user} is erased for ever: to begin again, run `progress down` and "
                "delete the data folder (.progress)"
            )
        messages = anki_import.omit_former(connection, messages)
        first = {message.topic: message for message in reversed(messages)}
        pushed = [message for message in messages if message is first[message.topic]]
        ids = [str(event["event_id"]) for message in pushed for event in message.events]
        rows = database.run(connection, "demo/loading", "missing", event_ids=ids)
    rest = [e for m in messages if m is not first[m.topic] for e in m.events]
    poster = Poster(ingest)
    with terminal.progress_bar(console, "recorded", len(ids) + len(rest)) as show_progress:
        for message in pushed:
            retries.repeat(_push)(message, addresses)
        poster.post(map(msgspec.json.encode, rest), lambda n: show_progress(len(ids) + n))
    if letters := poster.recorded.dead_letters:
        raise StackError(f"{len(letters):,} events are dead letters, the first: {letters[0]}")
    return len(rows) + poster.recorded.appended


def _push(message: Message, addresses: dict[str, str]) -> None:
    """Push a message as a subscription to its topic does."""
    data = publisher.encode(message)
    now = timestamps.to_text(datetime.now(UTC))
    pushed = PushedMessage(str(uuid5(_NAMESPACE, data.decode())), now, data)
    project = f"projects/{addresses['project_id']}"
    body = PushEnvelope(pushed, f"{project}/subscriptions/progress-{message.topic}")
    with requests.Session() as session:
        session.trust_env = False  # no proxy
        session.post(
            addresses["ingest_url"], msgspec.json.encode(body), timeout=_PUSH_TIMEOUT_S
        ).raise_for_status()


def deal(words: Iterable[Word], cards: Iterable[str]) -> dict[str, Word]:
    """Return all words by item id. Each level gets half as many card ids as the level below it.

    Words without a card have an id such as `word-apple`. Within a level, a hash of the word decides
    which words get a card.
    """
    ranked = []
    for level, group in itertools.groupby(words, key=lambda word: word.level):
        step = 2 ** _LEVELS.index(level)
        shuffled = sorted(group, key=lambda word: uuid5(_NAMESPACE, word.headword))
        ranked += [((place + 1) * step, word) for place, word in enumerate(shuffled)]
    ranked.sort(key=lambda entry: (entry[0], entry[1].level))
    ids = iter(cards)
    return {next(ids, f"word-{word.headword}"): word for _, word in ranked}


def cards(answers: Iterable[Answer]) -> list[str]:
    """Return the cards in the order of their first answer; `answers` are oldest first."""
    return list(dict.fromkeys(answer.card_id for answer in answers))


def item_messages(items: dict[str, Word]) -> Iterator[Message]:
    return anki_import.pack(events.VOCABULARY, (_publish_event(*item) for item in items.items()))


def _publish_event(item_id: str, word: Word) -> dict[str, object]:
    item = events.ItemPublished(
        item_id=item_id,
        domains=word.domains,
        cefr_level=word.level,
        headword=word.headword,
        language=word_lists.LANGUAGE,
    )
    return {
        "event_id": str(uuid5(_NAMESPACE, msgspec.json.encode(item).decode())),
        "event_type": "ItemPublished",
        "occurred_at": _PUBLISHED_AT,
        "data": item,
    }


def list_messages(items: dict[str, Word]) -> Iterator[Message]:
    """Return the levels, and the topics of the Core Inventory, as lists of the catalogue."""
    members: dict[tuple[str, str], list[str]] = {}
    for item, word in items.items():
        for place in ((_SCALE, word.level), *((_TOPICS, topic) for topic in word.topics)):
            members.setdefault(place, []).append(item)
    made = []
    for (scale, name), listed in members.items():
        rank = {"rank": _LEVELS.index(name) + 1} if scale == _SCALE else {}
        description = {"name": name, "scale": scale} | rank
        of_list = dict.fromkeys(listed, lists.Fields())
        made += lists.change_catalogue(f"{scale}: {name}", description, of_list, _PUBLISHED_AT)
    return anki_import.pack(events.USER, made)


def task_message(group: str, items: Iterable[str], due_on: date) -> Message:
    list_id, listed = f"{group}: {_UNIT}", {item: {"position": n} for n, item in enumerate(items)}
    made = lists.change_catalogue(list_id, {"name": _UNIT}, listed, _PUBLISHED_AT)
    task = events.ListAssigned(list_id=list_id, group_id=group, due_on=due_on.isoformat())
    assigned = {
        "event_id": str(uuid5(_NAMESPACE, f"{list_id} {due_on}")),
        "event_type": "ListAssigned",
        "occurred_at": _PUBLISHED_AT,
        "data": msgspec.to_builtins(task),
    }
    return Message("user-events", [*made, assigned])


def own_messages(connection: Connection, record: Record) -> list[Message]:
    """Return the record's new messages, and the words of the CEFR lists that are on no card.

    With these words, the demo shows how much of each level is left to learn. The words are omitted
    if no card has a word of the lists. They are also omitted if the demo's own catalogue is loaded,
    because this catalogue has every word.
    """
    record = anki_import.adopt(connection, record)
    new = anki_import.select_new(connection, record)
    is_demo_loaded = shifts.find_stored(connection, LEARNER, review_log.read(LOG))
    if not record.words or is_demo_loaded:
        return new
    known = {word.headword for word in record.words.values()}
    others = [word for word in word_lists.read() if word.headword not in known]
    return [*new[:1], *item_messages(deal(others, [])), *new[1:]]


_ZONE = str(LEARNER.timezone)
_CHOICES_NAMESPACE = UUID("3b8f6f0e-9a37-5c1d-8d5e-2f4f0b6f7d21")

# These dates are not shifted yet. The learner did not study on the rest day. A rest day does not
# break a streak, so the streaks before and after this day become one.
_GOAL_DAY, _GOAL = date(2024, 9, 8), 200
_REST_DAY = date(2024, 8, 24)
_GROUP, _GROUP_NAME = "evening-class", "Evening class"
_LEARNED, _NEW = 31, 9  # words of the task: the last cards of the log, and words without a card
_DUE_ON = date(2024, 10, 10)  # four days after the last day of the log

_TODAY, _LASTS = 210, timedelta(minutes=25)  # answers of the session that is added
_WRONG = 6  # of so many answers, one is wrong
_KNOWN_DAYS = 7  # a word with such an interval is known


class LivingRecord(msgspec.Struct, frozen=True):
    """The messages to load, and the number of days by which the log is shifted."""

    messages: list[Message]
    shifted_days: int


def prepare(connection: Connection, now: datetime, *, as_recorded: bool) -> LivingRecord:
    """Return the record, with shifted or with its original dates.

    If the record is loaded already, use the same shift again, because another shift would add its
    events a second time. Raise StackError if `as_recorded` is set, but a shifted record is loaded.
    """
    answers = review_log.read(LOG)
    stored = shifts.find_stored(connection, LEARNER, answers)
    if as_recorded and stored and stored.days:
        raise StackError(
            f"the demo's record is loaded already, with dates shifted by {stored.days:,} days: to "
            "load it as recorded, run `progress down` and delete the data folder (.progress)"
        )
    if as_recorded or (stored and not stored.days):
        return LivingRecord(messages(), 0)
    start = LEARNER.day_start_hour or 0
    last, today = (local_days.find_day(at, _ZONE, start) for at in (answers[-1].at, now))
    days = stored.days if stored else (today - last).days - 1  # the log ends yesterday
    learner = msgspec.structs.replace(LEARNER, shifted_days=days)
    moved = shifts.shift(answers, days, _ZONE)
    session = [] if stored else study_today(moved, now)
    shifted = messages(learner, [*moved, *session])
    known = cards(answers)
    unit = [*deal(word_lists.read(), known)][len(known) - _LEARNED : len(known) + _NEW]
    task = task_message(_GROUP, unit, _DUE_ON + timedelta(days))
    return LivingRecord([*shifted, task, Message("user-events", list(_choices(days)))], days)


def study_today(answers: Sequence[Answer], now: datetime) -> list[Answer]:
    """Return answers of today to the cards that are due; the last is given now."""
    zone, hour = ZoneInfo(_ZONE), LEARNER.day_start_hour or 0
    today = local_days.find_day(now, _ZONE, hour)
    memories: dict[str, ForgettingState] = {}
    for one in answers:
        day = local_days.find_day(one.at, _ZONE, hour)
        memories[one.card_id] = forgetting.follow(memories.get(one.card_id), day, one.rating)

    def becomes_known(memory: ForgettingState) -> bool:
        after = forgetting.follow(memory, today, 3).interval_days
        return memory.interval_days < _KNOWN_DAYS <= after

    due = [
        (not becomes_known(memory), memory.interval_days, card)
        for card, memory in memories.items()
        if memory.answered_on + timedelta(memory.interval_days) <= today
    ]
    cards = [card for *_, card in sorted(due)[:_TODAY]]
    begin = max(now - _LASTS, datetime(today.year, today.month, today.day, hour, tzinfo=zone))
    return [
        Answer(
            at=(now - (now - begin) * (1 - (n + 1) / _TODAY))
            .astimezone(UTC)
            .replace(microsecond=n),
            card_id=card,
            rating=3 if (n + 1) % _WRONG else 1,
            response_time_ms=3_000 + 611 * n % 4_000,
        )
        for n, card in enumerate(cards)
    ]


def _choices(days: int) -> Iterator[dict[str, Any]]:
    """Yield the goal, the group and the rest day; the log has no such events."""
    user = LEARNER.user_id
    rest_day = _REST_DAY + timedelta(days)
    goal = events.GoalSet(user_id=user, answers_per_day=_GOAL)
    joined = events.LearnerJoinedGroup(user_id=user, group_id=_GROUP, group_name=_GROUP_NAME)
    yield _envelope(goal, _GOAL_DAY + timedelta(days))
    yield _envelope(joined, _GOAL_DAY + timedelta(days))
    yield _envelope(events.RestDayTaken(user_id=user, date=rest_day.isoformat()), rest_day)


def _envelope(event: events.Event, day: date) -> dict[str, Any]:
    kind = type(event).__name__
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(_ZONE))
    return {
        "event_id": str(uuid5(_CHOICES_NAMESPACE, f"{kind} {day}")),
        "event_type": kind,
        "occurred_at": noon.astimezone(UTC),
        "data": msgspec.to_builtins(event),
        "metadata": {"user_id": LEARNER.user_id},
    }
