"""Cards that are moved, forgotten, filtered, buried, suspended or deleted are due as in Anki."""

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from progress.adapters.postgres.database import Connection
from progress.importers import anki_import, local_days
from progress.importers.anki_events import Learner
from progress.projections.projector import Projector
from tests.conftest import Store
from tests.importers.test_anki_recorded import import_new
from tests.support import anki_files, api
from tests.support.anki_files import Entry, OtherCard

NOW = datetime.now(UTC).replace(microsecond=0)
TODAY = local_days.find_day(NOW, "UTC", 4)
CREATED = datetime(TODAY.year - 3, 1, 1, 4, tzinfo=UTC)
DAY = (TODAY - CREATED.date()).days  # the number that Anki gives today
LEARNER = Learner("anna", "UTC")
SET, RESCHEDULED = 4, 5  # types of rows
NEW, LEARNING, SUSPENDED, BURIED, BURIED_BY_HAND = 0, 1, -1, -2, -3


def ago_ms(days: float) -> int:
    return int((NOW - timedelta(days=days)).timestamp() * 1_000)


def answered(days: float, card: int, interval: int) -> Entry:
    return Entry(ago_ms(days) + card, card, interval=interval)


def changed(days: float, card: int, interval: int, kind: int = SET, factor: int = 2_500) -> Entry:
    return Entry(ago_ms(days) + card, card, 0, interval, factor, 0, kind)


def forgotten(days: float, card: int) -> Entry:
    return changed(days, card, 0, factor=0)


def card(number: int, due: int, queue: int = 2, kind: int = 2, **fields: int) -> OtherCard:
    """Return a card that is due so many days from today."""
    return OtherCard(
        number, number + 1, 0, int(NOW.timestamp()), queue, kind, due=DAY + due, **fields
    )


CARDS = {
    "set to another day": (card(10, 18), [answered(17, 10, 7), changed(12, 10, 30)]),
    "rescheduled": (card(11, 42), [answered(20, 11, 5), changed(18, 11, 60, RESCHEDULED)]),
    "the row is not the distance": (card(12, 18), [answered(9, 12, 3), changed(0, 12, 7)]),
    "moved twice": (card(13, 5), [answered(9, 13, 3), changed(8, 13, 9), changed(7, 13, 90)]),
    "answered after a move": (card(14, 10), [changed(9, 14, 40), answered(2, 14, 12)]),
    "forgotten": (card(15, 0, NEW, NEW), [answered(9, 15, 30), forgotten(5, 15)]),
    "forgotten and answered": (
        card(16, 3),
        [answered(9, 16, 30), forgotten(6, 16), forgotten(5, 16), answered(1, 16, 4)],
    ),
    "forgotten and moved": (
        card(17, 9),
        [answered(9, 17, 30), forgotten(5, 17), changed(4, 17, 1, factor=0)],
    ),
    "forgotten and suspended": (
        card(18, 0, SUSPENDED, NEW), [answered(9, 18, 1), forgotten(5, 18)]
    ),
    "forgotten without an answer": (card(19, 0, NEW, NEW), [forgotten(5, 19)]),
    "in a filtered deck": (
        card(20, -100_000, odue=DAY + 6, odid=7),
        [answered(9, 20, 2), changed(3, 20, 2, RESCHEDULED)],
    ),
    "buried": (card(21, 0, BURIED), [answered(9, 21, 2), changed(3, 21, 3)]),
    "buried by hand": (card(22, 2, BURIED_BY_HAND), [answered(9, 22, 2), changed(3, 22, 3)]),
    "suspended": (card(23, 0, SUSPENDED), [answered(9, 23, 2), changed(3, 23, 3)]),
    "in learning": (card(24, 10**9, LEARNING, 3), [answered(0.1, 24, 0), changed(0.05, 24, 3)]),
    "overdue before it moved": (card(25, -5), [answered(9, 25, 2), changed(2, 25, 2)]),
    "moved without an answer": (card(26, 4), [changed(1, 26, 2)]),
    "crammed after a move": (
        card(27, 8),
        [answered(9, 27, 2), changed(1, 27, 9), Entry(ago_ms(0.5), 27, 3, 0, 0, 900, 3)],
    ),
}  # fmt: skip
DELETED = [answered(9, 40, 2), changed(3, 40, 5)]


def write(folder: Path, schema: int) -> Path:
    rows = [row for _, entries in CARDS.values() for row in entries]
    return anki_files.make_collection(
        folder / "a.anki2",
        {one.id: "word" for one, _ in CARDS.values()},
        [*rows, *DELETED],
        schema=schema,
        day_start=4,
        others=[one for one, _ in CARDS.values()],
        created_s=int(CREATED.timestamp()),
    )


def ask_anki(file: Path) -> dict[str, date]:
    query = """
        SELECT id, CASE WHEN odid THEN odue ELSE due END FROM cards
        WHERE type = 2 AND queue <> -1
    """
    with closing(sqlite3.connect(file)) as anki:
        return {str(card): TODAY + timedelta(day - DAY) for card, day in anki.execute(query)}


def ask(store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    query = """{
        itemStats(first: 100) { edges { node { itemId dueOn setAside mastery } } }
        dueForecast(days: 1) { date items }
    }"""
    with api.serve(store.url) as fetch:
        shown = fetch.data(query, LEARNER.user_id)
    nodes = [edge["node"] for edge in shown["itemStats"]["edges"]]
    return {node["itemId"]: node for node in nodes}, shown["dueForecast"][0]


@pytest.mark.parametrize("schema", [11, 18])
def test_moved_cards_are_due_when_anki_says(
    store: Store, connection: Connection, tmp_path: Path, schema: int
) -> None:
    file = write(tmp_path, schema)
    events = import_new(connection, read := anki_import.read(file, LEARNER))
    aside = {e["data"]["item_id"]: e["occurred_at"] for e in events if "Aside" in e["event_type"]}
    last = NOW - timedelta(days=9) + timedelta(milliseconds=40)
    assert (aside["23"], aside["40"]) == (NOW, last), "suspended, deleted"
    Projector(connection).catch_up_all()
    shown, today = ask(store)
    due = {item: node["dueOn"] for item, node in shown.items() if not node["setAside"]}
    expected = {number: day.isoformat() for number, day in ask_anki(file).items()}
    answered_on = local_days.find_day(NOW - timedelta(days=0.1), "UTC", 4)
    expected["24"] = answered_on.isoformat()  # due at once; a card in learning is not moved
    expected["25"] = (TODAY - timedelta(2)).isoformat()  # overdue, since it was moved
    assert due == expected
    assert today["items"] == sum(day <= today["date"] for day in due.values())
    assert {item for item, node in shown.items() if node["setAside"]} == {"15", "18", "23", "40"}
    assert shown["15"]["mastery"] == "LEARNING"
    assert read.left_out["unmoved"] == len(
        ["of 13", "of 14", "without an answer", "in learning", "deleted"]
    )


def test_a_forgotten_card_returns_with_its_next_answer_but_not_against_another_choice(
    connection: Connection, tmp_path: Path
) -> None:
    rows = [answered(9, 1, 30), forgotten(5, 1)]

    def choices(*later: Entry, is_new: bool = False) -> list[str]:
        state = OtherCard(1, 2, 0, ago_ms(4) // 1_000, queue := 0 if is_new else 2, queue, DAY)
        file = anki_files.make_collection(
            tmp_path / f"{len(later)}", {1: "word"}, [*rows, *later], others=[state]
        )
        found = [e["event_type"] for e in import_new(connection, anki_import.read(file, LEARNER))]
        file.unlink()
        return [kind for kind in found if kind in {"ItemSetAside", "ItemResumed"}]

    assert choices(is_new=True) == ["ItemSetAside"]
    assert choices(answered(1, 1, 4)) == ["ItemResumed"]
    assert choices(is_new=True) == [], "an old file"


def test_a_later_import_counts_days_in_the_recorded_zone(
    connection: Connection, tmp_path: Path
) -> None:
    evening = datetime.combine(TODAY - timedelta(2), time(20), UTC)  # the next morning in Tokyo
    moved = Entry(int(evening.timestamp() * 1_000), 1, 0, 7, 2_500, 0, SET)
    file = anki_files.make_collection(
        tmp_path / "a.anki2",
        {1: "word"},
        [answered(20, 1, 5), moved],
        day_start=4,
        others=[card(1, 10)],
        created_s=int(CREATED.timestamp()),
    )
    first = anki_import.read(file, Learner("anna", "Asia/Tokyo"))
    import_new(connection, first)
    zone = anki_import.find_zone(connection, "anna")
    later = anki_import.read(file, Learner("anna"), zone=zone)
    assert later.moves == first.moves
    assert [move.interval_days for move in later.moves] == [11]
