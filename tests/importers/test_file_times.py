"""What a file says of the present counts as of the file's time, in whatever order files come."""

import itertools
import tempfile
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.event_store.events import OF_LISTS
from tests import oracle
from tests.importers.test_lists import find_item, import_once
from tests.oracle.days import preference
from tests.oracle.lists import find_items, find_lists, own_words
from tests.support import anki_files, model_rows
from tests.support.anki_files import Entry, OtherCard

BEGIN = datetime(2024, 3, 21, tzinfo=UTC)
BEGIN_MS = int(BEGIN.timestamp() * 1_000)
NOW = datetime(2025, 1, 1, tzinfo=UTC)
ANSWERED = [Entry(BEGIN_MS + card, card) for card in (1, 2, 3)]
WORDS, NAMES = ("Haus", "Baum"), ("A", "B")

# A collection: of each card that is there, the deck, the word, whether it is suspended, and how
# long before the file's time it was changed; the names of the decks; and the ms after the former.
cards = st.tuples(st.integers(1, 2), st.sampled_from(WORDS), st.booleans(), st.integers(0, 99_999))
collections = st.tuples(
    st.dictionaries(st.integers(1, 3), cards, min_size=1),
    st.permutations(NAMES),
    st.sampled_from([1, 2_000, 90_000]),
)
# A review log: the deck and the word of each of two cards, and the time zone.
logs = st.tuples(
    *[st.sampled_from("AB"), st.sampled_from(WORDS)] * 2,
    st.sampled_from(["Asia/Tokyo", "Europe/Berlin"]),
)


def show(connection: Connection, user: str) -> tuple[Any, ...]:
    """Return the lists with names and items, the words, what is set aside, and the zone."""
    world = oracle.see(model_rows.read_events(connection), NOW)
    own, items = find_lists(world, user), find_items(world, user)
    listed = {
        (own[place]["name"], item) for (place, item), row in items.items() if row["is_listed"]
    }
    words = {item: row["headword"] for item, row in own_words(world, user).items()}
    zone, _ = preference(world, user, NOW)
    names = {row["name"] for row in own.values() if not row["is_archived"]}
    return names, listed, words, oracle.set_aside(world, user), zone


def write(file: Path, history: list[Any], number: int) -> Path:
    """Write the collection, with these times and states."""
    placed, names, _ = history[number]
    at_ms = BEGIN_MS + 60_000 + sum(each[2] for each in history[:number])
    states = [
        OtherCard(card, card + 1, deck=deck, queue=-is_out or 2, changed_s=(at_ms - age) // 1_000)
        for card, (deck, _, is_out, age) in placed.items()
    ]
    words = {card: word for card, (_, word, *_) in placed.items()}
    decks = dict(enumerate(names, 1))
    return anki_files.make_collection(
        file, words, ANSWERED, others=states, decks=decks, changed_ms=at_ms
    )


def require_steps(events: list[oracle.Event]) -> None:
    """Require a millisecond between changes of one list, item in a list, or item set aside."""
    changes: dict[Any, list[datetime]] = {}
    for event in events:
        if event.type in {*OF_LISTS, "ItemSetAside", "ItemResumed"}:
            subject = event.data.get("list_id"), event.data.get("item_id")
            changes.setdefault(subject, []).append(event.occurred_at)
    for times in changes.values():
        steps = [after - before for before, after in itertools.pairwise(sorted(times))]
        assert all(step >= timedelta(milliseconds=1) for step in steps)


@given(st.lists(collections, min_size=2, max_size=3))
def test_collections_in_any_order_leave_what_the_newest_one_says(
    connection: Connection, history: list[Any]
) -> None:
    placed, names, _ = history[-1]
    with tempfile.TemporaryDirectory() as folder:
        files = [write(Path(folder, f"{n}.anki2"), history, n) for n in range(len(history))]
        for order in itertools.permutations(files):
            user = f"anna-{uuid.uuid4()}"
            for file in order:
                import_once(connection, file, user)
            found = {card: find_item(user, card) for card in (1, 2, 3)}
            listed = {(names[deck - 1], found[card]) for card, (deck, *_) in placed.items()}
            out = {card for card in found if card not in placed or placed[card][2]}
            shown = show(connection, user)
            assert shown[:2] == ({name for name, _ in listed}, listed)
            words = {found[card]: word for card, (_, word, *_) in placed.items()}
            assert {item: shown[2][item] for item in words} == words
            assert shown[3:] == ({found[card] for card in out}, "UTC")
            assert [import_once(connection, file, user) for file in files] == [[]] * len(files)
            require_steps([e for e in model_rows.read_events(connection) if e.user_id == user])


@given(st.lists(logs, min_size=2, max_size=3))
@example([(deck, deck, "A", "Haus", "UTC") for deck in "ABA"])
def test_review_logs_in_any_order_leave_what_the_newest_one_says(
    connection: Connection, history: list[Any]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, (*said, _) in enumerate(history):
            rows = ["card_id,review_time,review_rating,interval,deck,headword"]
            for day, (card, n) in itertools.product(range(number + 1), (("a", 0), ("b", 2))):
                at = (BEGIN + timedelta(days=day)).isoformat()
                rows.append(f"{card},{at},3,1,{said[n]},{said[n + 1]}")
            Path(folder, f"{number}.csv").write_text("\n".join(rows))
        for order in itertools.permutations(range(len(history))):
            user = f"anna-{uuid.uuid4()}"
            for n in order:
                import_once(connection, Path(folder, f"{n}.csv"), user, history[n][-1])
            deck_a, word_a, deck_b, word_b, zone = history[-1]
            listed, words = {(deck_a, "a"), (deck_b, "b")}, {"a": word_a, "b": word_b}
            assert show(connection, user) == ({deck_a, deck_b}, listed, words, set(), zone)


def test_a_deck_has_the_order_of_anki_for_ever(connection: Connection, tmp_path: Path) -> None:
    """New cards have places; others come after them, by number."""

    def show_order(minutes: int, new: dict[int, int], met: list[int], deck: int = 1) -> list[int]:
        states = [OtherCard(c, c + 1, queue=0, kind=0, due=due) for c, due in new.items()]
        states += [OtherCard(card, card + 1, deck=deck) for card in met]
        file = anki_files.make_collection(
            tmp_path / f"{uuid.uuid4()}.anki2",
            {card: f"word {card}" for card in (*new, *met)},
            ANSWERED,
            others=states,
            decks={1: "A", 2: "B"},
            changed_ms=BEGIN_MS + minutes * 60_000,
        )
        import_once(connection, file, "anna")
        items = find_items(oracle.see(model_rows.read_events(connection), NOW), "anna")
        listed = [(row["position"], item) for (_, item), row in items.items() if row["is_listed"]]
        numbers = {find_item("anna", card): card for card in range(10)}
        return [numbers[item] for _, item in sorted(listed)]

    assert show_order(10, {7: 3, 5: 9, 8: 1}, [2, 1]) == [8, 7, 5, 1, 2]
    assert show_order(20, {5: 2}, [8, 7, 1, 2, 4]) == [8, 5, 7, 1, 2, 4]
    assert show_order(30, {}, [9, 8, 5, 7, 2, 4]) == [8, 5, 7, 2, 4, 9]
    assert show_order(5, {4: 7, 5: 1}, [1]) == [8, 5, 7, 4, 2, 9], "an older file"
    for minutes, deck in ((40, 2), (50, 1)):
        show_order(minutes, {}, newest := [9, 8, 5, 7, 2, 4], deck)
    for _ in range(2):
        assert show_order(6, {9: 5}, []) == [8, 5, 7, 9, 4, 2], "its place of before it was met"
        assert show_order(50, {}, newest) == [8, 5, 7, 9, 4, 2], "its list was another in between"
