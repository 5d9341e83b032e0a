"""Read a review log: a CSV file with one row for each answer to a card.

Programs for spaced repetition exchange their logs in this form. Times are in ISO 8601, or in
milliseconds since 1970. Columns that are neither in `COLUMNS` nor in `OPTIONAL` are ignored.
"""

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from progress.errors import ReviewLogError

COLUMNS = ("card_id", "review_rating", "review_time")
DURATION = "review_duration"
OPTIONAL = (
    DURATION,
    "due",
    "interval",
    "kind",
    "headword",
    "id",
    "deck",
)  # each may be empty in a row

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # The event store rejects earlier events.
# A later time is a fault of the file. Times close to the year 9999 would overflow when shifted.
LATEST = datetime(3000, 1, 1, tzinfo=UTC)
_MAX_BYTES = 256 << 20  # About six million answers.
MAX_MS = 86_400_000
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


class Move(msgspec.Struct, frozen=True):
    """A change of a card's day without an answer; a card that is forgotten is new again."""

    at: datetime
    card_id: str
    interval_days: int  # from then to the card's day
    is_forgotten: bool = False


class CardState(msgspec.Struct, frozen=True):
    """Whether a card asks nothing any more: suspended, deleted or forgotten; and since when.

    The time is that of the card's last change; of a deleted card, of its last answer.
    """

    card_id: str
    is_out: bool
    changed_at: datetime


def read(file: Path) -> list[Answer]:
    """Return the answers in `file`, oldest first; raise ReviewLogError as `read_log` does."""
    return read_log(file)[0]


def read_log(file: Path) -> tuple[list[Answer], dict[str, int]]:
    """Return the answers in `file`, oldest first, and the numbers of rows that are left out.

    Rows with the rating 0 are `manual` changes, and a `repeated` row has the card and the time of
    an earlier one. Raise ReviewLogError, which names line and column, for the first invalid row.
    """
    try:
        text = io.StringIO(read_text(file), newline="")
        return _parse_log(csv.reader(text, strict=True))
    except OSError as error:
        raise ReviewLogError(f"{file}: {error.strerror or error}") from None
    except ReviewLogError as error:
        raise ReviewLogError(f"{file}: {error}") from None


def read_text(file: Path) -> str:
    """Return the file's text; raise OSError, or ReviewLogError for a file that is too large."""
    with file.open("rb") as stream:
        raw = stream.read(_MAX_BYTES + 1)  # limited, because the file may be an endless device
    if len(raw) > _MAX_BYTES:
        raise ReviewLogError(
            f"expected at most {_MAX_BYTES >> 20} MiB: split the file and import its parts"
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].split(b"\n")
        place = f"row {len(before)}, column {before[-1].count(b',') + 1}"
        raise ReviewLogError(f"{place}: expected UTF-8") from None


def _parse_log(rows: Any) -> tuple[list[Answer], dict[str, int]]:
    """Do as `read_log`; `rows` is a csv.reader (typeshed does not export this type)."""
    columns = _find_columns(_next(rows) or [])
    answers: dict[tuple[str, datetime], Answer] = {}
    ids: set[str] = set()
    left_out = {"manual": 0, "repeated": 0}
    while (row := _next(rows)) is not None:
        if not row:
            continue
        answer = _parse_answer(row, columns, rows.line_num)
        if answer is None:
            left_out["manual"] += 1
        elif (answer.card_id, answer.at) in answers:
            left_out["repeated"] += 1
        elif answer.sent_id and answer.sent_id in ids:
            raise _error(rows.line_num, "id", "an id that no other row has")
        else:
            answers[answer.card_id, answer.at] = answer
            ids.add(answer.sent_id or "")
    return sorted(answers.values()), left_out


def _next(rows: Any) -> list[str] | None:
    try:
        return next(rows, None)
    except csv.Error as error:
        raise ReviewLogError(f"row {rows.line_num}: expected csv, {error}") from None


def _find_columns(header: list[str]) -> dict[str, int]:
    names = [name.strip() for name in header]
    for column in COLUMNS:
        if column not in names:
            found = ", ".join(names)[:80] or "none"
            raise _error(1, column, f"a column with this name, found {found!r}")
    return {name: names.index(name) for name in (*COLUMNS, *OPTIONAL) if name in names}


def _parse_answer(row: list[str], columns: dict[str, int], line: int) -> Answer | None:
    """Return the row's answer; None if its rating is 0, with which programs log manual changes."""

    def read(column: str, parse: Callable[[str], Any], expected: str) -> Any:
        try:
            return parse(row[columns[column]].strip())
        except (ValueError, OverflowError):
            text = row[columns[column]][:40]
            raise _error(line, column, f"{expected}, found {text!r}") from None
        except IndexError:
            raise _error(line, column, f"{expected}, found nothing") from None

    def find(column: str, parse: Callable[[str], Any], expected: str) -> Any:
        if column in columns:
            return read(column, lambda text: parse(text) if text else None, expected)
        return None

    rating = read("review_rating", _parse_rating, "1, 2, 3 or 4")
    if rating == 0:
        return None
    return Answer(
        card_id=read("card_id", partial(_match, _ID), _ID_RULE),
        rating=rating,
        at=read("review_time", _parse_time, _TIME_RULE),
        response_time_ms=find(DURATION, _parse_duration, f"milliseconds from 0 to {MAX_MS}"),
        interval_days=find("interval", _parse_days, "days, or seconds as a negative number"),
        due=find("due", _parse_time, _TIME_RULE),
        word=find("headword", partial(_match, _WORD), "at most 200 characters") or "",
        kind=find("kind", partial(_match, _KIND), "at most 50 characters, no control characters"),
        sent_id=find("id", partial(_match, _ID), _ID_RULE),
        deck=find("deck", partial(_match, _NAME), "at most 100 characters, no control characters"),
    )


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
