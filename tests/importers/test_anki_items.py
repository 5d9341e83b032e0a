"""A card of a collection is an item of the learner's own, unless the log has it by its number."""

from pathlib import Path

import msgspec

from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub.publisher import Message
from progress.importers import anki_import
from progress.importers.anki_events import Learner
from tests.importers.test_anki_recorded import import_new, record
from tests.importers.test_lists import find_item as own
from tests.support import anki_files, cli, sample_events
from tests.support.anki_files import Entry
from tests.support.posts import NotedIngest

START_MS = 1_711_000_000_000


def write(folder: Path, notes: dict[int, str], *others: Entry) -> Path:
    rows = [*(Entry(START_MS + card, card) for card in (*notes, 9)), *others]  # 9 is deleted
    (folder / "a.anki2").unlink(missing_ok=True)
    return anki_files.make_collection(folder / "a.anki2", notes, rows)


def import_(
    connection: Connection, file: Path, user: str, *, in_catalogue: bool = False
) -> tuple[dict[str, str], dict[str, str], list[dict[str, object]]]:
    read = anki_import.read(file, Learner(user, "UTC"), in_catalogue=in_catalogue)
    events = import_new(connection, anki_import.adopt(connection, read))
    kinds = ("CardReviewed", "ItemSetAside")
    items = {e["data"]["item_id"]: e["event_type"] for e in events if e["event_type"] in kinds}
    listed = [e["data"] for e in events if e["event_type"] == "ItemListed"]
    words = {data["item_id"]: data["headword"] for data in listed if "headword" in data}
    return items, words, [e["data"] for e in events if e["event_type"] == "ItemPublished"]


def test_the_cards_of_two_learners_with_one_number_are_two_items(
    connection: Connection, tmp_path: Path
) -> None:
    for user, word in (("anna", "house"), ("bert", "Haus")):
        file = write(tmp_path, {1: word})
        items, words, described = import_(connection, file, user)
        assert items == {own(user, 1): "CardReviewed", own(user, 9): "ItemSetAside"}
        assert (words, described) == ({own(user, 1): word}, [])
        assert import_(connection, file, user) == ({}, {}, [])
        assert import_(connection, file, user, in_catalogue=True)[0] == {}, "it keeps its item"


def test_a_card_that_the_log_has_of_this_learner_keeps_its_number(
    connection: Connection, tmp_path: Path
) -> None:
    review = {"user_id": "anna", "item_id": "1", "rating": 3, "interval_days": 1}
    event = sample_events.envelope("CardReviewed", review, at=sample_events.BEGIN)
    record(connection, [Message("algorithm-events", [event])])
    file = write(tmp_path, {1: "house", 2: "tree"})
    items, words, _ = import_(connection, file, "anna")
    assert {*items} == {"1", own("anna", 2), own("anna", 9)}
    assert words == {"1": "house", own("anna", 2): "tree"}
    items, words, described = import_(connection, file, "bert", in_catalogue=True)
    assert ({*items}, words) == ({"1", "2", "9"}, {})
    assert [item.get("cefr_level") for item in described] == ["A1", "A1"]


def test_without_a_database_the_command_must_know_that_the_learner_is_new(
    tmp_path: Path, noted_ingest: NotedIngest
) -> None:
    options = noted_ingest.environment
    changes = [Entry(START_MS + place, 1, 0, kind=4) for place in (10, 11)]
    command = ("", "import", "anki", str(write(tmp_path, {1: "house"}, *changes)), "--json")
    cli.expect_failure(cli.progress(*command, **options), "no database is configured", "--first")
    assert noted_ingest.events == []
    shown = cli.expect_success(cli.progress(*command, "--first", **options))
    report = msgspec.json.decode(shown[shown.index("{") :])
    assert [report[name] for name in ("answers", "set_aside", "moved", "unmoved")] == [2, 1, 1, 1]
    assert [report[name] for name in ("lists", "listed", "unlisted")] == [1, 1, 0]
    cli.expect_success(cli.progress(*command, "--first", "--catalogue", **options))
    sent = [e["data"] for e in noted_ingest.events if e["event_type"] == "ItemPublished"]
    assert sent == [
        {"item_id": "1", "domains": [], "headword": "house", "cefr_level": "A1", "language": "en"},
    ]
