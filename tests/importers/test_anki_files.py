"""The import reads Anki's files; it rejects a damaged or hostile file with one line, and in time.

The tests generate these files with Anki's published schemas.
"""

import contextlib
import functools
import sqlite3
import tempfile
import zipfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from progress.adapters.postgres.statements import blocks
from progress.adapters.pubsub import publisher
from progress.errors import ReviewLogError
from progress.event_store import envelope
from progress.event_store.entries import Message, ParsedEvent
from progress.importers import anki_collection, anki_events, anki_import, review_log
from tests.support import anki_files, cli
from tests.support.anki_files import Entry, OtherCard
from tests.support.posts import NotedIngest

NOTES = {
    1: "<b>to apple</b>\x1fthe back",
    2: "{{c1::House::a building}} [sound:house.mp3]<style>b {}</style>",
    3: "日本[にほん]",
    4: "たべる",
    5: "xyzzy &amp;<br>co",
    6: "<img src='word.png'>",
}
START_MS = 1_711_000_000_000
LEARNER = anki_events.Learner("anna")

entries = st.lists(
    st.builds(
        Entry,
        at_ms=st.integers(START_MS, START_MS + 10**9),
        card=st.sampled_from([*NOTES, 99]),
        ease=st.integers(0, 4),
        interval=st.integers(-(10**6), 40_000),
        factor=st.sampled_from([0, 100, 1_100, 1_300, 2_500, 20_000]),
        time_ms=st.integers(-1, 10**9),
        kind=st.integers(0, 5),
    ),
    unique_by=lambda entry: entry.at_ms,
    max_size=20,
).map(lambda rows: [*rows, Entry(START_MS - 1, 1)])


def write_deck(folder: Path, schema: int = 18, script: str = "", *, day_start: int = 3) -> Path:
    file = folder / "collection.anki2"
    file.unlink(missing_ok=True)
    rows = [Entry(START_MS + n, card) for n, card in enumerate(NOTES)]
    anki_files.make_collection(file, NOTES, rows, schema=schema, day_start=day_start)
    run(file, script)
    return file


def run(file: Path, *scripts: str) -> None:
    """Run each script on the database; ignore a script that does not fit its tables."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for script in scripts:
            with contextlib.suppress(sqlite3.Error):
                connection.executescript(script)


def test_the_newest_collection_of_a_package_is_read(tmp_path: Path) -> None:
    old = anki_files.make_collection(tmp_path / "old", {7: "Please update"}, []).read_bytes()
    expected = None
    for name, schema, others in (
        ("collection.anki2", 11, {}),
        ("collection.anki21", 11, {"collection.anki2": old}),
        ("collection.anki21b", 18, {"collection.anki2": old, "meta": b"\x08\x03"}),
    ):
        members = others | {name: write_deck(tmp_path, schema).read_bytes()}
        file = anki_files.make_package(tmp_path / f"{name}.colpkg", members)
        read = anki_collection.read(file)
        expected = expected or read
        assert read == expected
        assert (len(read.answers), read.day_start_hour) == (6, 3)


@pytest.mark.parametrize("schema", [11, 18])
@pytest.mark.parametrize("is_cloze", [True, False])
def test_the_word_of_a_card_is_the_field_by_which_anki_sorts(
    tmp_path: Path, schema: int, is_cloze: bool
) -> None:
    notes = {1: "\x1f".join(["0007", "<i>acquire</i>", *map(str, range(200))])}
    rows = [Entry(START_MS, 1)]
    for number, word in ((0, "0007"), (1, "acquire"), (130, "128"), (999, "0007")):
        file = anki_files.make_collection(
            tmp_path / str(number), notes, rows, schema=schema, is_cloze=is_cloze, sort_field=number
        )
        assert [card.word for card in anki_collection.read(file).cards] == [word]


@pytest.mark.parametrize("schema", [11, 18])
def test_the_cards_of_a_note_have_the_kinds_of_their_templates_or_clozes(
    tmp_path: Path, schema: int
) -> None:
    others = [OtherCard(2, 2, ord=1)]

    def kinds(*templates: str, is_cloze: bool = False) -> list[str | None]:
        file = anki_files.make_collection(
            tmp_path / "a.anki2",
            {1: "Haus"},
            [Entry(START_MS, 1)],
            schema=schema,
            others=others,
            templates=templates,
            is_cloze=is_cloze,
        )
        events = published(file)
        file.unlink()
        return [event["data"].get("kind") for event in events]

    assert kinds("Reading", " Typ\x07ing " + "x" * 60) == ["Reading", f"Typ ing {'x' * 36}…"]
    assert kinds("Cloze", is_cloze=True) == ["Cloze 1", "Cloze 2"]
    assert kinds("Card 1") == [None, None], "nothing tells the cards of this note apart"
    file = anki_files.make_collection(tmp_path / "b.anki2", {1: "Haus"}, [Entry(START_MS, 1)])
    (event,) = published(file)
    assert event["event_id"] == "1bfb9765-ce71-5917-9461-2dfa83d881a0", "as in earlier versions"


def test_a_word_in_the_english_lists_gets_a_level_and_a_word_in_kana_gets_only_a_language(
    tmp_path: Path,
) -> None:
    file = write_deck(tmp_path)
    items = {event["data"]["item_id"]: event["data"] for event in published(file)}
    assert (items["1"]["cefr_level"], items["1"]["language"]) == ("A1", "en")
    assert (items["4"].get("cefr_level"), items["4"]["language"]) == (None, "ja")
    assert items["5"] == {"item_id": "5", "domains": [], "headword": "xyzzy & co"}
    german = {event["data"]["item_id"]: event["data"] for event in published(file, "de")}
    assert german["1"] == {
        "item_id": "1", "domains": [], "headword": "to apple", "language": "de"
    }  # fmt: skip
    words = dict(enumerate(["die Hand", "Hand", "Haus", "Baum", "Brot", "Ei"]))
    file = anki_files.make_collection(tmp_path / "german.anki2", words, [Entry(START_MS, 1)])
    assert anki_import.read(file, LEARNER, in_catalogue=True).words == {}, "the lists have few"


def published(file: Path, language: str | None = None) -> list[anki_events.Envelope]:
    messages = anki_import.read(file, LEARNER, language, in_catalogue=True).messages()
    events = [event for message in messages for event in message.events]
    return [event for event in events if event["event_type"] == "ItemPublished"]


@given(rows=entries)
def test_ingest_accepts_every_event_of_a_collection_and_a_second_import_adds_nothing(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Entry]
) -> None:
    file = tmp_path_factory.mktemp("anki") / "a.anki2"
    anki_files.make_collection(file, NOTES, rows)
    assert import_or_reject(file) == ""
    messages = anki_import.read(file, LEARNER).messages()
    assert messages == anki_import.read(file, LEARNER).messages()
    kinds = [event["event_type"] for message in messages for event in message.events]
    tests = [row for row in rows if row.ease and (row.kind, row.factor) != (3, 0)]
    assert kinds.count("CardReviewed") == len(tests)


def test_the_imported_schedule_equals_the_schedule_of_the_collection(tmp_path: Path) -> None:
    rows = [
        Entry(START_MS, 1, ease=1, interval=-600, factor=0, kind=0),
        Entry(START_MS + 1, 1, interval=12, factor=2_650),
        Entry(START_MS + 2, 1, interval=30, factor=540),  # 540: FSRS's difficulty, not an easiness
        Entry(START_MS + 3, 1, interval=-3 * 86_400, factor=0, kind=0),  # a step of three days
        Entry(START_MS + 4, 1, interval=-86_399, factor=0, kind=0, time_ms=0),
    ]
    file = anki_files.make_collection(tmp_path / "a.anki2", NOTES, rows)
    answers = anki_collection.read(file).answers
    assert [answer.interval_days for answer in answers] == [0, 12, 30, 3, 0]
    assert [answer.correct for answer in answers] == [False, True, True, True, True]
    assert [answer.response_time_ms for answer in answers] == [4_000] * 4 + [None]
    assert answers[1].at - answers[0].at == timedelta(milliseconds=1)
    assert answers[0].at == datetime.fromtimestamp(START_MS / 1_000, UTC)


@pytest.mark.parametrize("ease", [1, 3])
def test_an_answer_in_a_filtered_deck_that_does_not_reschedule_is_left_out_and_counted(
    tmp_path: Path, noted_ingest: NotedIngest, ease: int
) -> None:
    rows = [
        Entry(START_MS, 1),
        Entry(START_MS + 1, 1, ease=ease, interval=0, factor=0, kind=3),
        Entry(START_MS + 2, 1, ease=ease, interval=3, factor=2_500, kind=3),  # it reschedules
    ]
    file = anki_files.make_collection(tmp_path / "a.anki2", NOTES, rows)
    read = anki_collection.read(file)
    milliseconds = [round(answer.at.timestamp() * 1_000) - START_MS for answer in read.answers]
    assert (milliseconds, read.left_out["crammed"]) == ([0, 2], 1)
    command = ("import", "anki", str(file), "--first")
    shown = cli.expect_success(cli.progress("", *command, **noted_ingest.environment))
    assert "1 answers in filtered decks that do not reschedule are left out" in shown


def test_the_error_about_an_unreadable_file_says_what_to_do(tmp_path: Path) -> None:
    whole = write_deck(tmp_path).read_bytes()
    package = anki_files.make_package(tmp_path / "a", {"collection.anki21b": whole}).read_bytes()
    newer = anki_files.make_collection(tmp_path / "newer", NOTES, [], schema=19).read_bytes()
    older = anki_files.make_collection(tmp_path / "older", NOTES, [], schema=9).read_bytes()
    empty = anki_files.make_collection(tmp_path / "empty", NOTES, []).read_bytes()
    other = anki_files.make_package(tmp_path / "b", {"mimetype": b"epub"}).read_bytes()
    not_zstd = anki_files.make_package(tmp_path / "c", {"collection.anki21": whole[:100] + b"?"})
    text = anki_files.make_package(tmp_path / "d", {"collection.anki2": b"text"}).read_bytes()
    script = "UPDATE notes SET flds = CAST(x'6361e9' AS text)"
    latin = write_deck(tmp_path, script=script).read_bytes()
    lzma = anki_files.make_package(
        tmp_path / "e", {"collection.anki21": whole}, compression=zipfile.ZIP_LZMA
    ).read_bytes()
    run(tmp_path / "words", "CREATE TABLE words (word text)")
    for content, words in (
        (b"", "damaged, or is not a package"),
        (b"card_id,review_rating", "damaged, or is not a package"),
        (package[: len(package) // 2], "the package is damaged"),
        (package.replace(b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfe"), "damaged"),
        (not_zstd.read_bytes(), "the collection is damaged"),
        (text, "the collection is damaged: file is not a database"),
        (other, "this zip file has no collection"),
        (newer, 'schema 11 to 18, found 19: export it from Anki with the option "Support older'),
        (older, "schema 11 to 18, found 9: export it from Anki 2.1 or newer"),
        (empty, "no answers: export it from Anki with its scheduling information"),
        (whole[: len(whole) // 2], "damaged"),
        (latin, "damaged: a text is not in UTF-8: in Anki, run Tools > Check Database"),
        (lzma, "Anki does not use this zip file's compression"),
        ((tmp_path / "words").read_bytes(), "expected an Anki collection: no such table: col"),
    ):
        (file := tmp_path / "export.colpkg").write_bytes(content)
        with pytest.raises(ReviewLogError, match=words) as raised:
            anki_import.read(file, LEARNER)
        assert str(raised.value).startswith(str(file))
        assert "\n" not in str(raised.value)
    (log := tmp_path / "log.csv").write_text(",".join(review_log.COLUMNS), encoding="utf-8")
    with pytest.raises(ReviewLogError, match=r"log\.csv: the review log has no answers"):
        anki_import.read(log, LEARNER)
    file = write_deck(tmp_path)
    with closing(sqlite3.connect(file, isolation_level=None)) as anki:
        anki.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ReviewLogError, match="Anki has the collection open: close Anki"):
            anki_import.read(file, LEARNER)


def test_the_machine_sets_the_default_time_zone_and_the_collection_sets_the_default_day_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = tmp_path / "zoneinfo" / "Asia"
    zone.mkdir(parents=True)
    monkeypatch.setattr(anki_import, "_ZONE_FILE", zone / "Tokyo")
    file = write_deck(tmp_path, day_start=5)
    learner = anki_import.read(file, LEARNER).learner
    assert (learner.timezone, learner.day_start_hour) == ("Asia/Tokyo", 5)
    chosen = anki_import.read(file, anki_events.Learner("anna", "Europe/Berlin", 0)).learner
    assert (chosen.timezone, chosen.day_start_hour) == ("Europe/Berlin", 0)
    nulled = "CREATE TABLE other AS SELECT ver, mod, models, decks, NULL AS conf FROM col;"
    nulled += "DROP TABLE col; ALTER TABLE other RENAME TO col"
    assert anki_collection.read(write_deck(tmp_path, 11, nulled)).day_start_hour == 4


# Parts that the patterns of strip_markup look for.
PARTS = (
    *("<", ">", "<style>", "</style>", "<script", "</script>", "<!--", "-->", "[sound:", "[anki:"),
    *("]", "[", "{{c1::", "{{c", "::", "}}", "あ", "&", "&#", "&#x", "1", "amp;", " ", "a", "\0"),
)

BLOCKS = blocks(str(Path(__file__).parents[1] / "support" / "hostile_decks"))
CHANGES = BLOCKS["changes"].split("\n\n")


@functools.cache
def contents() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        old, new = (write_deck(folder, schema).read_bytes() for schema in (11, 18))
        packages = {
            ".apkg": anki_files.make_package(folder / "a", {"collection.anki21": old}),
            ".colpkg": anki_files.make_package(folder / "b", {"collection.anki21b": new}),
            ".zip": anki_files.make_package(
                folder / "c", {"collection.anki2": old}, compression=zipfile.ZIP_DEFLATED
            ),
        }
        files = {suffix: file.read_bytes() for suffix, file in packages.items()}
    rows = [f"{n},{1 + n % 4},2024-03-01T09:00:0{n}Z,{n}000" for n in range(9)]
    log = "\n".join([",".join(review_log.COLUMNS), *rows]).encode()
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


def test_a_field_becomes_its_text_in_which_only_tags_of_blocks_separate_words() -> None:
    for field, word in [
        ("<b>un</b>happy", "unhappy"),
        ("ge<i>gang</i>en", "gegangen"),
        ('<span style="color:#00f">外</span><span style="color:#555">边</span>', "外边"),
        ("un<!-- a note -->happy", "unhappy"),
        ("un&shy;happy\u200b", "unhappy"),
        ("House [sound:house.mp3]<style>b {}</style>", "House"),
        ("one<br>two", "one two"),
        ("one<br/>two<BR >three", "one two three"),
        ("<div>one</div><div>two</div>", "one two"),
        ("<ruby>漢字<rt>かんじ</rt></ruby>", "漢字"),
        ("<ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp>字<rt>じ</rt></ruby>", "漢字"),
        ("宇宙[うちゅう;n5]ステーション", "宇宙ステーション"),
        ("食べる[たべる;k2,h]", "食べる"),
        ("a < b > c", "a c"),
        ("list[int]", "list[int]"),
        # Clozes in clozes are their answers, and markup that is not closed ends with the field.
        (
            "{{c1::Rome::city::old}} {{c2::in {{c3::1913}}::when}} {{c4::}}{{c::x}}",
            "Rome in 1913 {{c::x}}",
        ),
        ("word<style>x", "word"),
        ("word<!-- x", "word"),
        ("word [sound:x.mp3", "word"),
        ("wo<b>rd", "word"),
        ("word <SCRIPT> x", "word"),
    ]:
        assert anki_collection.strip_markup(field) == word


def test_a_table_that_is_a_view_or_virtual_is_rejected(tmp_path: Path) -> None:
    for script, table in (("endless answers", "revlog"), ("virtual notes", "Notes")):
        reason = import_or_reject(write_deck(tmp_path, script=BLOCKS[script]))
        rule = f"expected an Anki collection: {table} is not a table that stores its rows"
        assert reason.endswith(rule)


def test_rows_values_sizes_and_the_time_are_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_deck(tmp_path)
    with monkeypatch.context() as limited:
        limited.setattr(anki_collection, "_MAX_ROWS", 3)
        assert "expected at most 3 answers" in import_or_reject(file)
    with monkeypatch.context() as limited:
        limited.setattr(anki_collection, "_MAX_VALUE_BYTES", 10)
        assert "too big" in import_or_reject(file)
    with monkeypatch.context() as limited:
        limited.setattr(anki_collection, "_MAX_BYTES", 1 << 12)
        limited.setattr(anki_collection, "_CHUNK", 1 << 10)
        package = anki_files.make_package(
            tmp_path / "a.apkg", {"collection.anki21b": file.read_bytes()}
        )
        for each in (file, package):
            assert "expected a collection of at most" in import_or_reject(each)
    monkeypatch.setattr(anki_collection, "_TIME_LIMIT_S", 0.0)
    run(file, BLOCKS["loosen"], BLOCKS["repeat cards"])
    assert "cannot be read within 0 s: in Anki, run Tools >" in import_or_reject(file)


@given(st.lists(st.sampled_from(CHANGES), max_size=3), st.sampled_from([11, 18]), st.booleans())
def test_a_collection_with_unusual_rows_is_imported_or_rejected(
    tmp_path: Path, changes: list[str], schema: int, is_loose: bool
) -> None:
    file = write_deck(tmp_path, schema)
    if is_loose:
        run(file, BLOCKS["loosen"])
    run(file, *changes)
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
    file = write_deck(tmp_path)
    run(file, BLOCKS["loosen"], BLOCKS["text as a time"])
    reason = r"row 1 of the answers: expected an integer, an integer"
    for command in (("import", "anki", str(file)), ("demo", "--anki", str(file))):
        cli.expect_failure(cli.progress("", *command), reason, r"found ('[/b]\x1b[31m', 1, 3")
