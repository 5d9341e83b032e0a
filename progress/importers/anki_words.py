"""Convert the cards of a collection to items of the catalogue, with levels from the word lists."""

import itertools
import re
from collections.abc import Iterator, Sequence
from uuid import UUID, uuid5

import msgspec

from progress.adapters.pubsub.publisher import Message
from progress.event_store import events
from progress.importers import word_lists
from progress.importers.anki_collection import Card
from progress.importers.word_lists import Word

_ITEMS_PER_MESSAGE = 1_000
# The least share of the cards' words that the lists must contain if no language is given.
_LEAST_SHARE = 0.25
_NAMESPACE = UUID("0b0a2f52-4f0e-5b7e-8c66-7f3d2b1a9c55")

# Removed for the look-up, because the lists have verbs without "to" and nouns without an article.
_PARTICLE = re.compile(r"^(?:to|a|an|the) (?=\S)")
_KANA, _HANGUL = re.compile("[\u3041-\u30fa]"), re.compile("[\uac00-\ud7a3]")


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
        card.card_id: word for card in cards if (word := _look_up(card.word.casefold(), listed))
    }
    return found if language or len(found) >= _LEAST_SHARE * len(cards) else {}


def _look_up(text: str, listed: dict[str, Word]) -> Word | None:
    return listed.get(text) or listed.get(_PARTICLE.sub("", text))


def messages(
    cards: Sequence[Card], levels: dict[str, Word], language: str | None
) -> Iterator[Message]:
    """Yield the cards as `ItemPublished` events, with deterministic ids.

    A card whose note was changed since the last import gets a new event. The domains stay empty,
    because a collection does not say which skill a card trains.
    """
    remaining = iter(cards)
    while batch := list(itertools.islice(remaining, _ITEMS_PER_MESSAGE)):
        items = [_publish_event(card, levels.get(card.card_id), language) for card in batch]
        yield Message("vocabulary-events", items)


def _publish_event(card: Card, word: Word | None, language: str | None) -> dict[str, object]:
    item = events.ItemPublished(
        item_id=card.card_id,
        domains=[],
        cefr_level=word.level if word else None,
        headword=card.word,
        language=language or (word_lists.LANGUAGE if word else _guess_language(card.word)),
    )
    key = msgspec.json.encode([item, card.changed_at]).decode()
    return {
        "event_id": str(uuid5(_NAMESPACE, key)),
        "event_type": "ItemPublished",
        "occurred_at": card.changed_at,
        "data": {name: v for name, v in msgspec.structs.asdict(item).items() if v is not None},
    }


def _guess_language(text: str) -> str | None:
    """Return `ja` for a text with kana, `ko` for a text with Hangul, else None."""
    if _KANA.search(text):
        return "ja"
    return "ko" if _HANGUL.search(text) else None
