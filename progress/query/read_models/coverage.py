"""How much of a text a learner or a group is expected to know, and the items of the catalogue.

A text is its items, each with how often it occurs. An estimated recall is that of `memory.sql`; it
is 0 without an answer.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct, convert

from progress.query.read_models.groups import LearnerName
from progress.query.read_models.reader import Reader
from progress.query.read_models.rows import CefrLevel, Moment

MOST_ITEMS = 1_000
MOST_MEMBERS = 100

Text = Mapping[str, int]  # how often each item occurs

_FILE = "query/coverage"


class CoverageGap(Struct, frozen=True):
    """An item of a text; `adds` is the share of the text that would be known with it."""

    item_id: str
    headword: str | None
    level: CefrLevel
    count: int
    estimated_recall: float | None
    adds: float


class Coverage(Struct, frozen=True):
    """What a learner is expected to know of a text.

    `covered` is the expected share of its words, `learned` the share of those that were ever
    answered correctly. `gaps` are at most 200, those that would add most first.
    """

    items: int
    tokens: int
    covered: float
    learned: float
    items_studied: int
    learning: int
    short_term_mastered: int
    long_term_mastered: int
    gaps: list[CoverageGap]


class MemberCoverage(LearnerName, frozen=True):
    """What a member of a group is expected to know of a text."""

    covered: float


class GroupGap(Struct, frozen=True):
    """An item of a text; `learners` are the members whose estimated recall is below 0.7."""

    item_id: str
    headword: str | None
    level: CefrLevel
    count: int
    learners: int
    adds: float


class GroupCoverage(Struct, frozen=True):
    """What the members of a group are expected to know of a text; `covered` is their mean."""

    items: int
    tokens: int
    covered: float
    members: list[MemberCoverage]
    gaps: list[GroupGap]


class CatalogueItem(Struct, frozen=True):
    """An item of the catalogue that is not archived."""

    item_id: str
    headword: str | None
    level: CefrLevel
    kind: str | None


class CatalogueKey(Struct, frozen=True):
    item_id: str


async def get_coverage(
    reader: Reader, user_id: str, text: Text, moment: Moment, *, is_learner: bool
) -> Coverage:
    """Return what the learner is expected to know of a text of 1 to 1,000 items."""
    tokens, asked = sum(text.values()), {"user_id": user_id, "is_learner": is_learner}
    rows = await reader.fetch_at(moment, _FILE, "of learner", **_parameters(text), **asked)
    gaps = [
        convert({**row, "adds": row["missing"] / tokens}, CoverageGap)
        for row in rows
        if row["item_id"] is not None
    ]
    shares = {"covered": rows[0]["known"] / tokens, "learned": rows[0]["once_right"] / tokens}
    return convert(
        {**rows[0], **shares, "items": len(text), "tokens": tokens, "gaps": gaps}, Coverage
    )


async def get_group_coverage(
    reader: Reader, group_id: str, text: Text, *, at: datetime
) -> GroupCoverage:
    """Return what the group's members are expected to know of a text, each on the own local day.

    The member who knows least is first; a group without a member has no member and covers nothing.
    """
    tokens = sum(text.values())
    rows = await reader.fetch(*(_FILE, "of group"), now=at, groups=[group_id], **_parameters(text))
    members = [
        convert({**row, "covered": row["known"] / tokens}, MemberCoverage)
        for row in rows
        if row["user_id"] is not None
    ]
    gaps = [
        convert({**row, "adds": row["missing"] / (len(members) * tokens)}, GroupGap)
        for row in rows
        if row["item_id"] is not None
    ]
    members.sort(key=lambda member: (member.covered, member.user_id))
    covered = sum(member.covered for member in members) / max(len(members), 1)
    return GroupCoverage(len(text), tokens, covered, members, gaps)


def _parameters(text: Text) -> dict[str, Any]:
    return {"items": tuple(text), "counts": tuple(text.values())}


async def get_catalogue(
    reader: Reader, language: str | None, *, first: int, after: CatalogueKey | None
) -> list[CatalogueItem]:
    """Return at most `first` items of the catalogue after `after`, by id, without archived ones."""
    rows = await reader.fetch(
        *(_FILE, "catalogue"),
        language=language,
        first=first,
        after_item_id=after and after.item_id,
    )
    return [convert(dict(row), CatalogueItem) for row in rows]
