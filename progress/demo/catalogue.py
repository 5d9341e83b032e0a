"""The demo's catalogue: the words of the CEFR word lists, assigned to the learner's cards.

The review log contains neither the text of a card nor the skill that a word trains. This module
assigns text and skills by a rule, and the demo says so.
"""

import csv
import itertools
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid5

import msgspec

from progress.adapters.pubsub.publisher import Message
from progress.event_store import events
from progress.importers.anki_log import Answer

DATA = Path(__file__).resolve().parent.parent.parent / "data"
WORD_LISTS = ("cefrj-vocabulary-profile-1.5.csv", "octanove-vocabulary-profile-c1c2-1.0.csv")
RULE = "each level gets half as many as the level below, and parts of speech determine the skills"

_LEVELS = ("A1", "A2", "B1", "B2", "C1", "C2")
_DOMAINS = {"noun": "RW", "verb": "LS", "adjective": "RL", "adverb": "WS"}
_ALL_DOMAINS = "RWLS"
_PUBLISHED_AT = datetime(2024, 1, 1, tzinfo=UTC)
_ITEMS_PER_MESSAGE = 1_000
_NAMESPACE = UUID("8f0f3c0a-3f5e-5d53-8a54-0d8f1f0c9b42")


class Word(msgspec.Struct, frozen=True):
    """A headword with its lowest level and the domains of all its parts of speech."""

    headword: str
    level: events.Level
    domains: list[events.Domain]  # in the order R, W, L, S


def words(folder: Path = DATA) -> list[Word]:
    """Return the headwords of all lists, once each, from the easiest level to the hardest."""
    levels: dict[str, str] = {}
    domains: dict[str, set[str]] = {}
    for row in _rows(folder):
        headword, level = row["headword"].strip(), row["CEFR"]
        levels[headword] = min(level, levels.get(headword, level))
        domains.setdefault(headword, set()).update(_DOMAINS.get(row["pos"], _ALL_DOMAINS))
    rows = (
        {"headword": word, "level": levels[word], "domains": _in_order(domains[word])}
        for word in levels
    )
    return sorted(
        msgspec.convert(list(rows), list[Word]), key=lambda word: (word.level, word.headword)
    )


def deal(words: Iterable[Word], cards: Iterable[str]) -> dict[str, Word]:
    """Return all words by item id. Each level gets half as many card ids as the level below it.

    Words that get no card have an id such as `word-apple`. Within a level, a hash of the word
    decides which words get a card.
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
    )
    return {
        "event_id": str(uuid5(_NAMESPACE, msgspec.json.encode(item).decode())),
        "event_type": "ItemPublished",
        "occurred_at": _PUBLISHED_AT,
        "data": item,
    }


def _rows(folder: Path) -> Iterator[dict[str, str]]:
    for name in WORD_LISTS:
        with (folder / name).open(encoding="utf-8", newline="") as text:
            yield from csv.DictReader(text)


def _in_order(domains: set[str]) -> list[str]:
    return [domain for domain in _ALL_DOMAINS if domain in domains]
