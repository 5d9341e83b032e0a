"""Convert an Anki package, an Anki collection or a review log to messages."""

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self
from uuid import UUID, uuid5

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub.publisher import Message
from progress.errors import ReviewLogError
from progress.event_store import events, learner_post_check, time_zones
from progress.importers import anki_collection, anki_events, lists, review_log, word_lists
from progress.importers.anki_collection import Card
from progress.importers.anki_events import Envelope, Learner, RecordedChoice, RecordedSession
from progress.importers.local_days import Preference
from progress.importers.review_log import EARLIEST, LATEST, Answer, Answers, Fault
from progress.importers.review_rows import Row
from progress.importers.word_lists import Word

_FILE = "importers/anki_recorded"
_ZONE_FILE = Path("/etc/localtime")  # on Linux and macOS, a link into the time-zone database
NO_ANSWERS = "the review log has no answers"
_EVENTS_PER_MESSAGE = 1_000
# The least share of the cards' words that the lists must contain if no language is given.
_LEAST_SHARE = 0.25
_OWN = "anki-"  # begins the ids of a learner's own items
_DECK = "deck-"  # begins the id of the list that a deck of a review log is
_SPARE = "Imported words"  # the name of the deck of words without one
_FLOAT = re.compile(r"-?[0-9]+\.0")
_NAMESPACE = UUID("0b0a2f52-4f0e-5b7e-8c66-7f3d2b1a9c55")

# Removed for the look-up, because the lists have verbs without "to" and nouns without an article.
_PARTICLE = re.compile(r"^(?:to|a|an|the) (?=\S)")
_KANA, _HANGUL = re.compile("[\u3041-\u30fa]"), re.compile("[\uac00-\ud7a3]")


class Record(anki_collection.Collection, frozen=True, kw_only=True):
    """What a file, a collection or a review log, has of a learner.

    `words` maps the id of a card to the card's word in the CEFR word lists. A review log has no
    states, and the cards of which it has a word or a kind. With `in_catalogue`, the words are in
    the catalogue that everybody reads, else they are the learner's own. If `is_whole`, the file has
    all decks. `left_out` has the numbers of what is left out, and `faults` say why rows are.
    `recorded` is what the log has of lists; of the cards and lists that are `outdated`, a newer
    file was imported.
    """

    learner: anki_events.Learner
    words: dict[str, Word] = msgspec.field(default_factory=dict)
    language: str | None = None
    is_collection: bool = False
    in_catalogue: bool = False
    is_whole: bool = False
    faults: list[Fault] = msgspec.field(default_factory=list)
    recorded: lists.Recorded = lists.NOTHING
    outdated: frozenset[str] = frozenset()

    @property
    def rows(self) -> int:
        return len(self.answers) + sum(self.left_out.values())

    def messages(
        self,
        recorded: Sequence[RecordedSession] = (),
        preferences: Sequence[Preference] = (),
        choices: Mapping[str, RecordedChoice] = MappingProxyType({}),
        find_recorded: Callable[[Answer], str | None] = lambda _: None,
    ) -> list[Message]:
        """Return messages: with the preferences, the cards, the lists, the sessions, the rest.

        `recorded` are the sessions of earlier imports, oldest first, and `preferences` and
        `choices` the learner's recorded ones. What the file says of the present counts as of the
        file's time.
        """
        who, answers = self.learner, self.answers
        sessions = [*anki_events.messages(who, answers, recorded, preferences, find_recorded)]
        items = map(self._describe, self.cards if self.in_catalogue else ())
        states = [state for state in self.states if state.card_id not in self.outdated]
        changed = anki_events.change_cards(who, states, self.moves, answers, choices)
        described = [*pack(events.VOCABULARY, items), *pack(events.USER, self._change_lists())]
        rest = [*pack(events.ALGORITHM, changed), *pack(events.USER, self._mark())]
        return [*sessions[:1], *described, *sessions[1:], *rest]

    def _change_lists(self) -> list[Envelope]:
        # The lists whose ids a review log says: devices send them, too.
        own = {answer.list_id for answer in self.answers if answer.list_id}
        known = {
            key: state
            for key, state in self.recorded.states.items()
            if key[0].startswith(self._prefix()) or key[0] in own
        }
        changes = self._move_items(known, own)
        used = own | {
            key[0] for key in (*_find_listed(known), *changes) if changes.get(key, {}) is not None
        }
        changes |= self._name_lists([place for place, _ in known], used)
        return lists.make(changes, self._changed_at(), self.recorded, self.learner.user_id)

    def _changed_at(self) -> datetime:
        return max([self.changed_at, *(answer.at for answer in self.answers[-1:])])

    def _told_at(self) -> datetime:
        """Return the file's time; a collection that does not say it counts as the newest file."""
        return LATEST if self.changed_at == EARLIEST else self._changed_at()

    def _prefix(self) -> str:
        return anki_collection.LIST if self.is_collection else _DECK

    def _find_homes(self) -> dict[str, str]:
        words = () if self.in_catalogue else self.cards
        return dict.fromkeys((card.card_id for card in words), self._spare()) | self.decks

    def compare(self, recorded: lists.Recorded) -> Self:
        """Return the record with what the log has of lists, and with what newer files outdate.

        Beside a newer file, the record's preferences are defaults.
        """
        newer = {one for at, places in recorded.files if at > self._told_at() for one in places}
        pairs = [(place, card) for card, place in self._find_homes().items()]
        pairs += [(self._prefix(), state.card_id) for state in self.states]
        keys = [key for key in (*recorded.states, *pairs) if newer & {key[0], self._prefix()}]
        outdated = frozenset(newer | {one for key in keys for one in key if one})
        defaults = ("timezone", "day_start_hour") if outdated else self.learner.defaults
        who = msgspec.structs.replace(self.learner, defaults=defaults)
        return msgspec.structs.replace(self, learner=who, recorded=recorded, outdated=outdated)

    def _mark(self) -> list[Envelope]:
        """Return the event that says how new the file is, unless one says as much of its lists."""
        scope = [self._prefix()] if self.is_whole else sorted({*self._find_homes().values()})
        at = self._told_at()
        known = {one for since, places in self.recorded.files if since >= at for one in places}
        is_known = self._prefix() in known or known.issuperset(scope)
        return [] if is_known or at == LATEST else [anki_events.mark_file(self.learner, at, scope)]

    def _is_newer(self, one: str, since: datetime) -> bool:
        """Return whether the file says more of a card or a list than what is recorded `since`."""
        return one not in self.outdated and self._told_at() > since - timedelta(seconds=1)

    def _move_items(self, known: lists.States, own: set[str]) -> lists.Changes:
        """Return the items that leave their lists, and those that come or have another word."""
        listed = _find_listed(known)
        moved_at: dict[str | None, datetime] = {}
        for (_, item), (_, at) in known.items():
            moved_at[item] = max(at, moved_at.get(item, EARLIEST))
        words = self._find_words()
        # A word without a deck keeps its list, that of a device, too, or comes into ours.
        homes: dict[str, str | None] = {**dict.fromkeys(words, self._spare())}
        anywhere = _find_listed(self.recorded.states)
        homes |= {item: place for place, item in (*anywhere, *listed) if item in words}
        homes |= dict.fromkeys(state.card_id for state in self.states) | self.decks

        def is_there(item: str) -> bool:
            return self.recorded.find((homes.get(item) or "", item))[0] is not None

        changes: lists.Changes = {
            (place, item): None
            for place, item in listed
            if item in homes or self.is_whole or (self.is_collection and place in self.deck_names)
            if homes.get(item) != place
            if self._is_newer(item, moved_at[item]) or (is_there(item) and place not in own)
        }
        for item, home in homes.items():
            word, since = self.recorded.words.get(item, lists.NO_WORD)
            is_said = words.get(item, word) != word and self._is_newer(item, since)
            moved = moved_at.get(item, EARLIEST)
            if home and (is_said if is_there(item) else self._is_newer(item, moved)):
                changes[home, item] = words[item] if is_said else {}
        positions = self._find_positions(moved_at)
        for key in (*changes, *listed):
            former, fields = self.recorded.find(key)[0] or {}, changes.get(key, {})
            position = positions.get(key[1], former.get("position"))
            if fields is not None and (fields or position != former.get("position")):
                changes[key] = fields | ({} if position is None else {"position": position})
        return changes

    def _find_positions(self, moved_at: dict[str | None, datetime]) -> dict[str | None, int]:
        """Return the cards' places in their lists, which they keep.

        That of a new card is Anki's. Cards that no file had as new ones come later, by number.
        """
        known, begin, met = self.recorded.positions, self._prefix(), anki_collection.MET
        found = {item: n for (at, item), n in known.items() if at.startswith(begin)}
        last = max([met - 1, *found.values()])
        for card, position in self.positions.items():
            is_newer = self._is_newer(card, moved_at.get(card, EARLIEST))
            if is_newer or found.get(card, met) >= met:
                found[card] = position
        rest = [card for card in self.decks if self.is_collection and card not in found]
        return found | {card: min(last + n, lists.LAST) for n, card in enumerate(rest, 1)}

    def _spare(self) -> str:
        return _find_deck(self.learner, _SPARE)

    def _name_lists(self, known: list[str], used: set[str]) -> lists.Changes:
        names = self.deck_names | ({} if self.is_collection else {self._spare(): _SPARE})
        changes: lists.Changes = {}
        for place in dict.fromkeys([*names, *known]):
            former, since = self.recorded.find((place, None))
            fields = (former or {}) | {"name": names.get(place)} if place in used else None
            is_said = place in names or fields is None
            if fields != former and is_said and self._is_newer(place, since):
                changes[place, None] = fields
        return changes

    def _find_words(self) -> dict[str, lists.Fields]:
        if self.in_catalogue:
            return {}
        words = {card: lists.describe_word("") for card in self.decks if self.is_collection}
        named = (card for card in self.cards if card.word)
        return words | {one.card_id: lists.describe_word(one.word, one.kind) for one in named}

    def _describe(self, card: Card) -> Envelope:
        """Return the card as an `ItemPublished` event, whose id is deterministic.

        A card whose note was changed since the last import gets a new event. The domains stay
        empty, because a collection does not say which skill a card trains.
        """
        word = self.words.get(card.card_id)
        language = self.language or (word_lists.LANGUAGE if word else _guess_language(card.word))
        item = events.ItemPublished(
            item_id=card.card_id,
            domains=[],
            cefr_level=word.level if word else None,
            headword=card.word or None,
            language=language,
            kind=card.kind,
        )
        data = msgspec.to_builtins(item)
        changed_at = card.changed_at
        if card.kind is None:
            del data["kind"]  # as in earlier versions, so that the event keeps its id
        else:
            changed_at += timedelta(microseconds=1)  # after the event of an earlier version
        key = msgspec.json.encode([data, changed_at]).decode()
        return {
            "event_id": str(uuid5(_NAMESPACE, key)),
            "event_type": "ItemPublished",
            "occurred_at": changed_at,
            "data": {name: v for name, v in data.items() if v is not None},
        }


def _find_listed(states: lists.States) -> list[tuple[str, str]]:
    return [(place, item) for (place, item), (now, _) in states.items() if item and now is not None]


def read(
    file: Path,
    learner: anki_events.Learner,
    language: str | None = None,
    *,
    in_catalogue: bool = False,
    zone: str | None = None,
) -> Record:
    """Return the record in the file; the recorded `zone` is for a collection.

    Raise ReviewLogError if the file cannot be read or has no answers.

    For a collection, preferences of `learner` that are None get default values: `zone` or that of
    this machine, and the collection's start of the day. `language` is the language of the cards'
    words, if it is known.
    """
    if not anki_collection.is_collection(file):
        found = review_log.read_log(file)
        if not found.answers:
            raise ReviewLogError(f"{file}: {NO_ANSWERS}")
        return _make_record(learner, found, language, in_catalogue=in_catalogue)
    zone = learner.timezone or zone or find_machine_zone()
    collection = anki_collection.read(file, zone or "UTC")
    hour = learner.day_start_hour
    completed = msgspec.structs.replace(
        learner,
        timezone=zone,
        day_start_hour=collection.day_start_hour if hour is None else hour,
        defaults=("timezone",) * (not learner.timezone) + ("day_start_hour",) * (hour is None),
    )
    return Record(
        learner=completed,
        **msgspec.structs.asdict(collection),
        words=find_levels(collection.cards, language, word_lists.read()) if in_catalogue else {},
        language=language,
        is_collection=True,
        in_catalogue=in_catalogue,
        is_whole=file.suffix != ".apkg",  # which may have a part of the decks
    )


def read_rows(
    rows: Iterable[Row],
    columns: dict[str, int],
    learner: Learner,
    language: str | None,
    *,
    in_catalogue: bool,
    connection: Connection | None = None,
    keep_floats: bool = False,
) -> Iterator[Record]:
    """Yield the record of each learner, whose rows stand together.

    If `learner` has the id '', rows name their learners. The zone of `learner` is that of learners
    whose rows have none. A record may have only faults. Raise ReviewLogError for an id that the log
    has as a float, or keep it.
    """
    for user, own_rows in itertools.groupby(rows, key=attrgetter("user")):
        found = review_log.parse(own_rows, columns)
        own = msgspec.structs.replace(
            learner, user_id=learner.user_id or user, timezone=found.zone or learner.timezone
        )
        if connection:
            own, found = _find_floats(connection, own, found, keep=keep_floats)
        yield _make_record(own, found, language, in_catalogue=in_catalogue)


def _find_floats(
    connection: Connection, learner: Learner, found: Answers, *, keep: bool
) -> tuple[Learner, Answers]:
    """Return the learner and the answers with the ids that a version up to 0.4 took for floats."""

    def keep_float(one: Answer) -> Answer:
        former = f"{one.card_id}.0"
        return msgspec.structs.replace(one, card_id=former) if former in items else one

    former = msgspec.structs.replace(learner, user_id=f"{learner.user_id}.0")
    is_float = _FLOAT.fullmatch(former.user_id) and _read(connection, "items", former)
    learner = former if is_float else learner
    items = {item for (item,) in _read(connection, "items", learner) if _FLOAT.fullmatch(item)}
    answers = [*map(keep_float, found.answers)]
    changed = [answer.card_id for answer in answers if answer.card_id in items]
    if (is_float or changed) and not keep:
        item = f" with the item {changed[0]}" if changed else ""
        raise ReviewLogError(
            f"an earlier version recorded the learner {learner.user_id}{item}, whose id is no "
            "float: add --keep-floats to go on with such ids, or erase this learner, and import "
            "the file again"
        )
    return learner, msgspec.structs.replace(found, answers=answers)


def _make_record(
    learner: Learner, found: Answers, language: str | None, *, in_catalogue: bool
) -> Record:
    cards = _find_cards(found.answers)
    decks, names = dict[str, str](), dict[str, str]()
    for answer in found.answers:
        if answer.deck or answer.list_id:
            list_id = answer.list_id or _find_deck(learner, answer.deck or "")
            decks[answer.card_id] = list_id
            names |= {list_id: answer.deck} if answer.deck else {}
    return Record(
        learner=learner,
        answers=found.answers,
        cards=cards,
        words=find_levels(cards, language, word_lists.read()) if in_catalogue else {},
        language=language,
        left_out=found.left_out,
        in_catalogue=in_catalogue,
        decks=decks,
        deck_names={place: names[place] for place in {*decks.values()} & names.keys()},
        changed_at=found.answers[-1].at if found.answers else EARLIEST,
        faults=found.faults,
    )


def _find_deck(learner: Learner, name: str) -> str:
    """Return the list that a deck of this name is in a review log; the id says nothing."""
    return _DECK + learner_post_check.own_id(learner.user_id, name)


def adopt(connection: Connection | None, record: Record) -> Record:
    """Return the record with the items that its cards are; without a connection, all are new.

    A card that the log has of this learner keeps its item. A new one is an item of the learner's
    own, because cards of other learners may have the same number, unless it is of the catalogue. A
    review log says itself which items its cards are.
    """
    if not record.is_collection:
        return record
    user = record.learner.user_id
    rows = _read(connection, "items", record.learner) if connection else []
    known = {item for (item,) in rows}

    @functools.cache
    def find_item(card: str) -> str:
        own = _OWN + learner_post_check.own_id(user, card)
        is_shared = own not in known and (card in known or record.in_catalogue)
        return card if is_shared else own

    def adopt_all(parts: Iterable[Any]) -> list[Any]:
        return [msgspec.structs.replace(one, card_id=find_item(one.card_id)) for one in parts]

    return msgspec.structs.replace(
        record,
        answers=adopt_all(record.answers),
        cards=adopt_all(record.cards),
        states=adopt_all(record.states),
        moves=adopt_all(record.moves),
        words={find_item(card): word for card, word in record.words.items()},
        decks={find_item(card): list_id for card, list_id in record.decks.items()},
        positions={find_item(card): place for card, place in record.positions.items()},
    )


def _find_cards(answers: Iterable[Answer]) -> list[Card]:
    """Return the cards of a log, each as its last answer describes it, and since when."""
    cards: dict[str, Card] = {}
    for answer in answers:
        card = Card(answer.card_id, answer.word, answer.at, answer.kind)
        former = cards.get(card.card_id)
        is_same = former and (former.word, former.kind) == (card.word, card.kind)
        if (card.word or card.kind) and not is_same:
            cards[card.card_id] = card
    return [*cards.values()]


def find_zone(connection: Connection, user_id: str) -> str | None:
    """Return the latest recorded time zone of the learner, in which the days of cards count."""
    rows = _read(connection, "preference events", Learner(user_id))
    return next((zone for _, _, zone, _ in reversed(rows) if zone), None)


def find_machine_zone() -> str | None:
    """Return the IANA zone of this machine; None if it cannot be determined."""
    name = str(_ZONE_FILE.resolve()).rpartition("/zoneinfo/")[2]
    return name if name in time_zones.names() else None


def find_levels(
    cards: Sequence[Card], language: str | None, words: Sequence[Word]
) -> dict[str, Word]:
    """Look up the cards' words in the English lists; return the listed words by card id.

    A card whose word is not listed is left out. If no language is given and the lists have less
    than a quarter of the words, return no words. The few matches may then be coincidences, because
    many words of other languages are spelt like an English word.
    """
    if language is not None and language.partition("-")[0].lower() != word_lists.LANGUAGE:
        return {}
    listed = {word.headword.casefold(): word for word in words}
    found = {
        card.card_id: word
        for card in cards
        for text in (card.word.casefold(),)
        if (word := listed.get(text) or listed.get(_PARTICLE.sub("", text)))
    }
    return found if language or len(found) >= _LEAST_SHARE * len(cards) else {}


def pack(topic: str, events_: Iterable[Envelope]) -> Iterator[Message]:
    remaining = iter(events_)
    while batch := list(itertools.islice(remaining, _EVENTS_PER_MESSAGE)):
        yield Message(topic, batch)


def _guess_language(text: str) -> str | None:
    return "ja" if _KANA.search(text) else "ko" if _HANGUL.search(text) else None


def select_new(connection: Connection, record: Record) -> list[Message]:
    """Return the record's messages without what is recorded, by whichever program.

    A recorded session keeps its score and its duration.
    """
    rows = _read(connection, "preference events", record.learner)
    preferences = [Preference(*row) for row in rows]
    choices = _read_choices(connection, record.learner)
    sessions = _read_sessions(connection, record.learner)
    own = lists.read(connection, f"learner-{record.learner.user_id}")
    own = msgspec.structs.replace(own, files=_read(connection, "files", record.learner))
    find_recorded = _find_recorded(connection, record)
    made = record.compare(own).messages(sessions, preferences, choices, find_recorded)
    messages = omit_former(connection, made)
    event_ids = [event["event_id"] for message in messages for event in message.events]
    rows = database.run(connection, _FILE, "recorded", event_ids=event_ids)
    known = {event_id for (event_id,) in rows}
    return _select(messages, lambda event: [event] if event["event_id"] not in known else [])


def _find_recorded(connection: Connection, record: Record) -> Callable[[Answer], str | None]:
    """Return a function that finds the session of an answer that the log has, whoever sent it.

    It returns "" for an answer without a session, and None for one that is not recorded.

    Times are compared in milliseconds, or in seconds if the file has only whole ones. Of an answer
    whose review an import up to version 0.3 did not record, `omit_former` returns this review.
    """
    learner = record.learner
    is_whole = all(answer.at.microsecond == 0 for answer in record.answers)
    unit = timedelta(seconds=1) if is_whole else timedelta(milliseconds=1)
    rows = _read(connection, "answers", learner)
    ids = {event_id: session_id for event_id, *_, session_id in rows}

    def lacks_review(event_id: str, kind: str, item: str, at: datetime) -> bool:
        own = anki_events.derive_id(learner, kind, at, {"item_id": item})
        review = anki_events.derive_id(learner, "ReviewProcessed", at, {"item_id": item})
        return kind != "CardReviewed" and event_id == own and review not in ids

    found = {
        (item, (at - EARLIEST) // unit): session_id
        for event_id, kind, item, at, session_id in rows
        if kind != "ReviewProcessed" and not lacks_review(event_id, kind, item, at)
    }

    def find(answer: Answer) -> str | None:
        sent = answer.sent_id and learner_post_check.posted_id(learner.user_id, answer.sent_id)
        return ids.get(sent, found.get((answer.card_id, (answer.at - EARLIEST) // unit)))

    return find


def omit_former(connection: Connection, messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages without what an earlier version imported as other events.

    These are answers, of which version 0.3 made two events, and completions, whose durations were
    others up to version 0.4. If only one of two events is recorded, return the other instead.
    """
    of_cards = [e for m in messages for e in m.events if e["event_type"] == "CardReviewed"]
    streams = {f"learner-{event['metadata']['user_id']}" for event in of_cards}
    known = {id_ for (id_,) in database.run(connection, _FILE, "former", stream_ids=[*streams])}
    if not known:
        return messages

    def complete(event: Envelope) -> list[Envelope]:
        if event["event_type"] == "SessionCompleted":
            return [] if event["data"]["session_id"] in known else [event]
        if event["event_type"] != "CardReviewed":
            return [event]
        missing = [e for e in anki_events.convert_to_former(event) if e["event_id"] not in known]
        return [event] if len(missing) == 2 else missing

    return _select(messages, complete)


def _select(
    messages: Sequence[Message], convert: Callable[[Envelope], list[Envelope]]
) -> list[Message]:
    """Return the messages with converted events, without those that have none."""
    converted = [(m.topic, [new for event in m.events for new in convert(event)]) for m in messages]
    return [Message(topic, events_) for topic, events_ in converted if events_]


def _read_sessions(connection: Connection, learner: Learner) -> list[RecordedSession]:
    """Return the sessions that were imported from Anki, oldest first; omit those of other apps."""
    return [
        RecordedSession(session_id, begin, end, (at, event_id), (ended, score) if ended else None)
        for session_id, begin, end, event_id, at, data, ended, score in _read(
            connection, "sessions", learner
        )
        if event_id == anki_events.derive_id(learner, "SessionStarted", at, data)
    ]


def _read_choices(connection: Connection, learner: Learner) -> dict[str, RecordedChoice]:
    choices = {}
    for item, event_id, kind, at in _read(connection, "choices", learner):
        is_own = event_id == anki_events.derive_id(learner, kind, at, {"item_id": item})
        choices[item] = RecordedChoice(kind == "ItemSetAside", at, is_own)
    return choices


def _read(connection: Connection, block: str, learner: Learner) -> Any:
    return database.run(connection, _FILE, block, stream_id=f"learner-{learner.user_id}")
