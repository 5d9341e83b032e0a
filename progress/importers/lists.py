"""Lists of items: what the log and a file say of them, and the events that change them."""

import bisect
import contextlib
import csv
import io
import itertools
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.errors import ReviewLogError, SerializationError
from progress.event_store import events
from progress.importers import anki_collection, review_log, review_rows
from progress.importers.anki_events import Envelope

Fields = dict[str, Any]
Key = tuple[str, str | None]  # a list and an item in it, or None for the list itself
States = dict[Key, tuple[Fields | None, datetime]]  # and since when
Changes = dict[Key, Fields | None]  # None: the list is archived, the item is not listed

NO_WORD: tuple[Fields, datetime] = ({"headword": ""}, review_log.EARLIEST)
_NAMESPACE = UUID("e0f1ad0c-3f5b-5a7e-9d43-6b0c1d7e2f58")
_FIELDS = {
    "ListPublished": ("name", "scale", "rank"),
    "ItemListed": ("position", "headword", "kind"),
}
MOST_ITEMS = 20_000  # the first of a list, which its readers see
LAST = 2**31 - 1  # the highest position
_STEP = 1_000  # between new positions, so that others find room
_POSITION = re.compile(r"([0-9]+)(?:\.0+)?")
_SETTING = re.compile(r"#([a-z ]+):(.*)")  # of Anki, at the begin of an export
_SEPARATORS = {"comma": ",", "semicolon": ";", "pipe": "|", "colon": ":", "space": " "}
_LONGEST = 16 << 20  # characters of a file: a million items or more
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Recorded(msgspec.Struct, frozen=True):
    """What the log says of lists and their items, and of each item's own word; and since when.

    `positions` has the latest place that each item was given, and `files` the times of imported
    files, with their lists.
    """

    states: States = {}
    words: dict[str | None, tuple[Fields, datetime]] = {}
    positions: dict[Key, int] = {}
    files: Sequence[tuple[datetime, list[str]]] = ()

    def find(self, key: Key) -> tuple[Fields | None, datetime]:
        return self.states.get(key, (None, review_log.EARLIEST))


NOTHING = Recorded()


def read(connection: Connection, stream_id: str) -> Recorded:
    """Return the lists in a learner's stream, or in the stream of a list of the catalogue.

    Events that the folds skip are left out: they were recorded before their types were declared.
    """
    recorded = Recorded()
    rows = database.run(connection, "importers/lists", "recorded", stream_id=stream_id)
    for kind, at, data in rows:
        try:
            events.check(events.EVENT_TYPES[kind], data | {"user_id": "-"})
        except SerializationError:
            continue
        list_id, item = data["list_id"], data.get("item_id")
        fields = {n: data[n] for n in _FIELDS.get(kind, ()) if data.get(n) not in {None, ""}}
        recorded.states[list_id, item] = (fields if kind in _FIELDS else None, at)
        if "position" in fields:
            recorded.positions.pop((list_id, item), None)  # the latest one is the last
            recorded.positions[list_id, item] = fields["position"]
        if kind == "ItemListed" and data.get("headword") is not None:
            recorded.words[item] = (describe_word(data["headword"], data.get("kind")), at)
    return recorded


def describe_word(headword: str, kind: str | None = None) -> Fields:
    """Return the fields of an own word; an empty headword takes it away."""
    headword = unicodedata.normalize("NFC", _CONTROL.sub(" ", headword).strip())
    return {"headword": headword} | ({"kind": kind} if headword and kind else {})


def read_file(file: Path, column: str) -> dict[str, Fields]:
    """Return the items, or headwords, of a list of the catalogue with what the file says of each.

    Each line is one, or the file is a table with the `column` `item_id` or `headword`: in CSV, with
    tabs, or an export of Anki's notes. Raise ReviewLogError, which names the line, for the first
    that is not valid.
    """
    items = dict[str, Fields]()
    try:
        text = read_text(file, errors="surrogateescape")
        if form := review_rows.find_form(text):
            raise ReviewLogError(form)
        if damaged := review_rows.DAMAGED.search(text):
            before = text[: damaged.start()].split("\n")
            place = f"row {len(before)}, column {before[-1].count(',') + 1}"
            raise ReviewLogError(f"{place}: expected UTF-8")
        for number, row in _split(text, file.suffix, column):
            if review_rows.UNSEEN.sub("", row[column] or "").strip():
                fields = _check(row, number, column)
                items.setdefault(fields.pop(column), fields)
    except (OSError, csv.Error, ReviewLogError) as error:
        raise ReviewLogError(f"{file}: {error}") from None
    return items


def read_text(file: Path, errors: str = "strict") -> str:
    """Return the text of a UTF-8 file, whose lines end with "\n", without a byte order mark."""
    with file.open(encoding="utf-8-sig", errors=errors) as stream:
        text = stream.read(_LONGEST + 1)  # limited: the file may be an endless device
    if len(text) > _LONGEST:
        raise ReviewLogError(f"expected at most {_LONGEST:,} characters: split the file")
    return text


def check_row(number: int, kind: type[events.Event], data: Fields) -> None:
    """Raise ReviewLogError, which names the row and the column, if no event has these data."""
    try:
        events.check(kind, data)
    except SerializationError as error:
        rule, _, field = str(error).rpartition(" - at $.data.")
        raise ReviewLogError(f"row {number}, column {field}: {rule}") from None


def _split(text: str, suffix: str, column: str) -> Iterator[tuple[int, Fields]]:
    """Yield the lines with their numbers: those of a table by column, any other one in `column`."""
    lines = text.split("\n")
    settings = [*itertools.takewhile(bool, map(_SETTING.fullmatch, lines))]
    told = {setting[1]: setting[2] for setting in settings if setting}
    begin = len(settings) if "separator" in told else 0
    delimiter = _find_delimiter(lines[0], suffix, column, told)
    if delimiter is None:
        for number, line in enumerate(lines, start=1):
            if "\t" in line or line.startswith("#"):
                rule = f"one {column} in a line, or a table whose first line has {column}"
                raise ReviewLogError(f"row {number}: expected {rule}, found {line[:40]!r}")
            yield number, {column: line}
        return
    names = review_rows.split_names("".join(lines[begin : begin + 1]), delimiter)
    is_headed = column in names or not begin
    names = names if is_headed else _find_names(told, column, delimiter)
    if column not in names:
        raise ReviewLogError(f"row 1: expected a column {column}")
    table = io.StringIO("\n".join(lines[begin:]), newline="")
    rows = csv.DictReader(table, names, delimiter=delimiter, strict=True)
    for row in itertools.islice(rows, int(is_headed), None):
        if told.get("html") == "true" and begin:
            row[column] = anki_collection.strip_markup(row[column] or "")
        yield begin + rows.line_num, row


def _find_delimiter(first: str, suffix: str, column: str, told: Mapping[str, str]) -> str | None:
    """Return the delimiter that Anki, the first line or the file's name tells; None without one."""
    if name := told.get("separator"):
        return _SEPARATORS.get(name.strip().lower(), name if len(name) == 1 else "\t")
    found = review_rows.find_delimiter(first, {column})
    return found or {".csv": ",", ".tsv": "\t"}.get(suffix.lower())


def _find_names(told: Mapping[str, str], column: str, delimiter: str) -> list[str]:
    """Return Anki's names of the columns; else `column` is the first that no setting describes."""
    names = told.get("columns", "").split(delimiter)
    taken = {value.strip() for name, value in told.items() if name.endswith(" column")}
    free = next(n for n in itertools.count(1) if str(n) not in taken)
    return names if column in names else [*map(str, range(1, free)), column]


def _check(row: Fields, number: int, column: str) -> Fields:
    names = (column, *_FIELDS["ItemListed"])
    seen = {name: review_rows.UNSEEN.sub("", row.get(name) or "") for name in names}
    texts = {name: unicodedata.normalize("NFC", text).strip() for name, text in seen.items()}
    fields: Fields = {name: text for name, text in texts.items() if text}
    if position := _POSITION.fullmatch(fields.get("position", "")):
        with contextlib.suppress(ValueError):  # thousands of digits
            fields["position"] = int(position[1])
    if column == "item_id":
        with contextlib.suppress(ValueError):
            fields[column] = review_rows.parse_id(row[column].strip())
    if "\0" in fields[column]:
        raise ReviewLogError(f"row {number}, column {column}: expected a string without U+0000")
    check_row(number, events.ItemListed, {"list_id": "-", "item_id": "-"} | fields)
    return fields


def find_items(
    connection: Connection, wanted: Mapping[str, Fields], language: str | None
) -> dict[str, dict[str, Fields]]:
    """Return the catalogue's items of each headword in the language; it may be none or several.

    Without a language, what is wanted are the ids of items.
    """
    found: dict[str, dict[str, Fields]] = {one: {} for one in wanted}
    values = {"wanted": [*wanted], "language": language and language.partition("-")[0].lower()}
    for one, item in database.run(connection, "importers/lists", "items", **values):
        found[one][item] = wanted[one]
    return found


def place(list_id: str, items: Mapping[str, Fields], recorded: Recorded) -> Mapping[str, Fields]:
    """Return the items with positions in their order, unless one has a position of its own."""
    if any("position" in fields for fields in items.values()):
        return items
    former = [(recorded.find((list_id, item))[0] or {}).get("position") for item in items]
    placed = zip(items.items(), _order(former), strict=True)
    return {item: fields | {"position": position} for (item, fields), position in placed}


def _order(known: Sequence[int | None]) -> list[int]:
    """Return increasing positions, of which as many as possible are the known ones."""
    # What is kept leaves room for what stands between, so that position - n does not decrease:
    # the longest such subsequence. `ends` has the best end for each length.
    rooms, ends, before = [-1], [-1], dict[int, int]()
    for n, position in enumerate((*known, LAST + 1)):
        if position is not None and 0 <= (room := position - n) <= LAST + 1 - len(known):
            length = bisect.bisect_right(rooms, room)
            before[n] = ends[length - 1]
            rooms[length : length + 1], ends[length : length + 1] = [room], [n]
    kept = [len(known)]
    while kept[-1] >= 0:
        kept.append(before[kept[-1]])
    ordered = list[int]()
    for begin, end in itertools.pairwise(reversed(kept)):
        low, high = ordered[-1] if ordered else -1, known[end] if end < len(known) else None
        if high is None:
            low = max(low, 0)
            high = min(LAST + 1, low + _STEP * (end - begin))
        ordered += [low + (high - low) * m // (end - begin) for m in range(1, end - begin + 1)]
    return ordered[:-1]


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
    return make(changes, at, recorded)


def make(
    changes: Changes, at: datetime, recorded: Recorded, user_id: str | None = None
) -> list[Envelope]:
    """Return the events; each is later than what it changes, also if `at` is not."""
    made = []
    for (list_id, item), fields in changes.items():
        since = recorded.find((list_id, item))[1]
        if fields and "headword" in fields:
            since = max(since, recorded.words.get(item, NO_WORD)[1])
        kinds = ("ItemUnlisted", "ItemListed") if item else ("ListArchived", "ListPublished")
        kind = kinds[fields is not None]
        names = {"user_id": user_id, "list_id": list_id, "item_id": item}
        data = {name: v for name, v in names.items() if v is not None} | (fields or {})
        made.append(make_event(kind, data, at, since))
    return made


def make_event(kind: str, data: Fields, at: datetime, since: datetime | None) -> Envelope:
    """Return an event at this time or, if that is not later than `since`, just after it.

    The same change has the same id.
    """
    later = max(at, since + review_log.STEP) if since else at
    key = msgspec.json.encode([kind, later, data], order="deterministic").decode()
    event = {"event_id": str(uuid5(_NAMESPACE, key)), "event_type": kind}
    return event | {"occurred_at": later, "data": data}
