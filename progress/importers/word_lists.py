"""The CEFR word lists: English headwords with their levels."""

import csv
import functools
from collections import defaultdict
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
    entries = defaultdict[str, list[dict[str, str]]](list)
    for name in WORD_LISTS:
        with (folder / name).open(encoding="utf-8", newline="") as text:
            for row in csv.DictReader(text):
                entries[row["headword"].strip()].append(row)
    words = []
    for headword, rows in entries.items():
        level = min(row["CEFR"] for row in rows)
        domains = {one for row in rows for one in _DOMAINS.get(row["pos"], _ALL_DOMAINS)}
        topics = sorted({row.get(_TOPIC, "") for row in rows} - {""})
        words.append((level, headword, sorted(domains, key=_ALL_DOMAINS.index), topics))
    names = ("level", "headword", "domains", "topics")
    return msgspec.convert(
        [dict(zip(names, one, strict=True)) for one in sorted(words)], list[Word]
    )
