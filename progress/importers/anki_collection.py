"""Read an Anki collection: the answers, and the words on the cards.

A collection is a package (.colpkg, .apkg), or the database that Anki itself uses. It may come from
others, so nothing in it is trusted.

A package is a zip file. In the newest format, its collection is `collection.anki21b`, a SQLite
database compressed with zstd; its `collection.anki2` only asks the user to update Anki.
"""

import contextlib
import errno
import functools
import html
import json
import re
import sqlite3
import struct
import tempfile
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

import msgspec

from progress.adapters.postgres.statements import blocks
from progress.errors import ReviewLogError
from progress.importers import local_days, review_log, review_rows
from progress.importers.review_log import EARLIEST, EPOCH, LATEST, Answer, CardState, Move

LIST = "anki-"  # begins the id of the list that a deck is
MET = 1 << 30  # the first place in a list of cards that are not new; those of new ones are less
_OLDEST_SCHEMA, _NEWEST_SCHEMA = 11, 18
_SETTINGS_TABLE_SINCE = 14
_DEFAULT_DAY_START = 4
_DAY_S = 86_400
_SUSPENDED = -1  # the queue of a suspended card
_NEW = 0  # the type of a card that was never answered, or is forgotten
_LEARNING = 1  # the queue of cards that are due at a time of today, not on a day
_MANUAL = 4  # the type of a change without an answer
_LATEST_DAY = 1_000_000_000  # Anki takes a larger number for a time
_FILTERED = 3  # the type of an answer in a filtered deck; factor 0 if it changes no schedule
_LONGEST_INTERVAL = 36_500  # days
_LONGEST_WORD = 100  # characters
_LONGEST_KIND = 50  # characters
_LONGEST_NAME = 100  # characters
_LONGEST_FIELD = 100_000  # characters; a longer field is no word
_LONGEST_TEXT = 4_000  # characters; longer numbers of characters would make html.unescape fail
_DEEPEST_CLOZE = 8  # Anki's limit for clozes in clozes
_MAX_ROWS = 5_000_000  # of each table
_Templates = list[tuple[int, str, int]]  # the number, from 0, the name, and 1 if it makes clozes
_LATEST_MS = (LATEST - EPOCH) // timedelta(milliseconds=1)

# Each pattern takes linear time. For this reason, what is not closed ends with the field, a tag has
# no "<" inside, and a cloze has no other cloze inside.
_HIDDEN = re.compile(
    r"<(style|script)\b.*?(?:</\1>|\Z)|<!--.*?(?:-->|\Z)|\[(?:sound|anki):[^\]]*(?:\]|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_TAG = re.compile(r"<[^<>]*>")
# Only these tags separate words; other markup may stand inside a word.
_BLOCK_TAG = re.compile(
    r"</?(?:address|article|aside|blockquote|br|center|dd|details|dialog|div|dl|dt|fieldset|"
    r"figcaption|figure|footer|form|h[1-6]|header|hr|li|main|nav|ol|p|pre|section|summary|table|"
    r"tbody|td|tfoot|th|thead|tr|ul)\b[^<>]*>",
    re.IGNORECASE,
)
_RUBY = re.compile(r"<r[pt]\b[^<>]*>[^<]*", re.IGNORECASE)  # what stands above or beside a word
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CLOZE = re.compile(
    r"\{\{c\d+::((?:(?!::|\{\{c|\}\}).)*)(?:::(?:(?!\{\{c|\}\}).)*)?\}\}", re.DOTALL
)
# The kana after a word in kanji, and marks of their pitch.
_READING = re.compile(r"\[[\u3040-\u30ff ,・]+(?:;[\w,; -]*)?\]", re.ASCII)


class Card(msgspec.Struct, frozen=True):
    """A card's word, and the time of the last change of the card's note.

    `kind` is the name of the card's template or cloze; None if cards of its note all have one.
    """

    card_id: str
    word: str
    changed_at: datetime
    kind: str | None = None


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """The answers (oldest first), the cards that have a word, and the hour at which days start.

    `decks` maps cards to the lists that their own decks are, and `deck_names` these lists to their
    names. `positions` has the places of new cards in their decks. `changed_at` is the time of the
    collection's last change; `EARLIEST` if it says none.

    `left_out` counts as `crammed` the answers in filtered decks that change no schedule: they are
    no tests of the memory, so that `answers` does not have them; nor does Anki's "true retention".
    As `unmoved`, it counts the changes of a card's day that `moves`, oldest first, does not have.
    """

    answers: list[Answer]
    cards: list[Card] = []
    states: list[CardState] = []
    moves: list[Move] = []
    left_out: dict[str, int] = {}
    day_start_hour: int = _DEFAULT_DAY_START
    decks: dict[str, str] = {}
    deck_names: dict[str, str] = {}
    positions: dict[str, int] = {}
    changed_at: datetime = EARLIEST


def read(file: Path, zone: str = "UTC") -> Collection:
    """Return the collection in an Anki package or database; its days are those of the zone.

    Raise ReviewLogError, which names the file and the reason, if the collection cannot be read
    or has no answers.
    """
    try:
        with open_collection(file) as connection:
            _require_tables(connection)
            version, changed_at = _check_version(connection)
            answers, crammed = _read_answers(connection)
            start = _read_setting(connection, version, "rollover")
            hour = start if start is not None and 0 <= start <= 23 else _DEFAULT_DAY_START
            first_day = functools.cache(lambda: _read_first_day(connection, version, zone))

            def number_day(at: datetime) -> int:
                return (local_days.find_day(at, zone, hour) - first_day()).days

            moves, unmoved, states = _read_states(connection, answers, number_day, changed_at)
            cards, decks, positions = _read_cards(connection)
            return Collection(
                answers=answers,
                cards=cards,
                states=states,
                moves=moves,
                left_out={"crammed": crammed, "unmoved": unmoved},
                day_start_hour=hour,
                decks=decks,
                deck_names=_read_deck_names(connection, {*decks.values()}),
                positions=positions,
                changed_at=changed_at,
            )
    except (UnicodeDecodeError, sqlite3.Error) as error:
        raise ReviewLogError(f"{file}: {_explain(error)}") from None
    except (OSError, ReviewLogError) as error:
        raise ReviewLogError(f"{file}: {getattr(error, 'strerror', None) or error}") from None


def strip_markup(field: str) -> str:
    """Return the text of a note's field on one line, without HTML, sounds and readings.

    Replace a cloze with its answer. Return "" for a field of more than 100,000 characters.
    """
    if len(field) > _LONGEST_FIELD:
        return ""
    text = _HIDDEN.sub(lambda hidden: " " if hidden[0].startswith("[") else "", field)
    for _ in range(_DEEPEST_CLOZE):
        text = _CLOZE.sub(r"\1", text)
    text = _TAG.sub("", _BLOCK_TAG.sub(" ", _RUBY.sub("", text)))
    text = review_rows.UNSEEN.sub("", html.unescape(_join(text)[:_LONGEST_TEXT]))
    return _join(_READING.sub("", text).replace("\0", " "))


def _join(text: str) -> str:
    return " ".join(text.split())


def _require_tables(connection: sqlite3.Connection) -> None:
    """Raise ReviewLogError for a view or a virtual table, which can compute rows without end."""
    if row := connection.execute(_sql("computed tables")).fetchone():
        raise ReviewLogError(
            f"expected an Anki collection: {row[0]} is not a table that stores its rows"
        )


def _check_version(connection: sqlite3.Connection) -> tuple[int, datetime]:
    row = connection.execute(_sql("version")).fetchone()
    version, changed_ms = row or (None, 0)
    if not isinstance(version, int) or not _OLDEST_SCHEMA <= version <= _NEWEST_SCHEMA:
        is_newer = isinstance(version, int) and version > _NEWEST_SCHEMA
        advice = 'with the option "Support older Anki versions"' if is_newer else "2.1 or newer"
        raise ReviewLogError(
            f"expected a collection of schema {_OLDEST_SCHEMA} to {_NEWEST_SCHEMA}, found "
            f"{version!r:.40}: export it from Anki {advice}"
        )
    return version, _convert_ms(changed_ms)


def _read_answers(connection: sqlite3.Connection) -> tuple[list[Answer], int]:
    """Return the answers, oldest first, and the number of those that are left out as crammed.

    Of a card's answers at the same time, return only the last. In a sound collection, no two
    answers have the same time after 2000, and rows are in order.
    """
    rows = [*_read_rows(connection, "answers", (int,) * 7)]
    answers = [
        Answer(
            at=_convert_ms(number),
            card_id=str(card),
            rating=rating,
            response_time_ms=min(milliseconds, review_log.MAX_MS) if milliseconds > 0 else None,
            # Anki stores a learning step as a negative number of seconds.
            interval_days=min(max(interval, -interval // _DAY_S), _LONGEST_INTERVAL),
        )
        for number, card, rating, interval, factor, milliseconds, kind in rows
        if not (kind == _FILTERED and factor == 0)
    ]
    if not answers:
        why = "export it from Anki with its scheduling information"
        raise ReviewLogError(f"the collection has no answers: {why}")
    different = {(answer.at, answer.card_id): answer for answer in answers}
    return sorted(different.values(), key=lambda answer: answer.at), len(rows) - len(answers)


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


def _read_cards(
    connection: sqlite3.Connection,
) -> tuple[list[Card], dict[str, str], dict[str, int]]:
    note_types = _read_note_types(connection)
    cards, decks, positions = [], {}, {}
    for row in _read_rows(connection, "cards", (int, str, int, int, int, int, int)):
        card, fields, changed_s, note_type, number, deck, position = row
        decks[str(card)] = f"{LIST}{deck}"
        if 0 <= position < MET:
            positions[str(card)] = position
        sort_field, templates = note_types.get(note_type, (0, []))
        found = fields.split("\x1f")
        field = found[sort_field if 0 <= sort_field < len(found) else 0]
        word = _shorten(strip_markup(field), _LONGEST_WORD)
        kind = _find_kind(templates, number)
        cards.append(Card(str(card), word, _convert_ms(changed_s * 1_000), kind))
    return [card for card in cards if card.word], decks, positions


def _read_deck_names(connection: sqlite3.Connection, decks: set[str]) -> dict[str, str]:
    """Return the names of the decks; one without a name has its number."""
    (has_decks,) = connection.execute(_sql("has decks")).fetchone()
    rows = _read_rows(connection, "decks" if has_decks else "former decks", (int, str))
    names = {f"{LIST}{n}": _join(_CONTROL.sub(" ", name.replace("\x1f", "::"))) for n, name in rows}
    return {d: _shorten(names.get(d) or d.removeprefix(LIST), _LONGEST_NAME) for d in decks}


def _read_note_types(connection: sqlite3.Connection) -> dict[int, tuple[int, _Templates]]:
    """Return the number of the field by which notes of each type are sorted, and its templates."""
    (has_templates,) = connection.execute(_sql("has templates")).fetchone()
    block = "templates" if has_templates else "former templates"
    note_types: dict[int, tuple[int, _Templates]] = {}
    for row in _read_rows(connection, block, (int, int, str, int, int)):
        note_type, number, name, is_cloze, sort_field = row
        text = _shorten(_join(_CONTROL.sub(" ", name)), _LONGEST_KIND - len(" 9999"))
        _, templates = note_types.setdefault(note_type, (sort_field, []))
        templates.append((number, text, is_cloze))
    return note_types


def _parse_sort_field(config: bytes) -> int:
    """Return field 2 of a protocol buffer, a number, which may follow the one-byte field 1."""
    begin = config[2:] if config[:1] == b"\x08" else config
    if begin[:1] != b"\x10":
        return 0  # which is not written
    low, high = begin[1:3].ljust(2, b"\0")
    return low if low < 0x80 else low - 0x80 + (high << 7)


def _find_kind(templates: _Templates, number: int) -> str | None:
    """Return the name of the card's template or cloze, if it tells the cards of a note apart."""
    for place, name, is_cloze in templates:
        if is_cloze:
            return f"{name} {number + 1}"[:_LONGEST_KIND]
        if place == number and len(templates) > 1:
            return name or None
    return None


def _read_states(
    connection: sqlite3.Connection,
    answers: list[Answer],
    number_day: Callable[[datetime], int],
    changed_at: datetime,
) -> tuple[list[Move], int, list[CardState]]:
    """Return the moves, the number of changes that are none, and the states of the cards.

    A move makes a card new, or is the last change of a card's day after all its answers. The row of
    a change has an interval that need not lead to the card's day, so that the card's row decides. A
    card without an answer before is new already, and cannot be made so.
    """
    first = {answer.card_id: answer.at for answer in reversed(answers)}
    last = {answer.card_id: answer.at for answer in answers}
    changes = [
        (_convert_ms(number), str(card), kind == _MANUAL and interval == factor == 0)
        for number, card, interval, factor, kind in _read_rows(connection, "moves", (int,) * 5)
    ]
    latest = {card: at for at, card, _ in changes}
    forgotten = {card for _, card, is_forgotten in changes if is_forgotten}
    days: dict[str, int] = {}
    states: dict[str, CardState] = {}
    for number, changed_s, kind, queue, day in _read_rows(connection, "card states", (int,) * 5):
        card = str(number)
        is_out = queue == _SUSPENDED or (kind == _NEW and card in forgotten)
        at = _convert_ms(changed_s * 1_000)
        states[card] = CardState(card, is_out, at, max(at, changed_at))
        if kind != _NEW and queue != _LEARNING and day <= _LATEST_DAY:
            days[card] = day
    gone = {card: max(at, changed_at) for card, at in last.items() if card not in states}
    deleted = [CardState(card, True, at, at) for card, at in gone.items()]
    moves = {}
    for at, card, is_forgotten in changes:
        if is_forgotten:
            if first.get(card, at) < at:
                moves[at, card] = Move(at, card, 0, is_forgotten=True)
        elif card in days and at == latest[card] and not last.get(card, EARLIEST) >= at:
            distance = max(days[card] - number_day(at), 0)
            moves[at, card] = Move(at, card, min(distance, _LONGEST_INTERVAL))
    return [*moves.values()], len(changes) - len(moves), [*states.values(), *deleted]


def _shorten(text: str, longest: int) -> str:
    text = unicodedata.normalize("NFC", text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _read_first_day(connection: sqlite3.Connection, version: int, zone: str) -> date:
    """Return the date from which Anki counts days, in the zone in which it was written."""
    row = connection.execute(_sql("created")).fetchone()
    created = _convert_ms(row[0] * 1_000)
    minutes = _read_setting(connection, version, "creationOffset")  # west of UTC
    if minutes is not None and abs(minutes) * 60 < _DAY_S:
        return created.astimezone(timezone(timedelta(minutes=-minutes))).date()
    return created.astimezone(ZoneInfo(zone)).date()


def _read_setting(connection: sqlite3.Connection, version: int, name: str) -> int | None:
    if version >= _SETTINGS_TABLE_SINCE:
        row = connection.execute(_sql("setting"), {"name": name}).fetchone()
    else:
        row = connection.execute(_sql("settings")).fetchone()
    try:
        value = json.loads(row[0]) if row else None
    except (TypeError, ValueError, RecursionError):  # NULL, not JSON, or nested too deeply
        return None
    value = value.get(name) if isinstance(value, dict) else value
    return value if type(value) is int else None


def _convert_ms(number: int) -> datetime:
    """Convert milliseconds since 1970 to a time; return `EARLIEST` for an earlier time."""
    if number > _LATEST_MS:
        raise ReviewLogError(
            f"expected a time in milliseconds before the year 3000, found {number}"
        )
    return max(EPOCH + timedelta(milliseconds=max(number, 0)), EARLIEST)


def _sql(block: str) -> str:
    return blocks("importers/anki")[block]


_COMPRESSED = "collection.anki21b"
_NAMES = (_COMPRESSED, "collection.anki21", "collection.anki2")  # newest first
_MAX_BYTES = 2 << 30  # of a collection; images and sounds are separate files and do not count
_CHUNK = 1 << 20
_MAX_VALUE_BYTES = 64 << 20  # of a text or a blob
# Most collections take a few seconds. A damaged or hostile collection may join its rows for hours.
_TIME_LIMIT_S = 60.0
_REPAIR = "in Anki, run Tools > Check Database and export it again"
_STEPS = 1_000  # of SQLite's virtual machine, between two looks at the clock
# zipfile raises RuntimeError for an encrypted file, NotImplementedError for an unknown feature, and
# ValueError and struct.error for some damaged headers.
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError),
    *(ValueError, struct.error),
)
_ZIP, _SQLITE = b"PK\x03\x04", b"SQLite format 3\0"


def is_collection(file: Path) -> bool:
    """Return whether the file is Anki's; an unreadable file is none, and its reader says why."""
    if file.suffix in {".colpkg", ".apkg", ".anki2", ".anki21"}:
        return True
    with contextlib.suppress(OSError), file.open("rb") as stream:
        return stream.read(len(_SQLITE)).startswith((_ZIP, _SQLITE))
    return False


@contextlib.contextmanager
def open_collection(file: Path) -> Iterator[sqlite3.Connection]:
    with tempfile.TemporaryDirectory(prefix="progress-anki-") as folder:
        with file.open("rb") as stream:
            begin = stream.read(len(_SQLITE))
        if begin.startswith(_SQLITE):
            database = file
            _require_size(file.stat().st_size)
        elif begin.startswith(_ZIP):
            database = Path(folder, "collection")
            _extract(file, database)
        else:
            raise ReviewLogError(
                "expected an Anki package: this file is damaged, or is not a package"
            )
        with contextlib.closing(_connect(database)) as connection:
            yield connection


def _extract(file: Path, target: Path) -> None:
    import zstandard

    try:
        with zipfile.ZipFile(file) as package:
            name = next((name for name in _NAMES if name in package.namelist()), None)
            if name is None:
                raise ReviewLogError("expected an Anki package: this zip file has no collection")
            compression = package.getinfo(name).compress_type
            if compression not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise ReviewLogError(  # other compressions have errors that `_ZIP_ERRORS` lacks
                    "expected a package that Anki wrote: Anki does not use this zip file's "
                    "compression"
                )
            with package.open(name) as source, target.open("wb") as database:
                decompressor = zstandard.ZstdDecompressor()
                whole = decompressor.stream_reader(source, read_across_frames=True)
                _copy(whole if name == _COMPRESSED else source, database)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a damaged header leads to a place before the file's begin
            raise
        raise ReviewLogError("the package is damaged (wrong offset): export it again") from None
    except (*_ZIP_ERRORS, zstandard.ZstdError) as error:
        raise ReviewLogError(f"the package is damaged ({error!s:.200}): export it again") from None


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    size = 0
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        _require_size(size)
        target.write(chunk)


def _require_size(size: int) -> None:
    if size > _MAX_BYTES:
        raise ReviewLogError(f"expected a collection of at most {_MAX_BYTES >> 30} GiB")


def _connect(database: Path) -> sqlite3.Connection:
    """Open a database that may be hostile: limit its values and the time of all its queries."""
    # Do not wait for Anki's lock: Anki releases the lock only when the user closes Anki.
    address = f"{database.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(address, uri=True, timeout=0, isolation_level=None)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
    deadline = time.monotonic() + _TIME_LIMIT_S
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    connection.create_function("sort_field", 1, _parse_sort_field)
    connection.executescript(blocks("importers/anki")["protect"])
    return connection


def _explain(error: UnicodeDecodeError | sqlite3.Error) -> str:
    message = " ".join(str(error).split())[:200]  # it may contain text of the collection
    if isinstance(error, UnicodeDecodeError):  # SQLite's message has a part of a damaged schema
        message = "its schema is not in UTF-8"
    if not isinstance(error, sqlite3.OperationalError):
        return f"the collection is damaged: {message}"
    # An error of the module sqlite3 itself has no code. It is about a text that is not UTF-8.
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return f"the collection is damaged: a text is not in UTF-8: {_REPAIR}"
    code &= 0xFF  # without the extension of the code
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return "Anki has the collection open: close Anki and try again"
    if code == sqlite3.SQLITE_INTERRUPT:
        return f"the collection cannot be read within {_TIME_LIMIT_S:.0f} s: {_REPAIR}"
    return f"expected an Anki collection: {message}"
