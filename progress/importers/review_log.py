"""Read a review log: a CSV or Parquet file with one row for each answer to a card.

Programs for spaced repetition exchange their logs in this form. Times are in ISO 8601, or in
milliseconds since 1970. Columns that are neither in `COLUMNS` nor in `OPTIONAL` are ignored.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from progress.errors import ReviewLogError
from progress.event_store import time_zones
from progress.importers import review_rows
from progress.importers.review_rows import Row

COLUMNS = ("card_id", "review_rating", "review_time")
DURATION = "review_duration"
ZONE = "timezone"  # may be in one row of a learner
# What may be empty in a row, and what a fault leaves out alone. With another id, or none, the
# answer would count twice.
SPARED = {DURATION, "due", "interval", "kind", "headword", "deck", "deck_id", ZONE}
OPTIONAL = SPARED | {"id"}
_OTHER_NAMES = {"interval_days": "interval"}

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # The event store rejects earlier events.
# A later time is a fault of the file. Times close to the year 9999 would overflow when shifted.
LATEST = datetime(3000, 1, 1, tzinfo=UTC)
MAX_MS = 86_400_000
STEP = timedelta(milliseconds=1)  # between changes of one thing, for programs that cut times
_TIME_RULE = (
    "a time in the years 2000 to 2999, such as 2024-03-29T20:32:39Z or 1711744359000 (milliseconds)"
)
_LONGEST_INTERVAL = 2**32 - 1  # days
# Milliseconds since 1970 have 12 digits in the year 2000; an ISO date has at most 8. Programs that
# know only one kind of number write `.0`.
_MILLISECONDS = re.compile(r"([0-9]{12,})(?:\.0*)?")
_WORD = re.compile(r"[^\0]{1,200}")
_SECONDS = re.compile(r"[0-9]{9,11}(?:\.[0-9]*)?")
_SECONDS_RULE = "milliseconds since 1970, not seconds: multiply them by 1,000"
_UTC = re.compile(r"(?: \+0000)? (?:UTC|GMT)\Z")
_SHORTENED = r"[0-9](?:[.,][0-9]+[eE]\+?|[eE]\+)[0-9]+"
_ID = re.compile(rf"(?!{_SHORTENED}\Z){_WORD.pattern}")
_ID_RULE = "1 to 200 characters, no number with a fraction or that a spreadsheet has shortened"
_KIND = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,50}")
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,100}")
_UNREADABLE = {review_rows.NOT_UTF8: "UTF-8", review_rows.NESTED: "text, a number or a time"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Answer(msgspec.Struct, frozen=True, order=True):
    """An answer to a card.

    `rating` is the number of Anki's button: 1 "Again" (the answer was wrong), 2 "Hard", 3 "Good" or
    4 "Easy". `response_time_ms` is None if the log does not have it. `due` is the time of the next
    answer, and `interval_days` the days until then, 0 under a day; both are None if the log has no
    schedule. `sent_id` is the id under which a device posts the answer, if the log has it, and
    `list_id` that under which it posts the deck.
    """

    at: datetime
    card_id: str
    rating: int
    response_time_ms: int | None
    interval_days: float | None = None
    due: datetime | None = None
    word: str = ""
    kind: str | None = None
    sent_id: str | None = None
    deck: str | None = None
    list_id: str | None = None

    @property
    def correct(self) -> bool:
        return self.rating > 1


class Fault(msgspec.Struct, frozen=True):
    """What is wrong in a row: a field in `SPARED` is left out alone, else the row is."""

    row: int
    column: str
    rule: str
    found: str = ""

    @property
    def kind(self) -> str:
        return f", column {self.column}: expected {self.rule}" if self.column else self.rule

    def __str__(self) -> str:
        return f"row {self.row}{self.kind}{self.found}"


class Answers(msgspec.Struct, frozen=True):
    """A learner's answers, oldest first, the numbers of rows that are left out, and the faults.

    Rows with the rating 0 are `manual` changes, a `repeated` row has the card and the time of an
    earlier one, and a `faulty` row has a fault, which names line and column. The `zone` is that of
    the last row with one.
    """

    answers: list[Answer]
    left_out: dict[str, int]
    faults: list[Fault]
    zone: str | None


class Move(msgspec.Struct, frozen=True):
    """A change of a card's day without an answer; a card that is forgotten is new again."""

    at: datetime
    card_id: str
    interval_days: int  # from then to the card's day
    is_forgotten: bool = False


class CardState(msgspec.Struct, frozen=True):
    """Whether a card asks nothing any more: suspended, deleted or forgotten; and since when.

    `changed_at` is the time of the card's last change, and `seen_at` that of the file; of a deleted
    card, both are.
    """

    card_id: str
    is_out: bool
    changed_at: datetime
    seen_at: datetime


def read(file: Path) -> list[Answer]:
    """Return the answers in `file`, oldest first; raise ReviewLogError as `read_log` does."""
    return read_log(file).answers


def read_log(file: Path) -> Answers:
    """Return the answers; raise ReviewLogError for a fault that costs more than a field."""
    found = parse(*open_rows(file))
    for fault in found.faults:
        if fault.column not in SPARED:
            raise ReviewLogError(f"{file}: {fault}")
    return found


def parse(rows: Iterable[Row], columns: dict[str, int]) -> Answers:
    answers: dict[tuple[str, datetime], Answer] = {}
    ids: set[str] = set()
    faults: list[Fault] = []
    unreadable: set[Answer] = set()
    left_out = {"manual": 0, "repeated": 0, "faulty": 0}
    zone = None
    for row in rows:
        values, wrong = _parse_row(row, columns)
        zone_of_row = values.pop(ZONE, None)
        key = (values.get("card_id", ""), values.get("at", EARLIEST))
        sent_id = values.get("sent_id")
        if sent_id in ids and key not in answers:
            wrong["id"] = Fault(row.number, "id", "an id that no other row has")
        if values.get("rating") == 0 and review_rows.USER not in wrong:
            left_out["manual"] += 1  # with which programs log manual changes
        elif rows_fault := next((wrong[name] for name in wrong if name not in SPARED), None):
            left_out["faulty"] += 1
            faults.append(rows_fault)
            continue
        elif key in answers:
            left_out["repeated"] += 1
        else:
            answers[key] = answer = Answer(**values)
            faults += wrong.values()
            unreadable |= {answer} if wrong.keys() & {"interval", "due"} else set()
            ids |= {sent_id} if sent_id else set()
        zone = zone_of_row or zone
    ordered = [*_keep_intervals(sorted(answers.values()), unreadable)]
    return Answers(ordered, left_out, faults, zone)


def _keep_intervals(answers: Iterable[Answer], unreadable: set[Answer]) -> Iterator[Answer]:
    """Yield the answers; one without a readable schedule keeps the interval of its card."""
    former: dict[str, float | None] = {}
    for answer in answers:
        days = answer.interval_days
        if days is None and answer.due:
            days = max((answer.due - answer.at) / timedelta(days=1), 0)
        elif days is None and answer in unreadable:
            days = former.get(answer.card_id)
            answer = msgspec.structs.replace(answer, interval_days=days)  # noqa: PLW2901
        former[answer.card_id] = days
        yield answer


def open_rows(file: Path) -> tuple[Iterator[Row], dict[str, int]]:
    """Return the rows, and the places of the columns; raise ReviewLogError if one is missing."""
    rows = review_rows.read(file, {*_FIELDS, *_OTHER_NAMES})
    names = [_OTHER_NAMES.get(name, name) for name in next(rows).cells]
    for column in COLUMNS:
        if column not in names:
            found = ", ".join(names)[:80] or "none"
            error = Fault(1, column, "a column with this name", f", found {found!r}")
            raise ReviewLogError(f"{file}: {error}")
    return rows, {name: names.index(name) for name in _FIELDS if name in names}


def _parse_row(row: Row, columns: dict[str, int]) -> tuple[dict[str, Any], dict[str, Fault]]:
    """Return the values of the fields, and the faults of columns; '' is the whole row's."""
    if row.fault:
        return {}, {"": Fault(row.number, "", row.fault)}
    values: dict[str, Any] = {"response_time_ms": None}
    faults: dict[str, Fault] = {}
    for column, place in columns.items():
        field, parse_text, rule = _FIELDS[column]
        text = row.cells[place].strip() if place < len(row.cells) else ""
        if column in {review_rows.USER, "id", "deck_id"} and text.casefold() in review_rows.NONE:
            text = ""
        try:
            if text or column not in OPTIONAL or (place >= len(row.cells) and column != ZONE):
                values[field] = parse_text(text)
        except (ValueError, OverflowError):
            if _SECONDS.fullmatch(text) and parse_text is _parse_time:
                rule = _SECONDS_RULE
            found = f", found {text[:40]!r}" if place < len(row.cells) else ", found nothing"
            told = _UNREADABLE.get(text)
            faults[column] = Fault(row.number, column, *((told,) if told else (rule, found)))
    values.pop(review_rows.USER, None)
    return values, faults


def _match(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError
    return text


def _parse_id(text: str) -> str:
    return _match(_ID, review_rows.parse_id(text))


def _parse_text(pattern: re.Pattern[str], text: str) -> str:
    return _match(pattern, unicodedata.normalize("NFC", review_rows.UNSEEN.sub("", text)))


def _parse_zone(text: str) -> str:
    if text not in time_zones.names():
        raise ValueError
    return text


def _parse_days(text: str) -> float:
    """Parse days; as in Anki, a negative number is one of seconds, of which whole days count."""
    number = _parse_number(text, -_LONGEST_INTERVAL * 86_400, _LONGEST_INTERVAL)
    return number if number >= 0 else -number // 86_400


def _parse_duration(text: str) -> int:
    return int(_parse_number(text, 0, MAX_MS))


def _parse_rating(text: str) -> int:
    return range(5).index(_parse_number(text, 0, 4))  # type: ignore[arg-type] # a whole number


def _parse_number(text: str, least: float, most: float) -> float:
    number = float(text)  # which accepts more than other programs write
    if not text.isascii() or "_" in text or not least <= number <= most:
        raise ValueError
    return number


def _parse_time(text: str) -> datetime:
    """Parse a time and convert it to UTC; a time without an offset is in UTC."""
    if milliseconds := _MILLISECONDS.fullmatch(text):
        moment = EPOCH + timedelta(milliseconds=int(milliseconds[1]))
    else:
        moment = datetime.fromisoformat(_UTC.sub("Z", text))
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    if not EARLIEST <= moment < LATEST:
        raise ValueError
    return moment


# The field of an answer that each column has, in the order in which they are read.
_FIELDS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    review_rows.USER: (review_rows.USER, _parse_id, _ID_RULE),
    "review_rating": ("rating", _parse_rating, "1, 2, 3 or 4"),
    "card_id": ("card_id", _parse_id, _ID_RULE),
    "review_time": ("at", _parse_time, _TIME_RULE),
    DURATION: ("response_time_ms", _parse_duration, f"milliseconds from 0 to {MAX_MS}"),
    "interval": ("interval_days", _parse_days, "days, or seconds as a negative number"),
    "due": ("due", _parse_time, _TIME_RULE),
    "headword": ("word", partial(_parse_text, _WORD), "at most 200 characters"),
    "kind": ("kind", partial(_parse_text, _KIND), "at most 50 characters, no control characters"),
    "id": ("sent_id", _parse_id, _ID_RULE),
    "deck": ("deck", partial(_parse_text, _NAME), "at most 100 characters, no control characters"),
    "deck_id": ("list_id", _parse_id, _ID_RULE),
    ZONE: (ZONE, _parse_zone, "a zone of the IANA database"),
}
