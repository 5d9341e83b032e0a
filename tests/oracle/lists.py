"""Lists, the assignments of lists to groups, and own words: present ones, whatever the time."""

from tests.oracle.events import (
    ASSIGNMENTS,
    OF_LISTS,
    Event,
    Row,
    Rows,
    World,
    defines,
    defines_by_learner,
)


def _of(world: World, user_id: str | None) -> list[Event]:
    """Return the events about the learner's own lists, or about the catalogue's, in order."""
    if user_id in world.deleted:
        return []
    return [e for e in world.listed if e.type in OF_LISTS and e.user_id == user_id]


def _latest(events: list[Event], *types: str) -> Event | None:
    return next((e for e in reversed(events) if e.type in types), None)


def find_lists(world: World, user_id: str | None) -> dict[str, Row]:
    """Return the lists of the learner's own; those of the catalogue if the learner is None."""
    events = _of(world, user_id)
    rows = {}
    for list_id in {e.data["list_id"] for e in events}:
        of_list = [e for e in events if e.data["list_id"] == list_id]
        decided = _latest(of_list, "ListPublished", "ListArchived")
        described = _latest(of_list, "ListPublished")
        data = described.data if described else {}
        rows[list_id] = {
            "decided_at": decided.occurred_at if decided else None,
            "decided_id": decided.event_id if decided else None,
            "is_archived": decided is not None and decided.type == "ListArchived",
            "described_at": described.occurred_at if described else None,
            "described_id": described.event_id if described else None,
            "name": data.get("name"),
            "scale": data.get("scale") or None,
            "rank": data.get("rank"),
        }
    return rows


def find_items(world: World, user_id: str | None) -> dict[tuple[str, str], Row]:
    """Return the same by list and item."""
    events = [e for e in _of(world, user_id) if e.type in ("ItemListed", "ItemUnlisted")]
    return {
        (e.data["list_id"], e.data["item_id"]): {
            "decided_at": e.occurred_at,
            "decided_id": e.event_id,
            "is_listed": e.type == "ItemListed",
            "position": e.data.get("position") if e.type == "ItemListed" else None,
        }
        for e in events
    }


@defines("lists")
def lists(world: World) -> Rows:
    return {(list_id, ""): row for list_id, row in find_lists(world, None).items()}


@defines("listed_items")
def listed_items(world: World) -> Rows:
    return {**find_items(world, None)}


@defines("list_assignments")
def assignments(world: World) -> Rows:
    return {
        (e.data["group_id"], e.data["list_id"]): {
            "decided_at": e.occurred_at,
            "decided_id": e.event_id,
            "is_assigned": e.type == "ListAssigned",
            "due_on": e.data["due_on"] if e.type == "ListAssigned" else None,
        }
        for e in world.listed
        if e.type in ASSIGNMENTS
    }


@defines_by_learner("own_lists")
def own_lists(world: World, user_id: str) -> dict[str, Row]:
    return find_lists(world, user_id)


@defines_by_learner("own_listed_items")
def own_listed_items(world: World, user_id: str) -> dict[str, Row]:
    return {" ".join(place): row for place, row in find_items(world, user_id).items()}


@defines_by_learner("own_words")
def own_words(world: World, user_id: str) -> dict[str, Row]:
    """Return the latest headword of each item, in whichever list; an empty one is no word."""
    said = [e for e in _of(world, user_id) if e.type == "ItemListed"]
    return {
        e.data["item_id"]: {
            "said_at": e.occurred_at,
            "said_id": e.event_id,
            "headword": e.data["headword"],
            "kind": e.data.get("kind") or None,
        }
        for e in said
        if e.data.get("headword") is not None
    }
