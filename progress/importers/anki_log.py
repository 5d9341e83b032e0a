"""A review log as Anki's users share it: a csv with one row for each answer to a card."""

import csv
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from progress.errors import ReviewLogError

COLUMNS = ("card_id", "review_rating", "review_time", "review_duration")

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # the event store takes none before
_LARGEST = 256 << 20  # bytes: six million answers
_LONGEST_MS = 86_400_000


class Answer(msgspec.Struct, frozen=True, order=True):
    """One answer: `rating` is 1 again, 2 hard, 3 good, 4 easy; again is the wrong one."""

    at: datetime
    card_id: str
    rating: int
    response_time_ms: int

    @property
    def correct(self) -> bool:
        return self.rating > 1


def read(file: Path) -> list[Answer]:
    """The answers in `file`, oldest first.

    ReviewLogError names the row (as an editor counts lines) and the column of the first fault.
    """
    try:
        text = io.StringIO(_decoded(_bytes(file)), newline="")
        return sorted(_answers(csv.reader(text, strict=True)))
    except OSError as fault:
        raise ReviewLogError(f"{file}: {fault.strerror or fault}") from None
    except ReviewLogError as fault:
        raise ReviewLogError(f"{file}: {fault}") from None


def _bytes(file: Path) -> bytes:
    with file.open("rb") as opened:
        raw = opened.read(_LARGEST + 1)  # of a device, too, which has no end
    if len(raw) > _LARGEST:
        raise ReviewLogError(f"expected at most {_LARGEST >> 20} MiB: import it in parts")
    return raw


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        before = fault.object[: fault.start].split(b"\n")
        place = f"row {len(before)}, column {before[-1].count(b',') + 1}"
        raise ReviewLogError(f"{place}: expected UTF-8") from None


def _answers(rows: Any) -> Iterator[Answer]:
    """`rows` is a csv.reader, which typeshed keeps to itself."""
    places = _places(_next(rows) or [])
    seen: set[tuple[str, datetime]] = set()
    while (row := _next(rows)) is not None:
        if not row:
            continue
        answer = _answer(row, places, rows.line_num)
        if (answer.card_id, answer.at) in seen:
            raise _fault(
                rows.line_num, "review_time", "a card that was not answered at that moment"
            )
        seen.add((answer.card_id, answer.at))
        yield answer


def _next(rows: Any) -> list[str] | None:
    try:
        return next(rows, None)
    except csv.Error as fault:
        raise ReviewLogError(f"row {rows.line_num}: expected csv, {fault}") from None


def _places(header: list[str]) -> dict[str, int]:
    names = [name.strip() for name in header]
    for column in COLUMNS:
        if column not in names:
            raise _fault(1, column, "a column of that name")
    return {column: names.index(column) for column in COLUMNS}


def _answer(row: list[str], places: dict[str, int], line: int) -> Answer:
    def read(column: str, parse: Callable[[str], Any], expected: str) -> Any:
        try:
            return parse(row[places[column]].strip())
        except (ValueError, OverflowError):
            found = row[places[column]][:40]
            raise _fault(line, column, f"{expected}, found {found!r}") from None
        except IndexError:
            raise _fault(line, column, f"{expected}, found nothing") from None

    return Answer(
        card_id=read("card_id", _card, "1 to 200 characters"),
        rating=read("review_rating", _between(1, 4), "1, 2, 3 or 4"),
        at=read("review_time", _moment, "a date and time from the year 2000 on"),
        response_time_ms=read(
            "review_duration", _between(0, _LONGEST_MS), f"milliseconds from 0 to {_LONGEST_MS}"
        ),
    )


def _fault(line: int, column: str, expected: str) -> ReviewLogError:
    return ReviewLogError(f"row {line}, column {column}: expected {expected}")


def _card(text: str) -> str:
    if not 1 <= len(text) <= 200 or "\0" in text:
        raise ValueError
    return text


def _between(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        # int() would take underscores, signs and other scripts' digits too
        if not (text.isascii() and text.isdigit() and least <= (number := int(text)) <= most):
            raise ValueError
        return number

    return parse


def _moment(text: str) -> datetime:
    """In UTC, also where the text has no offset: the column is defined so."""
    moment = datetime.fromisoformat(text)
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    if moment < EARLIEST:
        raise ValueError
    return moment
