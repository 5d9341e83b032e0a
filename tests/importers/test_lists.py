"""An import makes the decks of a file a learner's own lists, and its words the learner's own."""

import itertools
import tempfile
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub.publisher import Message
from progress.errors import ReviewLogError
from progress.event_store.events import OF_LISTS
from progress.importers import anki_import, lists
from progress.importers.anki_events import Learner
from progress.projections.projector import Projector
from tests import oracle
from tests.conftest import Store
from tests.importers.test_anki_recorded import import_new, record
from tests.oracle.days import preference
from tests.oracle.lists import find_items
from tests.support import anki_files, cli, model_rows, sample_events, stage
from tests.support.anki_files import Entry, OtherCard
from tests.support.posts import NotedIngest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
START_MS = 1_711_000_000_000
START = datetime(2024, 3, 21, tzinfo=UTC)
ANSWERED = (1, 2, 3)  # of five cards
NAMES = {"Core::N5": "Core::N5", "x\x07" + "y" * 120: f"x {'y' * 97}…", "\x07": None}
NAMES["Franc\u0327ais"] = "Fran\u00e7ais"
WORDS = {"Haus": "Haus", "<b>\x01Baum</b>": "Baum", "<img>": "", "か\u3099": "が"}
# The decks' names; and of each card the deck, the word, whether it is in a filtered deck, whether
# it is suspended, and how many ms before the file's time it was changed.
Deck = tuple[tuple[str, ...], dict[int, tuple[int, str, bool, bool, int]]]
cards = st.tuples(
    *(st.integers(1, 3), st.sampled_from([*WORDS]), st.booleans()),
    *(st.booleans(), st.integers(0, 99_999)),
)
HAUS = (1, "Haus", False, False, 0)
collections = st.tuples(
    st.permutations(list(NAMES)), st.dictionaries(st.integers(1, 5), cards, min_size=1)
)
Shown = tuple[dict[str, str | None], dict[str, set[str]], dict[str, str]]


def write(
    file: Path, collection: Deck, *, changed_ms: int = 0, older_ms: int = 0, schema: int = 18
) -> Path:
    names, placed = collection
    file.unlink(missing_ok=True)
    others = []
    for card, (deck, _, is_filtered, is_out, age_ms) in placed.items():
        place = {"deck": 99, "odid": deck} if is_filtered else {"deck": deck}
        changed_s = (changed_ms - age_ms) // 1_000
        others.append(OtherCard(card, card + 1, 0, changed_s, queue=-is_out or 2, **place))
    return anki_files.make_collection(
        file,
        {card: word for card, (_, word, *_) in placed.items()},
        [Entry(START_MS + card - older_ms, card) for card in ANSWERED],
        schema=schema,
        decks=dict(enumerate(names, 1)),
        changed_ms=changed_ms,
        others=others,
    )


def expect(user: str, collection: Deck) -> Shown:
    """Return the names of the lists, their items, and the words: what Anki shows."""
    names, placed = collection
    lists: dict[str, set[str]] = {}
    for card, (deck, *_) in placed.items():
        lists.setdefault(f"anki-{deck}", set()).add(find_item(user, card))
    shown = {f"anki-{n}": NAMES[name] or str(n) for n, name in enumerate(names, 1)}
    words = {find_item(user, card): WORDS[word] for card, (_, word, *_) in placed.items()}
    return {place: shown[place] for place in lists}, lists, words


def find_out(user: str, collection: Deck) -> set[str]:
    """Return which of the cards, and of those with an answer, are suspended or deleted."""
    _, placed = collection
    gone = {*ANSWERED} - placed.keys()
    return {find_item(user, card) for card in gone | {c for c in placed if placed[c][3]}}


def find_item(user: str, card: object) -> str:
    return "anki-" + str(
        uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_OID, "learner"), f'["{user}","{card}"]')
    )


def show(connection: Connection, user: str) -> Shown:
    Projector(connection).catch_up_all()
    found, items, words = (
        [row for row in model_rows.read_table(connection, table) if row["user_id"] == user]
        for table in ("own_lists", "own_listed_items", "own_words")
    )
    lists: dict[str, set[str]] = {}
    for row in items:
        if row["is_listed"]:
            lists.setdefault(row["list_id"], set()).add(row["item_id"])
    names = {row["list_id"]: row["name"] for row in found if not row["is_archived"]}
    return names, lists, {row["item_id"]: row["headword"] for row in words}


def see(connection: Connection, user: str) -> Any:
    """Return what the oracle knows of the learner."""
    return oracle.see([e for e in model_rows.read_events(connection) if e.user_id == user], NOW)


def import_(
    connection: Connection, file: Path, user: str, zone: str = "UTC"
) -> list[dict[str, Any]]:
    read = anki_import.adopt(connection, anki_import.read(file, Learner(user, zone)))
    events = import_new(connection, read)
    assert "ItemPublished" not in {event["event_type"] for event in events}
    return events


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


@given(
    history=st.lists(
        st.tuples(collections, st.sampled_from([1, 2_000, 90_000])), min_size=1, max_size=3
    ),
    order=st.lists(st.integers(0, 2), min_size=2, max_size=5),
    is_dated=st.booleans(),
    schema=st.sampled_from([11, 18]),
)
@example(
    history=[
        (([*NAMES], {1: (1, "Haus", False, is_out, age_ms)}), 5_000)
        for is_out, age_ms in ((True, 0), (False, 9_000), (True, 99_000))
    ],
    order=[0, 1, 2, 1, 0],
    is_dated=True,
    schema=18,
)
def test_the_newest_collection_decides_in_whatever_order_files_are_imported(
    connection: Connection,
    history: list[tuple[Deck, int]],
    order: list[int],
    is_dated: bool,
    schema: int,
) -> None:
    """Each collection is some ms newer; one that does not say its time counts as the newest one."""
    user = f"anna-{uuid.uuid4()}"
    made, steps = zip(*history, strict=True)
    with tempfile.TemporaryDirectory() as folder:
        files = [
            write(
                Path(folder, f"{n}.anki2"),
                collection,
                changed_ms=(START_MS + 60_000 + at) * is_dated,
                older_ms=0 if is_dated else at,
                schema=schema,
            )
            for n, (collection, at) in enumerate(
                zip(made, itertools.accumulate(steps), strict=True)
            )
        ]
        chosen = [n % len(files) for n in order]
        for number, n in enumerate(chosen, 1):
            import_(connection, files[n], user)
            newest = made[max(chosen[:number]) if is_dated else n]
            expected = expect(user, newest)
            names, lists, words = show(connection, user)
            assert (names, lists) == expected[:2]
            assert {item: words.get(item, "") for item in expected[2]} == expected[2]
            if is_dated:
                out = oracle.set_aside(see(connection, user), user)
                cards = {*newest[1], *ANSWERED}
                assert out & {find_item(user, c) for c in cards} == find_out(user, newest)
        if is_dated:
            assert all(import_(connection, files[n], user) == [] for n in chosen)
            require_steps([e for e in model_rows.read_events(connection) if e.user_id == user])


# A review log: the deck and the word of each of two cards, and the time zone.
logs = st.tuples(
    *[st.sampled_from("AB"), st.sampled_from(["Haus", "Baum"])] * 2,
    st.sampled_from(["Asia/Tokyo", "Europe/Berlin"]),
)


@given(st.lists(logs, min_size=2, max_size=3))
@example([(deck, deck, "A", "Haus", "UTC") for deck in "ABA"])
def test_review_logs_in_any_order_leave_what_the_newest_one_says(
    connection: Connection, history: list[Any]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, (*said, _) in enumerate(history):
            rows = ["card_id,review_time,review_rating,interval,deck,headword"]
            for day, (card, n) in itertools.product(range(number + 1), (("a", 0), ("b", 2))):
                at = (START + timedelta(days=day)).isoformat()
                rows.append(f"{card},{at},3,1,{said[n]},{said[n + 1]}")
            Path(folder, f"{number}.csv").write_text("\n".join(rows))
        for order in itertools.permutations(range(len(history))):
            user = f"anna-{uuid.uuid4()}"
            for n in order:
                import_(connection, Path(folder, f"{n}.csv"), user, history[n][-1])
            deck_a, word_a, deck_b, word_b, zone = history[-1]
            listed, words = {(deck_a, "a"), (deck_b, "b")}, {"a": word_a, "b": word_b}
            names, items, shown = show(connection, user)
            assert {*names.values()} == {deck_a, deck_b}
            assert {(names[place], item) for place in items for item in items[place]} == listed
            assert shown == words
            assert preference(see(connection, user), user, NOW)[0] == zone


def test_a_deck_has_the_order_of_anki_for_ever(connection: Connection, tmp_path: Path) -> None:
    """New cards have places; others come after them, by number."""

    def show_order(minutes: int, new: dict[int, int], met: list[int], deck: int = 1) -> list[int]:
        states = [OtherCard(c, c + 1, queue=0, kind=0, due=due) for c, due in new.items()]
        states += [OtherCard(card, card + 1, deck=deck) for card in met]
        file = anki_files.make_collection(
            tmp_path / f"{uuid.uuid4()}.anki2",
            {card: f"word {card}" for card in (*new, *met)},
            [Entry(START_MS + card, card) for card in ANSWERED],
            others=states,
            decks={1: "A", 2: "B"},
            changed_ms=START_MS + minutes * 60_000,
        )
        import_(connection, file, "anna")
        items = find_items(see(connection, "anna"), "anna")
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


def test_a_deck_that_is_not_in_a_package_stays_and_one_that_is_in_it_is_whole(
    connection: Connection, tmp_path: Path
) -> None:
    names, placed = ("A", "B", "C"), {1: HAUS, 4: (1, "<img>", False, False, 0)}
    others = {5: (2, "Haus", False, False, 0)}
    import_(connection, write(tmp_path / "a.anki2", (names, placed | others)), "anna")
    placed.pop(4)  # deleted; it was never answered
    package = write(tmp_path / "a", (names, placed)).rename(tmp_path / "a.apkg")
    events = import_(connection, package, "anna")
    assert [(e["event_type"], e["data"]["item_id"]) for e in events] == [
        ("ItemUnlisted", find_item("anna", 4))
    ]
    events = import_(connection, write(tmp_path / "a.anki2", (names, placed)), "anna")
    assert [e["event_type"] for e in events] == ["ItemUnlisted", "ListArchived"]


def read_log(connection: Connection, folder: Path, header: str, *rows: str) -> Shown:
    (file := folder / "log.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    import_(connection, file, "anna")
    return show(connection, "anna")


def test_a_review_log_says_decks_and_words(connection: Connection, tmp_path: Path) -> None:
    def read(*rows: str) -> Shown:
        lines = [f"{row},3,2024-03-{n:02}" for n, row in enumerate(rows, 1)]
        header = "card_id,deck,headword,kind,review_rating,review_time"
        return read_log(connection, tmp_path, header, *lines)

    def find(name: str) -> str:
        return find_item("anna", name).replace("anki-", "deck-")

    n5, n4, spare = find("N5"), find("Ñ4"), find("Imported words")
    assert read("a,N5,house,", "b,N5,tree,typing", "c,,か\u3099,", "d,,,") == (
        {n5: "N5", spare: "Imported words"},
        {n5: {"a", "b"}, spare: {"c"}},
        {"a": "house", "b": "tree", "c": "が"},
    )
    collection = (("A", "B", "C"), {1: HAUS})
    import_(connection, write(tmp_path / "a.anki2", collection), "anna")
    assert {*show(connection, "anna")[0]} == {n5, spare, "anki-1"}, "each program has its own lists"
    read("x,,,", "b,Other,,", "a,,home,", "c,Ñ4,,")
    # Its last answer is as late.
    names, lists, words = read("x,,,", "b,N\u03034,,", "x,,,", "c,Ñ4,,")
    assert lists == {n5: {"a"}, n4: {"b", "c"}, "anki-1": {find_item("anna", 1)}}
    assert words == {"a": "home", "b": "tree", "c": "が", find_item("anna", 1): "Haus"}
    assert {*names} == {n5, n4, "anki-1"}, "a list without items is archived"


def test_a_deck_with_an_id_is_the_list_that_a_device_sends(
    connection: Connection, tmp_path: Path
) -> None:
    header = "card_id,review_rating,review_time,headword,deck,deck_id"
    read = partial(read_log, connection, tmp_path, header)
    assert len(read("a,3,2024-03-01,one,Verbs,")[1]) == 1
    listed = {"list_id": "d-1", "item_id": "a", "headword": "new", "user_id": "anna"}
    named = {"list_id": "d-1", "name": "My verbs", "user_id": "anna"}
    sent = (("ListPublished", named), ("ItemListed", listed))
    stage.append(connection, [sample_events.envelope(*one, at=NOW) for one in sent])
    shown = read("a,3,2024-03-02,one,Verbs,d-1", "b,3,2024-03-02,two,Verbs,d-1")
    assert shown == ({"d-1": "My verbs"}, {"d-1": {"a", "b"}}, {"a": "new", "b": "two"})
    assert read("a,3,2024-03-03,other,,", "b,3,2024-03-03,two,,") == shown, "no list of spare words"
    assert read("a,3,2025-12-31T23:59:59Z,late,,") == shown, "a second before the device"
    assert read("a,3,2025-12-31T23:59:59.001Z,late,,")[2]["a"] == "late", "a file has seconds"


def test_list_events_that_no_fold_reads_change_no_import(
    connection: Connection, tmp_path: Path
) -> None:
    collection = (("Core::N5",), {1: HAUS})
    listed = {"list_id": "anki-1", "item_id": find_item("anna", 1), "user_id": "anna"}
    told = (
        ("ItemListed", {**listed, "list_id": None}),
        ("ItemListed", {**listed, "position": [1]}),
        ("ListPublished", {**listed, "name": "A", "rank": {}}),
        ("ItemListed", {**listed, "user_id": None, "session_id": "anna-0"}),
    )
    with stage.undeclared(*OF_LISTS):
        made = [sample_events.envelope(*one, at=NOW) for one in told]
        stage.append(connection, [*sample_events.lesson("anna", 0), *made])
    import_(connection, write(tmp_path / "a.anki2", collection), "anna")
    assert show(connection, "anna") == expect("anna", collection)


def list_items(connection: Connection, list_id: str) -> dict[str, int | None]:
    Projector(connection).catch_up_all()
    rows = model_rows.read_table(connection, "listed_items")
    listed = [row for row in rows if row["list_id"] == list_id and row["is_listed"]]
    return {row["item_id"]: row["position"] for row in listed}


def sort(positions: dict[str, Any]) -> list[str]:
    return sorted(positions, key=lambda item: (positions[item], item))


def count_kept(positions: list[int | None]) -> int:
    """Return how many of the positions can stay, by trying all, so that there is room between."""
    most, ends = 0, len(positions)
    for chosen in itertools.product([False, True], repeat=ends):
        some = [(n, at) for n, at in enumerate(positions) if chosen[n] and at is not None]
        steps = itertools.pairwise([(-1, -1), *some, (ends, 2**31)])
        if all(q - p >= m - n for (n, p), (m, q) in steps):
            most = max(most, len(some))
    return most


places = st.integers(0, 9) | st.integers(0, 9_000) | st.integers(2**31 - 9, 2**31 - 1)


@given(
    st.dictionaries(st.sampled_from("abcdefg"), places),
    st.lists(st.sampled_from("abcdefg"), unique=True),
)
@example({"b": 1_000, "c": 2_000}, ["a", "b", "c"])
def test_a_list_has_the_order_of_its_file_and_the_fewest_events(
    former: dict[str, int], wanted: list[str]
) -> None:
    states: lists.States = {("l", item): ({"position": at}, NOW) for item, at in former.items()}
    recorded = lists.Recorded(states)
    placed = lists.place("l", dict.fromkeys(wanted, lists.Fields()), recorded)
    positions = {item: fields["position"] for item, fields in placed.items()}
    assert sort(positions) == wanted
    assert len({*positions.values()}) == len(wanted)
    events = lists.change_catalogue("l", {"name": "A"}, placed, NOW, recorded)
    kept = count_kept([former.get(item) for item in wanted])
    assert len(events) == 1 + len(former.keys() - {*wanted}) + len(wanted) - kept


WORDS_OF_FILES = [
    ("a.tsv", "item_id\tposition\nx\t1.0\ny\t\n", {"x": {"position": 1}, "y": {}}),
    ("a.txt", "item_id;position\nx;2.00\n", {"x": {"position": 2}}),
    ("a.csv", 'item_id,position\n7.0,\n"b, c",\n"""d"" e",\n', {"7": {}, "b, c": {}, '"d" e': {}}),
    ("a.txt", "#separator:tab\n#html:true\n#guid column:1\ng\t<b>が</b>\tx\n", {"が": {}}),
    ("a.txt", "#separator:\t\n#guid column:1\ng\tが\n", {"が": {}}),
    ("a.txt", "#separator:Comma\n#columns:a,headword\nx,か\u3099\n", {"が": {}}),
    ("a.txt", "か\u3099\nが\n\u200b\n\ufeffが\u200b\n", {"が": {}}),
    ("a.txt", "headword\tx\nが\t1\n", {"が": {}}),
    ("a.txt", "x\ny\t2\n", "row 2: expected one headword in a line"),
    ("a.txt", "# the words\nx\n", "row 1: expected one headword in a line"),
    ("a.tsv", "x\t1\n", "row 1: expected a column headword"),
    ("a", "item_id,position\na,-1", "a: row 2, column position: expected an integer from 0"),
    ("a", f"item_id,position\na,{'9' * 5000}", "row 2, column position: expected an integer"),
    ("a", "item_id,kind\na,\x07", "row 2, column kind: expected a string of at most 50 char"),
    ("a.csv", "item_id\n" + "b" * 201, "row 2, column item_id: expected a string of 1 to 200 char"),
    ("a", "a\nb\0", r"row 2, column headword: expected a string without U\+0000"),
]


@pytest.mark.parametrize(("name", "text", "wanted"), WORDS_OF_FILES)
def test_a_list_is_read_from_lines_or_a_table(
    tmp_path: Path, name: str, text: str, wanted: Any
) -> None:
    column = "item_id" if "item_id" in text else "headword"
    (file := tmp_path / name).write_text(text, encoding="utf-8")
    if isinstance(wanted, str):
        with pytest.raises(ReviewLogError, match=wanted):
            lists.read_file(file, column)
    else:
        assert lists.read_file(file, column) == wanted


def test_the_command_lists_the_items_of_headwords_and_names_what_is_wrong(
    store: Store, connection: Connection, noted_ingest: NotedIngest, tmp_path: Path
) -> None:
    catalogue = (("hand", "en-GB"), ("hand", "en"), ("hand", "de"), ("eye", "en"))
    described = [
        {"item_id": str(number), "headword": word, "language": language}
        for number, (word, language) in enumerate(catalogue, 1)
    ]
    made = [sample_events.envelope("ItemPublished", data, at=NOW) for data in described]
    record(connection, [Message("vocabulary-events", made)])
    Projector(connection).catch_up_all()
    file = tmp_path / "words.txt"

    def run(text: str, *more: str) -> cli.Result:
        file.write_text(text, encoding="utf-8")
        command = ("import", "list", str(file), "--name", "Body", *more, "--json")
        return cli.progress(store.url, *command, **noted_ingest.environment)

    def import_list(text: str, *more: str) -> Any:
        shown = cli.expect_success(run(text, "--scale", "Units", "--rank", "3", *more))
        report = msgspec.json.decode(shown[shown.index("{") :])
        assert report["appended"] == report["published"]
        return [report[name] for name in ("published", "listed", "unlisted", "missing", "several")]

    words = "hand\r\nfoot\n\nhand\n"
    assert import_list(words, "--by-headword", "en") == [3, 2, 0, ["foot"], ["hand"]]
    assert list_items(connection, "Units: Body") == {"1": 1000, "2": 2000}
    words = "item_id,headword\n4,hand\n"
    assert import_list(words, "--by-headword", "en") == [0, 0, 0, [], ["hand"]]
    assert import_list(rows := '"position","item_id"\n7,4\n,2\n') == [3, 2, 1, [], []]
    assert list_items(connection, "Units: Body") == {"4": 7, "2": None}
    assert import_list(rows, "--id", "Units: Body") == [0, 0, 0, [], []]
    assert import_list("4\nzzz\n8", "--id", "c") == [4, 3, 0, ["zzz", "8"], []]
    over = run("\n".join(map(str, range(20_001))), "--id", "d")
    assert msgspec.json.decode(over.stdout)["over"] == 1
    cli.expect_failure(
        run("a\n" + "b" * 201), "words.txt: row 2, column item_id: expected a string"
    )
    cli.expect_failure(run("\n"), "words.txt: expected a line with an item")
    cli.expect_failure(run("ear", "--by-headword", "en"), "expected a line with an item")
    cli.expect_failure(run("a", "--id", "own:a"), "begin with own:")
    endless = cli.progress(store.url, "import", "list", "/dev/zero", "--name", "Body")
    cli.expect_failure(endless, "/dev/zero: expected at most 16,777,216 characters: split the file")
