"""The import reads Anki's packages and collections.

The tests generate these files with Anki's published schemas.
"""

import sqlite3
import zipfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.pubsub import publisher
from progress.errors import ReviewLogError
from progress.event_store import envelope
from progress.event_store.event_parser import Message, ParsedEvent
from progress.importers import anki_collection, anki_events, anki_import, anki_log
from tests.support import anki_files
from tests.support.anki_files import Entry

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
        interval=st.integers(-86_400, 40_000),
        factor=st.sampled_from([0, 100, 1_100, 1_300, 2_500, 20_000]),
        time_ms=st.integers(-1, 10**9),
        kind=st.integers(0, 5),
    ),
    unique_by=lambda entry: entry.at_ms,
    max_size=20,
).map(lambda rows: [*rows, Entry(START_MS - 1, 1)])


def collection(folder: Path, schema: int = 18, day_start: int | None = None) -> bytes:
    file = folder / f"collection-{schema}"
    file.unlink(missing_ok=True)
    rows = [Entry(START_MS + n, card) for n, card in enumerate(NOTES)]
    anki_files.make_collection(file, NOTES, rows, schema=schema, day_start=day_start)
    return file.read_bytes()


def test_the_newest_collection_of_a_package_is_read(tmp_path: Path) -> None:
    old = anki_files.make_collection(tmp_path / "old", {7: "Please update"}, []).read_bytes()
    expected = None
    for name, schema, others in (
        ("collection.anki2", 11, {}),
        ("collection.anki21", 11, {"collection.anki2": old}),
        ("collection.anki21b", 18, {"collection.anki2": old, "meta": b"\x08\x03"}),
    ):
        members = others | {name: collection(tmp_path, schema, day_start=3)}
        file = anki_files.make_package(tmp_path / f"{name}.colpkg", members)
        read = anki_collection.read(file)
        expected = expected or read
        assert read == expected
        assert (len(read.answers), read.day_start_hour) == (6, 3)


def test_the_word_of_a_card_is_the_first_field_of_its_note_after_markup_is_removed(
    tmp_path: Path,
) -> None:
    file = tmp_path / "words.anki2"
    file.write_bytes(collection(tmp_path))
    words = {card.card_id: card.word for card in anki_collection.read(file).cards}
    assert words == {"1": "to apple", "2": "House", "3": "日本", "4": "たべる", "5": "xyzzy & co"}


def test_a_word_in_the_english_lists_gets_a_level_and_a_word_in_kana_gets_only_a_language(
    tmp_path: Path,
) -> None:
    file = tmp_path / "words.anki2"
    file.write_bytes(collection(tmp_path))
    items = {event["data"]["item_id"]: event["data"] for event in published(file)}
    assert (items["1"]["cefr_level"], items["1"]["language"]) == ("A1", "en")
    assert (items["4"].get("cefr_level"), items["4"]["language"]) == (None, "ja")
    assert items["5"] == {"item_id": "5", "domains": [], "headword": "xyzzy & co"}
    german = {event["data"]["item_id"]: event["data"] for event in published(file, "de")}
    assert german["1"] == {
        "item_id": "1", "domains": [], "headword": "to apple", "language": "de"
    }  # fmt: skip


def published(file: Path, language: str | None = None) -> list[anki_events.Envelope]:
    messages = anki_import.read(file, LEARNER, language).messages()
    events = [event for message in messages for event in message.events]
    return [event for event in events if event["event_type"] == "ItemPublished"]


def test_german_words_get_no_level_if_the_english_lists_have_few_of_them(tmp_path: Path) -> None:
    words = dict(enumerate(["die Hand", "Hand", "Haus", "Baum", "Brot", "Ei"]))
    file = anki_files.make_collection(tmp_path / "german.anki2", words, [Entry(START_MS, 1)])
    assert anki_import.read(file, LEARNER).words == {}


@given(rows=entries)
def test_ingest_accepts_every_event_of_a_collection_and_a_second_import_adds_nothing(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Entry]
) -> None:
    file = tmp_path_factory.mktemp("anki") / "a.anki2"
    anki_files.make_collection(file, NOTES, rows)
    messages = anki_import.read(file, LEARNER).messages()
    assert messages == anki_import.read(file, LEARNER).messages()
    ids = []
    for message in messages:
        for entry in envelope.decode(publisher.encode(message), Message()):
            assert isinstance(entry, ParsedEvent), entry
            ids.append(entry.event_id)
    assert len(set(ids)) == len(ids)
    kinds = [event["event_type"] for message in messages for event in message.events]
    answered = [row for row in rows if row.ease]
    assert sum(kind.endswith("AnswerGiven") for kind in kinds) == len(answered)
    scheduled = [row for row in answered if (row.kind, row.factor) != (3, 0)]
    assert kinds.count("ReviewProcessed") == len(scheduled)


def test_the_imported_schedule_equals_the_schedule_of_the_collection(tmp_path: Path) -> None:
    rows = [
        Entry(START_MS, 1, ease=1, interval=-600, factor=0, kind=0),
        Entry(START_MS + 1, 1, interval=12, factor=2_650),
        Entry(START_MS + 2, 1, interval=30, factor=540),  # 540: FSRS's difficulty, not an easiness
        Entry(START_MS + 3, 1, ease=2, interval=-60, factor=0, kind=3),
    ]
    file = anki_files.make_collection(tmp_path / "a.anki2", NOTES, rows)
    answers = anki_collection.read(file).answers
    assert [answer.review for answer in answers] == [
        anki_log.Review(0, 2.5), anki_log.Review(12, 2.65), anki_log.Review(30, 2.5), None
    ]  # fmt: skip
    assert [answer.correct for answer in answers] == [False, True, True, True]
    assert answers[1].at - answers[0].at == timedelta(milliseconds=1)
    assert answers[0].at == datetime.fromtimestamp(START_MS / 1_000, UTC)


def write(folder: Path, content: bytes) -> Path:
    file = folder / "export.colpkg"
    file.write_bytes(content)
    return file


def test_the_error_about_an_unreadable_file_says_what_to_do(tmp_path: Path) -> None:
    whole = collection(tmp_path)
    package = anki_files.make_package(tmp_path / "a", {"collection.anki21b": whole}).read_bytes()
    newer = anki_files.make_collection(tmp_path / "newer", NOTES, [], schema=19).read_bytes()
    older = anki_files.make_collection(tmp_path / "older", NOTES, [], schema=9).read_bytes()
    empty = anki_files.make_collection(tmp_path / "empty", NOTES, []).read_bytes()
    other = anki_files.make_package(tmp_path / "b", {"mimetype": b"epub"}).read_bytes()
    not_zstd = anki_files.make_package(tmp_path / "c", {"collection.anki21": whole[:100] + b"?"})
    text = anki_files.make_package(tmp_path / "d", {"collection.anki2": b"text"}).read_bytes()
    lzma = anki_files.make_package(
        tmp_path / "e", {"collection.anki21": whole}, compression=zipfile.ZIP_LZMA
    ).read_bytes()
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
        (lzma, "Anki does not use this zip file's compression"),
    ):
        with pytest.raises(ReviewLogError, match=words) as raised:
            anki_import.read(write(tmp_path, content), LEARNER)
        assert str(raised.value).startswith(str(tmp_path / "export.colpkg"))
        assert "\n" not in str(raised.value)


def test_a_review_log_without_answers_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text(",".join(anki_log.COLUMNS), encoding="utf-8")
    with pytest.raises(ReviewLogError, match=r"log\.csv: the review log has no answers"):
        anki_import.read(file, LEARNER)


def test_a_collection_with_null_settings_has_the_default_day_start(tmp_path: Path) -> None:
    rows = [Entry(START_MS, 1)]
    file = anki_files.make_collection(tmp_path / "a.anki2", NOTES, rows, schema=11)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript(
            "CREATE TABLE other AS SELECT ver, NULL AS conf FROM col;"
            "DROP TABLE col; ALTER TABLE other RENAME TO col"
        )
    assert anki_collection.read(file).day_start_hour == 4


def test_a_database_without_the_tables_of_anki_is_rejected(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.anki2")) as connection, connection:
        connection.execute("CREATE TABLE words (word text)")
    with pytest.raises(ReviewLogError, match="expected an Anki collection: no such table: col"):
        anki_import.read(tmp_path / "other.anki2", LEARNER)


def test_the_error_says_that_anki_has_the_collection_open(tmp_path: Path) -> None:
    file = anki_files.make_collection(tmp_path / "open.anki2", NOTES, [Entry(START_MS, 1)])
    with closing(sqlite3.connect(file, isolation_level=None)) as anki:
        anki.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ReviewLogError, match="Anki has the collection open: close Anki"):
            anki_import.read(file, LEARNER)


def test_a_collection_larger_than_the_limit_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("progress.importers.anki_package._MAX_BYTES", 1 << 12)
    monkeypatch.setattr("progress.importers.anki_package._CHUNK", 1 << 10)
    package = {"collection.anki21b": collection(tmp_path)}
    with pytest.raises(ReviewLogError, match="expected a collection of at most"):
        anki_import.read(anki_files.make_package(tmp_path / "big.apkg", package), LEARNER)


def test_the_machine_sets_the_default_time_zone_and_the_collection_sets_the_default_day_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = tmp_path / "zoneinfo" / "Asia"
    zone.mkdir(parents=True)
    monkeypatch.setattr(anki_import, "_ZONE_FILE", zone / "Tokyo")
    file = tmp_path / "a.anki2"
    file.write_bytes(collection(tmp_path, day_start=5))
    learner = anki_import.read(file, LEARNER).learner
    assert (learner.timezone, learner.day_start_hour) == ("Asia/Tokyo", 5)
    chosen = anki_import.read(file, anki_events.Learner("anna", "Europe/Berlin", 0)).learner
    assert (chosen.timezone, chosen.day_start_hour) == ("Europe/Berlin", 0)
