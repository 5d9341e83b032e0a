"""The catalogue: what is in it, and how its items were described last."""

from dataclasses import dataclass

from tests.oracle.events import CATALOGUE, DESCRIPTIONS, World
from tests.oracle.models import Rows, defines

DOMAINS = ("R", "W", "L", "S")
LEVELS = ("A1", "A2", "B1", "B2", "C1", "C2")


@dataclass(frozen=True)
class Description:
    """An item as it was described last; of an item never described, what is answered for it."""

    headword: str | None = None
    level: str = "UNKNOWN"
    domains: tuple[str, ...] = ("UNKNOWN",)


def descriptions(world: World) -> dict[str, Description]:
    """Every item that was ever described, by its latest description."""
    latest: dict[str, Description] = {}
    for event in world.events:
        if event.type in DESCRIPTIONS:
            said = event.data.get("domains") or []
            latest[event.data["item_id"]] = Description(
                headword=event.data.get("headword"),
                level=event.data.get("cefr_level") or "UNKNOWN",
                domains=tuple(d for d in DOMAINS if d in said) or ("UNKNOWN",),
            )
    return latest


def archived(world: World) -> set[str]:
    """The items whose latest word is that they leave."""
    last = {e.data["item_id"]: e.type for e in world.events if e.type in CATALOGUE}
    return {item_id for item_id, said in last.items() if said == "ItemArchived"}


def catalogue(world: World) -> set[str]:
    """The items that are in the catalogue."""
    return descriptions(world).keys() - archived(world)


def catalogue_items(world: World, kind: str) -> dict[str, int]:
    """Items of the catalogue in each domain, or at each level, that has some; not UNKNOWN."""
    described = descriptions(world)
    counts: dict[str, int] = {}
    for item_id in catalogue(world):
        for name in names(described[item_id], kind):
            if name != "UNKNOWN":
                counts[name] = counts.get(name, 0) + 1
    return counts


def names(description: Description, kind: str) -> tuple[str, ...]:
    """The domains of a described item, or its one level."""
    return description.domains if kind == "domain" else (description.level,)


@defines("items")
def described_items(world: World) -> Rows:
    """Return the row of every item that was ever described."""
    return {
        (item_id, description.headword): {
            "level": description.level,
            "domains": list(description.domains),
            "in_catalogue": item_id in catalogue(world),
        }
        for item_id, description in descriptions(world).items()
    }


@defines("catalogue_counts")
def catalogue_counts(world: World) -> Rows:
    """Return the number of catalogue items in each domain and level that has some."""
    return {
        (kind, name): {"items": count}
        for kind in ("domain", "level")
        for name, count in catalogue_items(world, kind).items()
    }
