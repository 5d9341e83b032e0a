"""The user's own Anki record, for the demo."""

from pathlib import Path

from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub.publisher import Message
from progress.demo import catalogue, loading
from progress.importers import anki_events, anki_import, anki_log, shifts, word_lists
from progress.importers.anki_import import Record


def read(file: Path, user: str) -> Record:
    """Return the record in the file; raise ReviewLogError if the file cannot be read."""
    return anki_import.read(file, anki_events.Learner(user))


def messages(connection: Connection, record: Record) -> list[Message]:
    """Return the record's new messages, and the words of the CEFR lists that are on no card.

    With these words, the charts show how much of each level is left to learn. The words are omitted
    if no card has a word of the lists. They are also omitted if the demo's own catalogue is loaded,
    because this catalogue has every word.
    """
    new = anki_import.select_new(connection, record)
    is_demo_loaded = shifts.find_stored(connection, loading.LEARNER, anki_log.read(loading.LOG))
    if not record.words or is_demo_loaded:
        return new
    known = {word.headword for word in record.words.values()}
    others = [word for word in word_lists.read() if word.headword not in known]
    return [*new[:1], *catalogue.messages(catalogue.deal(others, [])), *new[1:]]
