"""Anki files: collections with Anki's published schemas, and packages of collections."""

import io
import json
import sqlite3
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import MappingProxyType

import msgspec
import zstandard

from progress.adapters.postgres.statements import blocks

_BLOCKS = blocks(str(Path(__file__).with_suffix("")))

CHANGED_S = 1_700_000_000  # the time of a note's last change


class OtherCard(msgspec.Struct, frozen=True):
    """A further card of a note, or another state of its only card, with Anki's units."""

    id: int
    note: int
    ord: int = 0
    changed_s: int = 0
    queue: int = 2
    kind: int = 2
    due: int = 0
    odue: int = 0
    odid: int = 0
    deck: int = 1


class Entry(msgspec.Struct, frozen=True):
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
    others: Sequence[OtherCard] = (),
    templates: Sequence[str] = ("Card 1",),
    is_cloze: bool = False,
    created_s: int = 0,
    sort_field: int = 0,
    decks: Mapping[int, str] = MappingProxyType({1: "Default"}),
    changed_ms: int = 0,
) -> Path:
    """Write a collection with one card per note; `notes` maps a card's id to its note's fields.

    `others` are further cards, or replace those of the same id. Paths of `decks` have "::".
    """
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA synchronous = off")
        connection.create_collation("unicase", lambda a, b: (a > b) - (a < b))
        connection.executescript(_BLOCKS["schema 11"])
        conf = "{}" if day_start is None else f'{{"rollover": {day_start}}}'
        models = {
            "1": {
                "type": int(is_cloze),
                "sortf": sort_field,
                "tmpls": [{"ord": n, "name": name} for n, name in enumerate(templates)],
            }
        }
        values: dict[str, object] = {
            "crt": created_s,
            "ver": schema,
            "conf": conf,
            "models": json.dumps(models) if schema < 15 else "",
            "mod": changed_ms,
            "decks": json.dumps({n: {"name": name} for n, name in decks.items() if schema < 15}),
        }
        connection.execute(_BLOCKS["add collection"], values)
        if schema > 13:
            connection.executescript(_BLOCKS["schema 18"])
            low, high = sort_field % 128, sort_field // 128
            place = bytes([0x10, 0x80 | low, high] if high else [0x10, low])
            config = b"\x08\x01" * is_cloze + place * bool(sort_field) + b"\x1a\x00"
            connection.execute(_BLOCKS["add notetype"], {"config": config})
            for number, name in decks.items():
                path = name.replace("::", "\x1f")
                connection.execute(_BLOCKS["add deck"], {"id": number, "name": path})
            for number, name in enumerate(templates):
                connection.execute(_BLOCKS["add template"], {"ord": number, "name": name})
            if day_start is not None:
                connection.execute(_BLOCKS["add setting"], {"value": b"%d" % day_start})
        for card, fields in notes.items():
            note = {"id": card + 1, "mod": CHANGED_S, "fields": fields}
            connection.execute(_BLOCKS["add note"], note)
            own = msgspec.structs.asdict(OtherCard(card, card + 1))
            connection.execute(_BLOCKS["add card"], own)
        for other in others:
            connection.execute(_BLOCKS["add card"], msgspec.structs.asdict(other))
        for entry in entries:
            answer = {"id": entry.at_ms, "time": entry.time_ms, **msgspec.structs.asdict(entry)}
            connection.execute(_BLOCKS["add answer"], answer)
    return file


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
