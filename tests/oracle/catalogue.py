"""The catalogue: its items and their latest descriptions."""

import re
from dataclasses import dataclass

from tests.oracle.events import (
    CATALOGUE,
    DESCRIPTIONS,
    SETTINGS_ASIDE,
    Row,
    Rows,
    World,
    defines,
    defines_by_learner,
)

DOMAINS = ("R", "W", "L", "S")
LEVELS = ("A1", "A2", "B1", "B2", "C1", "C2")


@dataclass(frozen=True)
class Description:
    """The latest description of an item; an item without a description has the defaults."""

    headword: str | None = None
    level: str = "UNKNOWN"
    domains: tuple[str, ...] = ("UNKNOWN",)
    language: str | None = None
    kind: str | None = None

    @property
    def primary_language(self) -> str:
        """Return the first subtag in lower case: en of en-GB; und if there is no language."""
        return (self.language or "und").split("-")[0].lower()

    @property
    def pair(self) -> "Pair":
        return self.primary_language, self.kind


def descriptions(world: World) -> dict[str, Description]:
    latest: dict[str, Description] = {}
    for event in world.events:
        if event.type in DESCRIPTIONS:
            domains = event.data.get("domains") or []
            latest[event.data["item_id"]] = Description(
                headword=event.data.get("headword"),
                level=event.data.get("cefr_level") or "UNKNOWN",
                domains=tuple(d for d in DOMAINS if d in domains) or ("UNKNOWN",),
                language=valid_language(event.data.get("language")),
                kind=valid_kind(event.data.get("kind")),
            )
    return latest


def valid_language(value: object) -> str | None:
    """Return the value if it is a language tag; else None."""
    if not isinstance(value, str) or not 2 <= len(value) <= 35:
        return None
    subtags = value.split("-")
    are_valid = all(re.fullmatch("[A-Za-z0-9]{1,8}", subtag) for subtag in subtags)
    return value if are_valid and re.fullmatch("[A-Za-z]+", subtags[0]) else None


def valid_kind(value: object) -> str | None:
    is_kind = isinstance(value, str) and re.fullmatch("[^\x00-\x1f\x7f-\x9f]{1,50}", value)
    return value if is_kind else None  # type: ignore[return-value]


def archived(world: World) -> set[str]:
    last = {e.data["item_id"]: e.type for e in world.events if e.type in CATALOGUE}
    return {item_id for item_id, type_ in last.items() if type_ == "ItemArchived"}


@defines_by_learner("set_aside_items")
def decisions(world: World, user_id: str) -> dict[str, Row]:
    """Return each item that the learner ever set aside or resumed, and what was decided last."""
    last = {e.data["item_id"]: e for e in world.of(user_id, *SETTINGS_ASIDE)}
    return {
        item_id: {"decided_at": e.occurred_at, "is_set_aside": e.type == "ItemSetAside"}
        for item_id, e in last.items()
    }


def set_aside(world: World, user_id: str) -> set[str]:
    return {item for item, row in decisions(world, user_id).items() if row["is_set_aside"]}


def out_of_play(world: World, user_id: str) -> set[str]:
    """Return the items that are nobody's task: archived, or set aside by the learner."""
    return archived(world) | set_aside(world, user_id)


Pair = tuple[str, str | None]  # a primary subtag in lower case, und for none; a kind


def language_of(world: World, item_id: str) -> str:
    """Return the language of an item; an item without a description has the language und."""
    return descriptions(world).get(item_id, Description()).primary_language


def catalogue(world: World, pairs: set[Pair] | None = None) -> set[str]:
    described = descriptions(world)
    items = described.keys() - archived(world)
    return {item_id for item_id in items if pairs is None or described[item_id].pair in pairs}


def catalogue_items(world: World, kind: str, pairs: set[Pair]) -> dict[str, int]:
    described = descriptions(world)
    counts: dict[str, int] = {}
    for item_id in catalogue(world, pairs):
        for name in names(described[item_id], kind):
            if name != "UNKNOWN":
                counts[name] = counts.get(name, 0) + 1
    return counts


def names(description: Description, kind: str) -> tuple[str, ...]:
    return description.domains if kind == "domain" else (description.level,)


@defines("items")
def described_items(world: World) -> Rows:
    return {
        (item_id, description.headword): {
            "level": description.level,
            "domains": list(description.domains),
            "in_catalogue": item_id in catalogue(world),
            "language": description.language,
            "kind": description.kind,
        }
        for item_id, description in descriptions(world).items()
    }


@defines("catalogue_counts")
def catalogue_counts(world: World) -> Rows:
    return {
        (kind, f"{name} {pair[0]} {pair[1] or ''}"): {"items": count}
        for kind in ("domain", "level")
        for pair in {one.pair for one in descriptions(world).values()}
        for name, count in catalogue_items(world, kind, {pair}).items()
    }
