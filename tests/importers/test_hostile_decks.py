"""A damaged or hostile file is imported, or rejected with one line, within a limited time."""

import contextlib
import functools
import sqlite3
import tempfile
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from progress.adapters.postgres.statements import blocks
from progress.adapters.pubsub import publisher
from progress.errors import ReviewLogError
from progress.event_store import envelope
from progress.event_store.event_parser import Message, ParsedEvent
from progress.importers import anki_collection, anki_events, anki_import, anki_log, anki_package
from tests.support import anki_files, cli
from tests.support.anki_files import Entry

START_MS = 1_711_000_000_000
LEARNER = anki_events.Learner("anna")
NOTES = {1: "<b>to apple</b>\x1fback", 2: "{{c1::House::a building}}", 3: "日本[にほん]"}
ROWS = [Entry(START_MS + n, card) for n, card in enumerate([*NOTES, 1])]

# Parts that the patterns of strip_markup look for.
PARTS = (
    *("<", ">", "<style>", "</style>", "<script", "</script>", "<!--", "-->", "[sound:", "[anki:"),
    *("]", "[", "{{c1::", "{{c", "::", "}}", "あ", "&", "&#", "&#x", "1", "amp;", " ", "a", "\0"),
)

BLOCKS = blocks(str(Path(__file__).parents[1] / "support" / "hostile_decks"))
CHANGES = {name: script for name, script in BLOCKS.items() if name.startswith("change")}


def run(file: Path, *scripts: str) -> None:
    """Run each script on the database; ignore a script that does not fit its tables."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for script in scripts:
            with contextlib.suppress(sqlite3.Error):
                connection.executescript(script)


def loosen(file: Path) -> None:
    """Replace each table that the import reads by one without keys and constraints."""
    run(file, BLOCKS["loosen"])


def collection(folder: Path, schema: int = 18, script: str = "") -> Path:
    file = folder / "collection.anki2"
    file.unlink(missing_ok=True)
    anki_files.make_collection(file, NOTES, ROWS, schema=schema, day_start=3)
    run(file, script)
    return file


@functools.cache
def contents() -> dict[str, bytes]:
    """Return a small file of each form that can be imported, by its suffix."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        old, new = (collection(folder, schema).read_bytes() for schema in (11, 18))
        packages = {
            ".apkg": anki_files.make_package(folder / "a", {"collection.anki21": old}),
            ".colpkg": anki_files.make_package(folder / "b", {"collection.anki21b": new}),
            ".zip": anki_files.make_package(
                folder / "c", {"collection.anki2": old}, compression=zipfile.ZIP_DEFLATED
            ),
        }
        files = {suffix: file.read_bytes() for suffix, file in packages.items()}
    rows = [f"{n},{1 + n % 4},2024-03-01T09:00:0{n}Z,{n}000" for n in range(9)]
    log = "\n".join([",".join(anki_log.COLUMNS), *rows]).encode()
    return files | {".anki2": old, ".anki21": new, ".csv": log}


def import_or_reject(file: Path) -> str:
    """Import the file; return why it is rejected, or "".

    Assert that ingest accepts every event.
    """
    messages, reason = [], ""
    try:
        messages = anki_import.read(file, LEARNER).messages()
    except ReviewLogError as error:
        reason = str(error)
    assert not reason or reason.startswith(f"{file}: ")
    assert len(reason.splitlines()) <= 1
    entries = [
        entry
        for message in messages
        for entry in envelope.decode(publisher.encode(message), Message())
    ]
    ids = {entry.event_id for entry in entries if isinstance(entry, ParsedEvent)}
    assert len(ids) == len(entries)
    return reason


@pytest.mark.timeout(60)  # in cubic or quadratic time, a field would take hours
@example("", "{{c1::", "::")
@example("{{c1::a::", "<", "")
@given(st.sampled_from(PARTS), st.sampled_from(PARTS), st.sampled_from(PARTS))
def test_the_word_of_a_hostile_field_takes_linear_time(start: str, part: str, end: str) -> None:
    longest = anki_collection._LONGEST_FIELD
    half = part * (longest // 2 // len(part))
    anki_collection.strip_markup((start + half + end * longest)[:longest])


@given(st.lists(st.sampled_from(PARTS), max_size=40).map("".join))
def test_every_field_becomes_a_word_on_one_line(field: str) -> None:
    word = anki_collection.strip_markup(field)
    assert word == " ".join(word.split())
    assert anki_collection.strip_markup("x" * (anki_collection._LONGEST_FIELD + 1)) == ""


def test_clozes_inside_clozes_are_replaced_by_their_answers() -> None:
    field = "{{c1::Canberra::city::old}} was {{c2::founded {{c3::in 1913}}::when}} {{c4::}}{{c::x}}"
    assert anki_collection.strip_markup(field) == "Canberra was founded in 1913 {{c::x}}"


def test_markup_that_is_not_closed_ends_with_the_field() -> None:
    for field in ("word<style>x", "word<!-- x", "word [sound:x.mp3", "wo<b>rd", "word <SCRIPT> x"):
        assert anki_collection.strip_markup(field).replace(" ", "") == "word"


def test_a_table_that_is_a_view_or_virtual_is_rejected(tmp_path: Path) -> None:
    endless = import_or_reject(collection(tmp_path, script=BLOCKS["endless answers"]))
    assert endless.endswith(
        "expected an Anki collection: revlog is not a table that stores its rows"
    )
    virtual = import_or_reject(collection(tmp_path, script=BLOCKS["virtual notes"]))
    assert "Notes is not a table" in virtual


def test_rows_and_values_and_sizes_are_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = collection(tmp_path)
    with monkeypatch.context() as limited:
        limited.setattr(anki_collection, "_MAX_ROWS", 3)
        assert "expected at most 3 answers" in import_or_reject(file)
    with monkeypatch.context() as limited:
        limited.setattr(anki_package, "_MAX_VALUE_BYTES", 10)
        assert "too big" in import_or_reject(file)
    with monkeypatch.context() as limited:
        limited.setattr(anki_package, "_MAX_BYTES", 1 << 12)
        assert "expected a collection of at most" in import_or_reject(file)


def test_a_collection_that_takes_too_long_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anki_package, "_TIME_LIMIT_S", 0.0)
    file = collection(tmp_path)
    loosen(file)
    run(file, BLOCKS["repeat cards"])
    assert "cannot be read within 0 s: in Anki, run Tools >" in import_or_reject(file)


def test_an_integer_that_is_a_text_is_rejected_with_its_row(tmp_path: Path) -> None:
    file = collection(tmp_path)
    loosen(file)
    run(file, BLOCKS["text as a card"])
    found = import_or_reject(file)
    assert "row 2 of the answers: expected an integer, an integer" in found
    assert r"found (1711000000001, '[/b]\nx', 3" in found


@given(st.lists(st.sampled_from([*CHANGES]), max_size=3), st.sampled_from([11, 18]), st.booleans())
def test_a_collection_with_unusual_rows_is_imported_or_rejected(
    tmp_path: Path, changes: list[str], schema: int, is_loose: bool
) -> None:
    file = collection(tmp_path, schema)
    if is_loose:
        loosen(file)
    run(file, *(CHANGES[name] for name in changes))
    import_or_reject(file)


@given(
    st.sampled_from([*contents()]),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 4)), max_size=6),
    st.floats(0, 1) | st.just(1.0),
)
def test_a_damaged_file_is_imported_or_rejected(
    tmp_path: Path, suffix: str, edits: list[tuple[float, bytes, int]], kept: float
) -> None:
    """Each edit replaces some bytes at a place from 0 (the first byte) to 1 (the last)."""
    content = contents()[suffix]
    for share, added, removed in edits:
        place = round(share * len(content))
        content = content[:place] + added + content[place + removed :]
    file = tmp_path / f"deck{suffix}"
    file.write_bytes(content[: round(kept * len(content))])
    import_or_reject(file)


def test_the_command_rejects_a_hostile_deck_with_one_line(tmp_path: Path) -> None:
    file = collection(tmp_path)
    loosen(file)
    run(file, BLOCKS["text as a time"])
    reason = r"row 1 of the answers: expected an integer, an integer"
    for command in (("import", "anki", str(file)), ("demo", "--anki", str(file))):
        cli.expect_failure(cli.progress("", *command), reason, r"found ('[/b]\x1b[31m', 1, 3")
