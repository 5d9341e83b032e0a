"""An import makes the decks of a file a learner's own lists, and its words the learner's own."""

import tempfile
import uuid
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.event_store.log import PostgresEventStore
from progress.importers import anki_import
from progress.importers.anki_events import Learner
from tests.importers.test_anki_recorded import record
from tests.support import anki_files
from tests.support.anki_files import Entry, OtherCard

START_MS = 1_711_000_000_000
ANSWERED = (1, 2, 3)  # of five cards
NAMES = {"Core::N5": "Core::N5", "x\x07" + "y" * 120: f"x {'y' * 97}…", "\x07": None}
WORDS = {"Haus": "Haus", "<b>\x01Baum</b>": "Baum", "<img>": ""}
# The decks' names, and the deck and the word of each card, and whether it is in a filtered deck.
Deck = tuple[tuple[str, ...], dict[int, tuple[int, str, bool]]]
cards = st.tuples(st.integers(1, 3), st.sampled_from([*WORDS]), st.booleans())
collections = st.tuples(
    st.permutations(list(NAMES)), st.dictionaries(st.integers(1, 5), cards, min_size=1)
)
Shown = tuple[dict[str, str | None], dict[str, set[str]], dict[str, str]]


def write(file: Path, collection: Deck, *, changed_ms: int = 0, schema: int = 18) -> Path:
    names, placed = collection
    file.unlink(missing_ok=True)
    return anki_files.make_collection(
        file,
        {card: word for card, (_, word, _) in placed.items()},
        [Entry(START_MS + card, card) for card in ANSWERED],
        schema=schema,
        decks=dict(enumerate(names, 1)),
        changed_ms=changed_ms,
        others=[
            OtherCard(card, card + 1, deck=99, odid=deck)
            if is_filtered
            else OtherCard(card, card + 1, deck=deck)
            for card, (deck, _, is_filtered) in placed.items()
        ],
    )


def expect(user: str, collection: Deck) -> Shown:
    """Return the names of the lists, their items, and the words: what Anki shows."""
    names, placed = collection
    lists: dict[str, set[str]] = {}
    for card, (deck, _, _) in placed.items():
        lists.setdefault(f"anki-{deck}", set()).add(find_item(user, card))
    shown = {f"anki-{n}": NAMES[name] or str(n) for n, name in enumerate(names, 1)}
    words = {find_item(user, card): WORDS[word] for card, (_, word, _) in placed.items()}
    return {place: shown[place] for place in lists}, lists, words


def find_item(user: str, card: int) -> str:
    return "anki-" + str(
        uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_OID, "learner"), f'["{user}","{card}"]')
    )


def show(connection: Connection, user: str) -> Shown:
    """Return the same of the log: of each list, item and word, the latest event decides."""
    events = PostgresEventStore(connection).read_events(f"learner-{user}", 1)
    latest: dict[Any, Any] = {}
    words: dict[str, str] = {}
    for event in sorted(events, key=lambda event: (event.occurred_at, event.event_id)):
        data = event.event_data
        if "list_id" in data:
            latest[data["list_id"], data.get("item_id")] = (event.event_type, data)
        if event.event_type == "ItemListed" and "headword" in data:
            words[data["item_id"]] = data["headword"]
    names = {k[0]: data["name"] for k, (kind, data) in latest.items() if kind == "ListPublished"}
    lists: dict[str, set[str]] = {}
    for (place, item), (kind, _) in latest.items():
        if kind == "ItemListed":
            lists.setdefault(place, set()).add(item)
    return names, lists, words


def import_(connection: Connection, file: Path, user: str) -> list[dict[str, Any]]:
    """Import the file twice: the second time adds nothing; return the events."""

    def select() -> Any:
        read = anki_import.read(file, Learner(user, "UTC"))
        return anki_import.select_new(connection, anki_import.adopt(connection, read))

    if new := select():
        assert record(connection, new) == {"appended"}
    assert select() == []
    assert "vocabulary-events" not in {message.topic for message in new}
    return [event for message in new for event in message.events]


@given(
    history=st.lists(collections, min_size=1, max_size=4),
    repeats=st.lists(st.lists(st.integers(0, 3), max_size=2), min_size=4, max_size=4),
    is_dated=st.booleans(),
    schema=st.sampled_from([11, 18]),
)
def test_the_lists_are_those_of_the_newest_collection_however_often_others_are_imported(
    connection: Connection,
    history: list[Deck],
    repeats: list[list[int]],
    is_dated: bool,
    schema: int,
) -> None:
    """A collection that does not say when it was changed counts as the newest one."""
    user = f"anna-{uuid.uuid4()}"
    with tempfile.TemporaryDirectory() as folder:
        for number in range(len(history)):
            for place in (number, *(n for n in repeats[number] if n <= number)):
                at = (START_MS + place * 60_000) * is_dated
                file = Path(folder, "a.anki2")
                import_(connection, write(file, history[place], changed_ms=at, schema=schema), user)
                newest = number if is_dated else place
                names, lists, words = show(connection, user)
                shown = (
                    names,
                    lists,
                    {item: words.get(item, "") for item in expect(user, history[newest])[2]},
                )
                assert shown == expect(user, history[newest])
