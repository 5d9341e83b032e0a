"""The CEFR word lists: English headwords with their levels."""

import csv
import functools
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
    levels: dict[str, str] = {}
    domains: dict[str, set[str]] = {}
    topics: dict[str, set[str]] = {}
    rows: list[dict[str, str]] = []
    for name in WORD_LISTS:
        with (folder / name).open(encoding="utf-8", newline="") as text:
            rows += csv.DictReader(text)
    for row in rows:
        headword, level = row["headword"].strip(), row["CEFR"]
        levels[headword] = min(level, levels.get(headword, level))
        domains.setdefault(headword, set()).update(_DOMAINS.get(row["pos"], _ALL_DOMAINS))
        topics.setdefault(headword, set()).add(row.get(_TOPIC, ""))
    words = [
        {
            "headword": word,
            "level": levels[word],
            "domains": [domain for domain in _ALL_DOMAINS if domain in domains[word]],
            "topics": sorted(topics[word] - {""}),
        }
        for word in sorted(levels, key=lambda word: (levels[word], word))
    ]
    return msgspec.convert(words, list[Word])
