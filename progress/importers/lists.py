"""Lists of items: what a file says, and the events that make the recorded lists so.

A file says what its lists are at the time of its last change. What was recorded later stays,
because the file may be an old one.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import ReviewLogError
from progress.importers import csv_rows
from progress.importers.anki_events import Envelope
from progress.importers.anki_log import EARLIEST

Fields = dict[str, Any]
Key = tuple[str, str | None]  # a list and an item in it, or None for the list itself
Changes = dict[Key, Fields | None]  # None: the list is archived, the item is not listed

_NAMESPACE = UUID("e0f1ad0c-3f5b-5a7e-9d43-6b0c1d7e2f58")
_FIELDS = {
    "ListPublished": ("name", "scale", "rank"),
    "ItemListed": ("position", "headword", "kind"),
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TICK, _SAME = timedelta(microseconds=1), timedelta(seconds=1)  # files of one second are as new
_MOST = 2**31 - 1
_POSITION_RULE = f"an integer from 0 to {_MOST:,}"
_NO_WORD: tuple[Fields, datetime] = ({"headword": ""}, EARLIEST)


class Recorded(msgspec.Struct, frozen=True):
    """What the log says of lists and their items, and of each item's own word; and since when."""

    states: dict[Key, tuple[Fields | None, datetime]] = {}
    words: dict[str | None, tuple[Fields, datetime]] = {}

    def find(self, key: Key) -> tuple[Fields | None, datetime]:
        return self.states.get(key, (None, EARLIEST))


NOTHING = Recorded()


class OwnLists(msgspec.Struct, frozen=True):
    """A learner's own lists in a file that was changed last at a time.

    `homes` maps each item to its list, or to None if it is in none any more; `names` are those of
    these lists. The word of an item without a home goes to the list in which it is, or to `spare`.
    The ids of all lists of such files begin with `prefix`. If `is_whole`, the file has all of them,
    and if `has_whole_lists`, it has all items of those that it names. If it is not `is_dated`, the
    time is not known, and the file counts as newer than all that is recorded.
    """

    prefix: str
    changed_at: datetime
    names: dict[str, str]
    homes: dict[str, str | None]
    words: dict[str, Fields]
    spare: str = ""
    is_whole: bool = False
    has_whole_lists: bool = False
    is_dated: bool = True

    def has_all(self, list_id: str) -> bool:
        return self.is_whole or (self.has_whole_lists and list_id in self.names)


def read(connection: Connection, stream_id: str) -> Recorded:
    """Return the lists in a learner's stream, or in the stream of a list of the catalogue."""
    recorded = Recorded()
    rows = database.run(connection, "importers/lists", "recorded", stream_id=stream_id)
    for kind, at, data in rows:
        list_id, item = data["list_id"], data.get("item_id")
        fields = {n: data[n] for n in _FIELDS.get(kind, ()) if data.get(n) not in {None, ""}}
        recorded.states[list_id, item] = (fields if kind in _FIELDS else None, at)
        if kind == "ItemListed" and data.get("headword") is not None:
            recorded.words[item] = (describe_word(data["headword"], data.get("kind")), at)
    return recorded


def describe_word(headword: str, kind: str | None = None) -> Fields:
    """Return the fields of an own word; an empty headword takes it away."""
    headword = _CONTROL.sub(" ", headword).strip()
    return {"headword": headword} | ({"kind": kind} if headword and kind else {})


def read_file(file: Path, column: str) -> tuple[dict[str, Fields], int]:
    """Return what a file says of each item or headword of a list, and how many lines repeat one.

    `column` is `item_id` or `headword`. Raise ReviewLogError, which names the line, for a fault.
    """
    items, repeated = dict[str, Fields](), 0
    with csv_rows.name_file(file):
        for row in csv_rows.read(file, [column], _FIELDS["ItemListed"], may_be_plain=True):
            fields = {"position": row.find("position", _parse_position, _POSITION_RULE)}
            if column == "item_id":
                texts = (("headword", 200), ("kind", 50))
                fields |= {name: row.find_text(name, longest) for name, longest in texts}
            key = row.read_id(column)
            repeated += key in items
            items.setdefault(key, {name: v for name, v in fields.items() if v is not None})
        if not items:
            raise ReviewLogError("expected at least one line")
    return items, repeated


def _parse_position(text: str) -> int:
    return range(_MOST + 1).index(int(text))


def find_items(
    connection: Connection, words: Mapping[str, Fields], language: str
) -> dict[str, dict[str, Fields]]:
    """Return the catalogue's items of each headword in the language; it may be none or several."""
    found: dict[str, dict[str, Fields]] = {word: {} for word in words}
    primary = language.partition("-")[0].lower()
    for word, item in database.run(
        connection, "importers/lists", "items", headwords=[*words], language=primary
    ):
        found[word][item] = words[word]
    return found


def change_catalogue(
    list_id: str,
    description: Fields,
    items: Mapping[str, Fields],
    at: datetime,
    recorded: Recorded = NOTHING,
) -> list[Envelope]:
    """Return the events that make the recorded list of the catalogue the given one."""
    wanted: Changes = dict.fromkeys(recorded.states)
    wanted |= {(list_id, None): description} | {(list_id, item): items[item] for item in items}
    changes = {key: fields for key, fields in wanted.items() if fields != recorded.find(key)[0]}
    return _make(changes, at, recorded)


def change_own(user_id: str, file: OwnLists, recorded: Recorded = NOTHING) -> list[Envelope]:
    """Return the events that make the learner's recorded lists and words those of the file.

    A list without items is archived.
    """

    def is_late(since: datetime) -> bool:
        return not file.is_dated or file.changed_at > since - _SAME

    listed, places, moved_at = dict[tuple[str, str], Fields](), [*file.names], dict[str, datetime]()
    for (place, item), (fields, at) in recorded.states.items():
        if place.startswith(file.prefix):
            places.append(place)
            if item:
                moved_at[item] = max(at, moved_at.get(item, EARLIEST))
            if item and fields is not None:
                listed[place, item] = fields
    standing = {item: place for place, item in listed if item in file.words}
    homes = dict.fromkeys(file.words, file.spare) | standing | file.homes
    changes: Changes = {
        (place, item): None
        for place, item in listed
        if homes.get(item) != place and (item in homes or file.has_all(place))
        if is_late(moved_at[item])
    }
    for item, home in homes.items():
        word, since = recorded.words.get(item, _NO_WORD)
        is_said = file.words.get(item, word) != word and is_late(since)
        is_new = (home, item) not in listed and is_late(moved_at.get(item, EARLIEST))
        if home and (is_new or (is_said and (home, item) in listed)):
            changes[home, item] = file.words[item] if is_said else {}
    used = {key[0] for key, fields in (listed | changes).items() if fields is not None}
    for place in dict.fromkeys(places):
        former, since = recorded.find((place, None))
        fields = (former or {}) | {"name": file.names.get(place)} if place in used else None
        is_told = place in file.names or fields is None
        if is_told and fields != former and is_late(since):
            changes[place, None] = fields
    return _make(changes, file.changed_at, recorded, user_id)


def _make(
    changes: Changes, at: datetime, recorded: Recorded, user_id: str | None = None
) -> list[Envelope]:
    """Return the events; each is later than what it changes, also if the file changed before."""
    made = []
    for (list_id, item), fields in changes.items():
        since = recorded.find((list_id, item))[1]
        if fields and "headword" in fields:
            since = max(since, recorded.words.get(item, _NO_WORD)[1])
        kind = ("ListArchived", "ListPublished", "ItemUnlisted", "ItemListed")[
            2 * (item is not None) + (fields is not None)
        ]
        names = {"user_id": user_id, "list_id": list_id, "item_id": item}
        data = {name: v for name, v in names.items() if v is not None} | (fields or {})
        later = max(at, since + _TICK)
        key = msgspec.json.encode([kind, later, data], order="deterministic").decode()
        made.append(
            {
                "event_id": str(uuid5(_NAMESPACE, key)),
                "event_type": kind,
                "occurred_at": later,
                "data": data,
            }
        )
    return made
