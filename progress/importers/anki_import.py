"""Convert an Anki package, an Anki collection or a review log in CSV to messages."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from progress.adapters.pubsub.publisher import Message
from progress.errors import ReviewLogError
from progress.event_store import time_zones
from progress.importers import (
    anki_collection,
    anki_events,
    anki_log,
    anki_package,
    anki_words,
    word_lists,
)
from progress.importers.anki_collection import Card
from progress.importers.anki_events import RecordedSession
from progress.importers.anki_log import Answer
from progress.importers.word_lists import Word

_ZONE_FILE = Path("/etc/localtime")  # on Linux and macOS, a link into the time-zone database


class Record(msgspec.Struct, frozen=True):
    """A learner's answers (oldest first) and cards, both from an Anki file.

    `words` maps the id of a card to the card's word in the CEFR word lists. A review log in CSV has
    no cards.
    """

    learner: anki_events.Learner
    answers: list[Answer]
    cards: list[Card] = []
    words: dict[str, Word] = {}
    language: str | None = None

    def messages(self, recorded: Sequence[RecordedSession] = ()) -> list[Message]:
        """Return messages: one with the `UserCreated` event, then the cards, then the sessions.

        `recorded` are the sessions of earlier imports, oldest first.
        """
        sessions = list(anki_events.messages(self.learner, self.answers, recorded))
        items = anki_words.messages(self.cards, self.words, self.language)
        return [*sessions[:1], *items, *sessions[1:]]


def read(file: Path, learner: anki_events.Learner, language: str | None = None) -> Record:
    """Return the record in the file.

    Raise ReviewLogError if the file cannot be read or has no answers.

    For a collection, preferences of `learner` that are None get default values: the time zone of
    this machine, and the collection's start of the day. `language` is the language of the cards'
    words, if it is known.
    """
    try:
        is_collection = anki_package.is_collection(file)
    except OSError:
        is_collection = False  # anki_log.read reports the error
    if not is_collection:
        answers = anki_log.read(file)
        if not answers:
            raise ReviewLogError(f"{file}: the review log has no answers")
        return Record(learner, answers)
    collection = anki_collection.read(file)
    hour = learner.day_start_hour
    completed = msgspec.structs.replace(
        learner,
        timezone=learner.timezone or find_machine_zone(),
        day_start_hour=collection.day_start_hour if hour is None else hour,
    )
    words = anki_words.find_levels(collection.cards, language, word_lists.read())
    return Record(completed, collection.answers, collection.cards, words, language)


def find_machine_zone() -> str | None:
    """Return the IANA zone of this machine; None if it cannot be determined."""
    name = str(_ZONE_FILE.resolve()).rpartition("/zoneinfo/")[2]
    return name if name in time_zones.names() else None
