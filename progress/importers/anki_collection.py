"""Read an Anki collection: the answers, and the words on the cards.

The collection may come from others, so nothing in it is trusted.
"""

import html
import json
import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from progress.adapters.postgres.statements import blocks
from progress.errors import ReviewLogError
from progress.importers import anki_log, anki_package, sm2
from progress.importers.anki_log import EARLIEST, LATEST, Answer, Review

_OLDEST_SCHEMA, _NEWEST_SCHEMA = 11, 18
_SETTINGS_TABLE_SINCE = 14
_DEFAULT_DAY_START = 4
_FILTERED = 3  # the type of an answer in a filtered deck
_LOWEST_FACTOR = 1_300  # a lower factor is not SM-2's easiness: it is 0, or FSRS's difficulty
_DEFAULT_EASINESS = 2.5
_LONGEST_WORD = 100  # characters
_LONGEST_FIELD = 100_000  # characters; a longer field is no word
_LONGEST_TEXT = 4_000  # characters; longer numbers of characters would make html.unescape fail
_DEEPEST_CLOZE = 8  # Anki's limit for clozes in clozes
_MAX_ROWS = 5_000_000  # of each table
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS = (LATEST - _EPOCH) // timedelta(milliseconds=1)

# Each pattern takes linear time. For this reason, what is not closed ends with the field, a tag has
# no "<" inside, and a cloze has no other cloze inside.
_HIDDEN = re.compile(
    r"<(style|script)\b.*?(?:</\1>|\Z)|<!--.*?(?:-->|\Z)|\[(?:sound|anki):[^\]]*(?:\]|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_TAG = re.compile(r"<[^<>]*>")
_CLOZE = re.compile(
    r"\{\{c\d+::((?:(?!::|\{\{c|\}\}).)*)(?:::(?:(?!\{\{c|\}\}).)*)?\}\}", re.DOTALL
)
_READING = re.compile(r"\[[\u3040-\u30ff ]+\]")  # the kana after a word in kanji


class Card(msgspec.Struct, frozen=True):
    """A card's word, and the time of the last change of the card's note."""

    card_id: str
    word: str
    changed_at: datetime


class Collection(msgspec.Struct, frozen=True):
    """The answers (oldest first), the cards that have a word, and the hour at which days start."""

    answers: list[Answer]
    cards: list[Card]
    day_start_hour: int


def read(file: Path) -> Collection:
    """Return the collection in an Anki package or database.

    Raise ReviewLogError, which names the file and the reason, if the collection cannot be read
    or has no answers.
    """
    try:
        with anki_package.open_collection(file) as connection:
            _require_tables(connection)
            version = _check_version(connection)
            collection = Collection(
                answers=_read_answers(connection),
                cards=_read_cards(connection),
                day_start_hour=_read_day_start(connection, version),
            )
    except OSError as error:
        raise ReviewLogError(f"{file}: {error.strerror or error}") from None
    except ReviewLogError as error:
        raise ReviewLogError(f"{file}: {error}") from None
    if not collection.answers:
        raise ReviewLogError(
            f"{file}: the collection has no answers: export it from Anki with its scheduling "
            "information"
        )
    return collection


def strip_markup(field: str) -> str:
    """Return the text of a note's field on one line, without HTML, sounds and readings.

    Replace a cloze with its answer. Return "" for a field of more than 100,000 characters.
    """
    if len(field) > _LONGEST_FIELD:
        return ""
    text = _HIDDEN.sub(" ", field)
    for _ in range(_DEEPEST_CLOZE):
        text = _CLOZE.sub(r"\1", text)
    text = html.unescape(_join(_TAG.sub(" ", text))[:_LONGEST_TEXT])
    return _join(_READING.sub("", text).replace("\0", " "))


def _join(text: str) -> str:
    return " ".join(text.split())


def _require_tables(connection: sqlite3.Connection) -> None:
    """Raise ReviewLogError if a table is in truth a view or a virtual table.

    Such a table can compute rows without end.
    """
    if row := connection.execute(_sql("computed tables")).fetchone():
        raise ReviewLogError(
            f"expected an Anki collection: {row[0]} is not a table that stores its rows"
        )


def _check_version(connection: sqlite3.Connection) -> int:
    row = connection.execute(_sql("version")).fetchone()
    version = row[0] if row else None
    if not isinstance(version, int) or not _OLDEST_SCHEMA <= version <= _NEWEST_SCHEMA:
        is_newer = isinstance(version, int) and version > _NEWEST_SCHEMA
        advice = 'with the option "Support older Anki versions"' if is_newer else "2.1 or newer"
        raise ReviewLogError(
            f"expected a collection of schema {_OLDEST_SCHEMA} to {_NEWEST_SCHEMA}, found "
            f"{version!r:.40}: export it from Anki {advice}"
        )
    return version


def _read_answers(connection: sqlite3.Connection) -> list[Answer]:
    """Return the answers, oldest first; of a card's answers at the same time, only the last.

    In a sound collection, no two answers have the same time after 2000, and rows are in order.
    """
    answers = [
        Answer(
            at=_convert_ms(number),
            card_id=str(card),
            rating=rating,
            response_time_ms=min(max(milliseconds, 0), anki_log.MAX_MS),
            review=_convert_review(interval, factor, kind),
        )
        for number, card, rating, interval, factor, milliseconds, kind in _read_rows(
            connection, "answers", (int,) * 7
        )
    ]
    different = {(answer.at, answer.card_id): answer for answer in answers}
    return sorted(different.values(), key=lambda answer: answer.at)


def _read_rows(
    connection: sqlite3.Connection, block: str, types: tuple[type, ...]
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows, whose columns have these types; raise ReviewLogError for any other row."""
    for number, row in enumerate(connection.execute(_sql(block)), start=1):
        if number > _MAX_ROWS:
            raise ReviewLogError(f"expected at most {_MAX_ROWS:,} {block}")
        if tuple(map(type, row)) != types:
            expected = ", ".join("a text" if kind is str else "an integer" for kind in types)
            raise ReviewLogError(
                f"row {number} of the {block}: expected {expected}, found {row!r:.80}"
            )
        yield row


def _convert_review(interval: int, factor: int, kind: int) -> Review | None:
    """Return the card's new schedule after the answer; None if the answer did not change it."""
    if kind == _FILTERED and factor == 0:
        return None
    # Anki stores an interval of less than a day as a negative number of seconds.
    days = min(max(interval, 0), sm2.LONGEST_INTERVAL)
    easiness = factor / 1_000 if factor >= _LOWEST_FACTOR else _DEFAULT_EASINESS
    return Review(days, min(easiness, sm2.HIGHEST_EASINESS))


def _read_cards(connection: sqlite3.Connection) -> list[Card]:
    rows = _read_rows(connection, "cards", (int, str, int))
    cards = [
        Card(str(card), _shorten(strip_markup(_first(fields))), _convert_ms(changed_s * 1_000))
        for card, fields, changed_s in rows
    ]
    return [card for card in cards if card.word]


def _first(fields: str) -> str:
    return fields.partition("\x1f")[0]


def _shorten(word: str) -> str:
    return word if len(word) <= _LONGEST_WORD else word[: _LONGEST_WORD - 1] + "…"


def _read_day_start(connection: sqlite3.Connection, version: int) -> int:
    block = "day start" if version >= _SETTINGS_TABLE_SINCE else "settings"
    row = connection.execute(_sql(block)).fetchone()
    try:
        value = json.loads(row[0]) if row else None
    except (TypeError, ValueError, RecursionError):  # NULL, not JSON, or nested too deeply
        return _DEFAULT_DAY_START
    hour = value.get("rollover") if isinstance(value, dict) else value
    return hour if type(hour) is int and 0 <= hour <= 23 else _DEFAULT_DAY_START


def _convert_ms(number: int) -> datetime:
    """Convert milliseconds since 1970 to a time; return `EARLIEST` for an earlier time."""
    if number > _LATEST_MS:
        raise ReviewLogError(
            f"expected a time in milliseconds before the year 3000, found {number}"
        )
    return max(_EPOCH + timedelta(milliseconds=max(number, 0)), EARLIEST)


def _sql(block: str) -> str:
    return blocks("importers/anki")[block]
