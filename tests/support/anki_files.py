"""Anki files: collections with Anki's published schemas, and packages of collections."""

import io
import sqlite3
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import zstandard

from progress.adapters.postgres.statements import blocks

_BLOCKS = blocks(str(Path(__file__).with_suffix("")))

CHANGED_S = 1_700_000_000  # the time of a note's last change


class Entry(msgspec.Struct, frozen=True):
    """An entry of the review log, with Anki's units."""

    at_ms: int
    card: int
    ease: int = 3
    interval: int = 1
    factor: int = 2_500
    time_ms: int = 4_000
    kind: int = 1


def make_collection(
    file: Path,
    notes: Mapping[int, str],
    entries: Sequence[Entry],
    *,
    schema: int = 18,
    day_start: int | None = None,
) -> Path:
    """Write a collection with one card per note; `notes` maps a card's id to its note's fields."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA synchronous = off")
        connection.create_collation("unicase", lambda a, b: (a > b) - (a < b))
        connection.executescript(_BLOCKS["schema 11"])
        conf = "{}" if day_start is None else f'{{"rollover": {day_start}}}'
        connection.execute(_BLOCKS["add collection"], {"ver": schema, "conf": conf})
        if schema > 13:
            connection.executescript(_BLOCKS["schema 18"])
            connection.execute(_BLOCKS["add notetype"])
            if day_start is not None:
                connection.execute(_BLOCKS["add setting"], {"value": b"%d" % day_start})
        for card, fields in notes.items():
            note = {"id": card + 1, "mod": CHANGED_S, "fields": fields}
            connection.execute(_BLOCKS["add note"], note)
            connection.execute(_BLOCKS["add card"], {"id": card, "note": card + 1})
        for entry in entries:
            connection.execute(_BLOCKS["add answer"], _values(entry))
    return file


def _values(entry: Entry) -> dict[str, int]:
    fields = msgspec.structs.asdict(entry)
    return {**fields, "id": entry.at_ms, "time": entry.time_ms}


def make_package(
    file: Path, members: Mapping[str, bytes], *, compression: int = zipfile.ZIP_STORED
) -> Path:
    """Write a zip file; the member `collection.anki21b` is compressed with zstd."""
    with zipfile.ZipFile(file, "w", compression) as package:
        for name, content in members.items():
            is_compressed = name.endswith("21b")
            package.writestr(name, compress(content) if is_compressed else content)
    return file


def compress(content: bytes) -> bytes:
    """Compress with zstd as Anki does: the frame does not contain the size of the content."""
    target = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(target, closefd=False) as writer:
        writer.write(content)
    return target.getvalue()
