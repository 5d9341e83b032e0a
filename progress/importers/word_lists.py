"""The CEFR word lists: English headwords with their levels."""

import csv
import functools
from collections.abc import Iterator
from pathlib import Path

import msgspec

from progress import files
from progress.event_store import events

DATA = files.ROOT / "data"
WORD_LISTS = ("cefrj-vocabulary-profile-1.5.csv", "octanove-vocabulary-profile-c1c2-1.0.csv")
LANGUAGE = "en"

_DOMAINS = {"noun": "RW", "verb": "LS", "adjective": "RL", "adverb": "WS"}
_ALL_DOMAINS = "RWLS"
_TOPIC = "CoreInventory 1"  # a column of the first list


class Word(msgspec.Struct, frozen=True):
    """A headword with its lowest level, and the domains and topics of all its parts of speech."""

    headword: str
    level: events.Level
    domains: list[events.Domain]  # in the order R, W, L, S
    topics: list[str]  # of the Core Inventory


@functools.cache
def read(folder: Path = DATA) -> list[Word]:
    """Return the headwords of all lists, once each, from the easiest level to the hardest."""
    levels: dict[str, str] = {}
    domains: dict[str, set[str]] = {}
    topics: dict[str, set[str]] = {}
    for row in _rows(folder):
        headword, level = row["headword"].strip(), row["CEFR"]
        levels[headword] = min(level, levels.get(headword, level))
        domains.setdefault(headword, set()).update(_DOMAINS.get(row["pos"], _ALL_DOMAINS))
        topics.setdefault(headword, set()).add(row.get(_TOPIC, ""))
    rows = (
        {
            "headword": word,
            "level": levels[word],
            "domains": [domain for domain in _ALL_DOMAINS if domain in domains[word]],
            "topics": sorted(topics[word] - {""}),
        }
        for word in levels
    )
    return sorted(
        msgspec.convert(list(rows), list[Word]), key=lambda word: (word.level, word.headword)
    )


def _rows(folder: Path) -> Iterator[dict[str, str]]:
    for name in WORD_LISTS:
        with (folder / name).open(encoding="utf-8", newline="") as text:
            yield from csv.DictReader(text)
