"""Read a review log: a CSV or Parquet file with one row for each answer to a card.

Programs for spaced repetition exchange their logs in this form. Times are in ISO 8601, or in
milliseconds since 1970. Columns that are neither in `COLUMNS` nor in `OPTIONAL` are ignored.
"""

import re
from collections.abc import Callable, Iterable
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
OPTIONAL = (DURATION, "due", "interval", "kind", "headword", "id", "deck")  # may be empty in a row
ZONE = "timezone"  # may be in one row of a learner
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
_SHORTENED = r"[0-9](?:[.,][0-9]+[eE]\+?|[eE]\+)[0-9]+"
_ID = re.compile(rf"(?!{_SHORTENED}\Z){_WORD.pattern}")
_ID_RULE = "1 to 200 characters, no number that a spreadsheet has shortened"
_KIND = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,50}")
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,100}")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Answer(msgspec.Struct, frozen=True, order=True):
    """An answer to a card.

    `rating` is the number of Anki's button: 1 "Again" (the answer was wrong), 2 "Hard", 3 "Good" or
    4 "Easy". `response_time_ms` is None if the log does not have it. `due` is the time of the next
    answer, and `interval_days` the days until then, 0 under a day; both are None if the log has no
    schedule. `sent_id` is the id under which a device posts the answer, if the log has it.
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

    @property
    def correct(self) -> bool:
        return self.rating > 1


class Answers(msgspec.Struct, frozen=True):
    """A learner's answers, oldest first, the numbers of rows that are left out, and the faults.

    Rows with the rating 0 are `manual` changes, a `repeated` row has the card and the time of an
    earlier one, and a `faulty` row has a fault, which names line and column. The `zone` is that of
    the last row with one.
    """

    answers: list[Answer]
    left_out: dict[str, int]
    faults: list[str]
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
    rows = review_rows.read(file)
    found = parse(rows, find_columns(file, next(rows)))
    for fault in found.faults:
        raise ReviewLogError(f"{file}: {fault}")
    return found


def parse(rows: Iterable[Row], columns: dict[str, int]) -> Answers:
    answers: dict[tuple[str, datetime], Answer] = {}
    ids: set[str] = set()
    faults: list[str] = []
    left_out = {"manual": 0, "repeated": 0, "faulty": 0}
    zone = None
    for row in rows:
        try:
            answer = _parse_answer(row, columns)
            zone = _find_zone(row, columns) or zone
            if answer and answer.sent_id in ids and (answer.card_id, answer.at) not in answers:
                raise _error(row.number, "id", "an id that no other row has")
        except ReviewLogError as error:
            left_out["faulty"] += 1
            faults.append(str(error))
            continue
        if answer is None:
            left_out["manual"] += 1
        elif (answer.card_id, answer.at) in answers:
            left_out["repeated"] += 1
        else:
            answers[answer.card_id, answer.at] = answer
            ids |= {answer.sent_id} if answer.sent_id else set()
    return Answers(sorted(answers.values()), left_out, faults, zone)


def find_columns(file: Path, header: Row) -> dict[str, int]:
    """Return the places of the columns; raise ReviewLogError if one is missing."""
    names = [_OTHER_NAMES.get(name, name) for name in header.cells]
    for column in COLUMNS:
        if column not in names:
            found = ", ".join(names)[:80] or "none"
            error = _error(1, column, f"a column with this name, found {found!r}")
            raise ReviewLogError(f"{file}: {error}")
    return {name: names.index(name) for name in (*_FIELDS, ZONE) if name in names}


def _find_zone(row: Row, columns: dict[str, int]) -> str | None:
    place = columns.get(ZONE, len(row.cells))
    text = row.cells[place].strip() if place < len(row.cells) else ""
    if text and text not in time_zones.names():
        raise _error(row.number, ZONE, f"a zone of the IANA database, found {text[:40]!r}")
    return text or None


def _parse_answer(row: Row, columns: dict[str, int]) -> Answer | None:
    """Return the row's answer; None if its rating is 0, with which programs log manual changes."""
    if row.fault:
        raise ReviewLogError(row.fault)
    values: dict[str, Any] = {"response_time_ms": None}
    for column, (field, parse, expected) in _FIELDS.items():
        if column not in columns:
            continue
        place = columns[column]
        try:
            text = row.cells[place].strip()
            if text or column not in OPTIONAL:
                values[field] = parse(text)
        except (ValueError, OverflowError):
            found = repr(row.cells[place][:40])
            raise _error(row.number, column, f"{expected}, found {found}") from None
        except IndexError:
            raise _error(row.number, column, f"{expected}, found nothing") from None
        if values.get("rating") == 0:
            return None
    values.pop(review_rows.USER, None)
    return Answer(**values)


def _error(line: int, column: str, expected: str) -> ReviewLogError:
    return ReviewLogError(f"row {line}, column {column}: expected {expected}")


def _match(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
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
        moment = datetime.fromisoformat(text)
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    if not EARLIEST <= moment < LATEST:
        raise ValueError
    return moment


# The field of an answer that each column has, in the order in which they are read.
_FIELDS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    review_rows.USER: (review_rows.USER, partial(_match, _ID), _ID_RULE),
    "review_rating": ("rating", _parse_rating, "1, 2, 3 or 4"),
    "card_id": ("card_id", partial(_match, _ID), _ID_RULE),
    "review_time": ("at", _parse_time, _TIME_RULE),
    DURATION: ("response_time_ms", _parse_duration, f"milliseconds from 0 to {MAX_MS}"),
    "interval": ("interval_days", _parse_days, "days, or seconds as a negative number"),
    "due": ("due", _parse_time, _TIME_RULE),
    "headword": ("word", partial(_match, _WORD), "at most 200 characters"),
    "kind": ("kind", partial(_match, _KIND), "at most 50 characters, no control characters"),
    "id": ("sent_id", partial(_match, _ID), _ID_RULE),
    "deck": ("deck", partial(_match, _NAME), "at most 100 characters, no control characters"),
}
