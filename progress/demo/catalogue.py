"""The demo's catalogue: the words of the CEFR word lists, assigned to the learner's cards.

The review log contains neither the text of a card nor the skill that a word trains. This module
assigns text and skills by a rule, and the demo says so.
"""

import itertools
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid5

import msgspec

from progress.adapters.pubsub.publisher import Message
from progress.event_store import events
from progress.importers import word_lists
from progress.importers.anki_log import Answer
from progress.importers.word_lists import Word

RULE = (
    "each level gets half as many cards as the level below it; the part of speech of a word "
    "determines its skills"
)

_LEVELS = ("A1", "A2", "B1", "B2", "C1", "C2")
_PUBLISHED_AT = datetime(2024, 1, 1, tzinfo=UTC)
_ITEMS_PER_MESSAGE = 1_000
_NAMESPACE = UUID("8f0f3c0a-3f5e-5d53-8a54-0d8f1f0c9b42")


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
    ids = itertools.chain(cards, itertools.repeat(None))
    return {
        card or f"word-{word.headword}": word for card, (_, word) in zip(ids, ranked, strict=False)
    }


def cards(answers: Iterable[Answer]) -> list[str]:
    """Return the cards in the order of their first answer; `answers` are oldest first."""
    return list(dict.fromkeys(answer.card_id for answer in answers))


def messages(items: dict[str, Word]) -> Iterator[Message]:
    """Yield the items as `ItemPublished` events, 1,000 per message, with deterministic ids."""
    remaining = iter(items.items())
    while batch := list(itertools.islice(remaining, _ITEMS_PER_MESSAGE)):
        yield Message("vocabulary-events", [_publish_event(*item) for item in batch])


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
