"""Lists of items, a learner's numbers over their members, and the words of a learner's own.

What a list is, who is a member of a group, and the own words are the present ones at every moment.
The learner's numbers and the catalogue's descriptions are those of the moment.
"""

from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from tests.oracle.catalogue import Description, archived, catalogue, catalogue_counts, descriptions
from tests.oracle.days import day, day_of, last_days, masteries
from tests.oracle.events import LEARNERS, Row, Rows, World, defines, defines_field, ratio
from tests.oracle.groups import members as members_of
from tests.oracle.items import item_of, item_stats, items_by_language, pairs_met
from tests.oracle.levels import forecast, sums_of_items
from tests.oracle.lists import assignments, find_items, find_lists, own_words
from tests.oracle.memory import add, estimate, item_memory, memories, rounded
from tests.oracle.standing import due_today, folded

MOST = 20_000  # members of a list that count
NAMES = ("id", "own", "name", "scale", "rank")


@dataclass(frozen=True)
class Reader:
    """Who asks about a learner: the learner, or another with these groups; None: all groups."""

    is_learner: bool = True
    groups: tuple[str, ...] | None = None


LEARNER, STAFF = Reader(), Reader(is_learner=False)


class List(NamedTuple):
    """A list as it is now; `position` has the items that are listed, and their positions."""

    id: str
    own: bool
    name: str | None
    scale: str | None
    rank: int | None
    archived: bool
    position: dict[str, int | None]


def all_lists(world: World, user_id: str | None) -> list[List]:
    """Return the lists of the learner's own; those of the catalogue if the learner is None."""
    if user_id and not world.of(user_id, *LEARNERS):
        return []
    items = find_items(world, user_id)
    return [
        List(
            id=f"own:{list_id}" if user_id else list_id,
            own=bool(user_id),
            archived=row["is_archived"],
            position={
                item: listed["position"]
                for (of_list, item), listed in items.items()
                if of_list == list_id and listed["is_listed"]
            },
            **{name: row[name] for name in ("name", "scale", "rank")},
        )
        for list_id, row in find_lists(world, user_id).items()
    ]


def listed(world: World, found: List) -> list[str]:
    """Return the list's items, in its order, without those that the catalogue has archived."""
    gone = set() if found.own else archived(world)

    def place(item: str) -> tuple[bool, int, str]:
        position = found.position[item]
        return position is None, position or 0, item

    return sorted((item for item in found.position if item not in gone), key=place)


def members(world: World, user_id: str, found: List) -> list[str]:
    """Return what the learner gets of the list.

    These are its items but for other cards of a word of which the list names one that the learner
    gets, by the pairs of language and kind that the last batch run saw.
    """
    items, described = listed(world, found), descriptions(world)
    if found.own or user_id in world.deleted:
        return items[:MOST]
    mine = pairs_met(world.run or world, user_id)
    word = {
        i: (described[i].primary_language, described[i].headword) for i in items if i in described
    }
    had = {item for item in word if described[item].pair in mine}
    named = {word[item] for item in had if described[item].headword}
    return [item for item in items if item in had or word.get(item) not in named][:MOST]


def visible(world: World, user_id: str, reader: Reader) -> list[List]:
    return [*all_lists(world, None), *(all_lists(world, user_id) if reader.is_learner else [])]


def find_list(world: World, user_id: str, list_id: str, reader: Reader = LEARNER) -> List | None:
    found = visible(world, user_id, reader)
    return next((one for one in found if one.id == list_id), None)


def item_lists(world: World, user_id: str, item_id: str, reader: Reader) -> list[Row]:
    found = visible(world, user_id, reader)
    naming = [one for one in found if item_id in listed(world, one) and not one.archived]
    return [{name: getattr(one, name) for name in NAMES} for one in sorted(naming, key=_place)]


def expect(world: World, user_id: str, among: list[str], on: date) -> float:
    """Return how many of the items the learner is expected to know on a day."""
    known = memories(world, user_id)
    return rounded(add(estimate(known[item], on) for item in sorted(among) if item in known), 1)


def list_numbers(world: World, user_id: str, found: List) -> Row:
    among, stats = members(world, user_id, found), item_stats(world, user_id)
    rows = [stats[item] for item in among if item in stats]
    mastered = {row["item_id"] for row in rows if row["mastery"] in ("SHORT_TERM", "LONG_TERM")}
    today, days = day_of(world, user_id, world.now), last_days(world, user_id, 28)
    first = {e.data["item_id"]: day(world, e) for e in masteries(world, user_id)}
    return {
        **{name: getattr(found, name) for name in (*NAMES, "archived")},
        "items": len(among),
        **sums_of_items(rows),
        "progress_rate": ratio(len(mastered), len(among)),
        "due": len(due_today(world, user_id).intersection(among)),
        "expected": expect(world, user_id, among, today),
        **forecast(today, len(among), len(mastered), sum(first[one] in days for one in mastered)),
    }


def lists(
    world: World, user_id: str, scale: str | None = None, reader: Reader = LEARNER
) -> list[Row]:
    if not world.of(user_id, *LEARNERS):
        return []
    assigned = assigned_lists(world, user_id, reader)
    shown = [
        one
        for one in visible(world, user_id, reader)
        if not one.archived
        and (one.scale == scale if scale is not None else one.own or one.id in assigned)
    ]
    return [list_numbers(world, user_id, one) for one in sorted(shown, key=_place)]


def _place(one: List) -> tuple[object, ...]:
    absent = one.rank is None, one.rank or 0, one.name is None, one.name or ""
    return one.scale or "", *absent, one.id


def assigned_lists(world: World, user_id: str, reader: Reader = LEARNER) -> set[str]:
    return {
        list_id
        for (group, list_id), row in assignments(world).items()
        if row["is_assigned"]
        and user_id in members_of(world.present, group)
        and (reader.is_learner or reader.groups is None or group in reader.groups)
    }


def list_items(world: World, user_id: str, found: List, reader: Reader = LEARNER) -> list[Row]:
    return [shown_item(world, user_id, item, reader) for item in members(world, user_id, found)]


@defines("catalogue_sizes")
def catalogue_sizes(world: World) -> Rows:
    scales = [one.scale for one in all_lists(world, None) if one.scale and not one.archived]
    pairs = [descriptions(world)[item_id].pair for item_id in catalogue(world)]
    sizes: Rows = {("scale", f"{scale}  "): {"size": scales.count(scale)} for scale in scales}
    sizes |= {
        ("pair", f" {one} {kind or ''}"): {"size": pairs.count((one, kind))} for one, kind in pairs
    }
    return sizes | {key: {"size": row["items"]} for key, row in catalogue_counts(world).items()}


def scales(world: World, user_id: str, reader: Reader = LEARNER) -> list[Row]:
    found = visible(world, user_id, reader)
    of_scales = [one.scale for one in found if one.scale and not one.archived]
    rows: list[Row] = [{"name": one, "lists": of_scales.count(one)} for one in {*of_scales}]
    return sorted(rows, key=lambda row: (-row["lists"], row["name"]))[:100]


def own_word(world: World, user_id: str, item: str, reader: Reader = LEARNER) -> Row | None:
    if not reader.is_learner or not world.of(user_id, *LEARNERS):
        return None
    row = own_words(world, user_id).get(item)
    return row if row and row["headword"] else None


def headword(world: World, user_id: str, item: str, reader: Reader = LEARNER) -> Row:
    """Return the headword and the kind that the reader is shown, and whether they are own."""
    described = descriptions(world).get(item, Description())
    if described.headword:
        return {"headword": described.headword, "kind": described.kind, "own": False}
    word = own_word(world, user_id, item, reader)
    if word:
        return {"headword": word["headword"], "kind": word["kind"], "own": True}
    return {"headword": None, "kind": described.kind, "own": False}


@defines_field
def languages(world: World, user_id: str, reader: Reader = STAFF) -> list[Row]:
    """Return the languages of the learner's items; the kinds of `und` are those that are shown."""
    shown = {item: headword(world, user_id, item, reader) for item in item_stats(world, user_id)}
    words = {item: row["kind"] for item, row in shown.items() if row["own"]}
    return items_by_language(world, user_id, words)


def shown_item(world: World, user_id: str, item: str, reader: Reader = LEARNER) -> Row:
    """Return the item's row as the reader sees it, with zeros where the learner never met it."""
    row = {**item_of(world, user_id, item), **item_memory(world, user_id, item)}
    return {**row, **headword(world, user_id, item, reader)}


def find_item(world: World, user_id: str, item: str, reader: Reader = LEARNER) -> Row | None:
    """Return the same of an item that is described, met, or a word of the learner's own."""
    is_found = (
        item in descriptions(world)
        or item in item_stats(world, user_id)
        or own_word(world, user_id, item, reader)
    )
    return shown_item(world, user_id, item, reader) if is_found else None


def search(world: World, user_id: str, text: str, reader: Reader = LEARNER) -> set[str]:
    return {
        item
        for item in item_stats(world, user_id)
        if not text or folded(text) in folded(headword(world, user_id, item, reader)["headword"])
    }
