"""Read a review log: a CSV file with one row for each answer to a card.

Programs for spaced repetition exchange their logs in this form. Times are in ISO 8601, or in
milliseconds since 1970. Columns that are neither in `COLUMNS` nor in `OPTIONAL` are ignored.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec

from progress.importers import csv_rows
from progress.importers.csv_rows import Row

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
MAX_MS = 86_400_000
_TIME_RULE = (
    "a time in the years 2000 to 2999, such as 2024-03-29T20:32:39Z or 1711744359000 (milliseconds)"
)
_LONGEST_INTERVAL = 2**32 - 1  # days
# Milliseconds since 1970 have 12 digits in the year 2000; an ISO date has at most 8. Programs that
# know only one kind of number write `.0`.
_MILLISECONDS = re.compile(r"([0-9]{12,})(?:\.0*)?")
_WORD = re.compile(r"[^\0]{1,200}")
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
    with csv_rows.name_file(file):
        return _parse_log(csv_rows.read(file, COLUMNS, OPTIONAL))


def _parse_log(rows: Iterable[Row]) -> tuple[list[Answer], dict[str, int]]:
    answers: dict[tuple[str, datetime], Answer] = {}
    ids: set[str] = set()
    left_out = {"manual": 0, "repeated": 0}
    for row in rows:
        answer = _parse_answer(row)
        if answer is None:
            left_out["manual"] += 1
        elif (answer.card_id, answer.at) in answers:
            left_out["repeated"] += 1
        elif answer.sent_id and answer.sent_id in ids:
            raise row.error("id", "an id that no other row has")
        else:
            answers[answer.card_id, answer.at] = answer
            ids.add(answer.sent_id or "")
    return sorted(answers.values()), left_out


def _parse_answer(row: Row) -> Answer | None:
    """Return the row's answer; None if its rating is 0, with which programs log manual changes."""
    rating = row.read("review_rating", _parse_rating, "1, 2, 3 or 4")
    if rating == 0:
        return None
    return Answer(
        card_id=row.read_id("card_id"),
        rating=rating,
        at=row.read("review_time", _parse_time, _TIME_RULE),
        response_time_ms=row.find(DURATION, _parse_duration, f"milliseconds from 0 to {MAX_MS}"),
        interval_days=row.find("interval", _parse_days, "days, or seconds as a negative number"),
        due=row.find("due", _parse_time, _TIME_RULE),
        word=row.find("headword", partial(csv_rows.match, _WORD), "at most 200 characters") or "",
        kind=row.find_text("kind", 50),
        sent_id=row.find_id("id"),
        deck=row.find_text("deck", 100),
    )


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
