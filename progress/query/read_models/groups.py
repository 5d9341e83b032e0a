"""Groups of learners and the difficulty of items, as teachers read them."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import convert

from progress.query.read_models import pages
from progress.query.read_models.group_rows import Group, ItemDifficulty, Learner, LearnerOrder
from progress.query.read_models.pages import ItemKey, LearnerKey, Page
from progress.query.read_models.reader import Reader
from progress.query.read_models.rows import CefrLevel, Domain


async def is_member(reader: Reader, user_id: str, groups: Sequence[str]) -> bool:
    """Return whether the learner is now a member of one of the groups."""
    if not groups:
        return False
    rows = await reader.fetch(
        "read_models/group_members", "is_member", user_id=user_id, groups=groups
    )
    return bool(rows[0]["is_member"])


async def get_group(reader: Reader, group_id: str, *, at: datetime) -> Group | None:
    """Return the group's standing; None if the group has no member."""
    rows = await reader.fetch("read_models/group_members", "group", group_id=group_id, now=at)
    return Group(**rows[0]) if rows else None


async def has_members(reader: Reader, group_id: str) -> bool:
    """Return whether the group has a current member."""
    rows = await reader.fetch("read_models/group_members", "has_members", group_id=group_id)
    return bool(rows[0]["has_members"])


async def get_learners(
    reader: Reader,
    group_id: str,
    *,
    order_by: LearnerOrder,
    first: int,
    after: LearnerKey | None = None,
    at: datetime,
) -> Page[tuple[LearnerKey, Learner]]:
    """Return at most `first` members of the group, beginning after the key `after`."""
    return await pages.read_page(
        reader,
        "read_models/group_members",
        "learners",
        lambda row: (LearnerKey(row["sort_key"], row["user_id"]), convert(row, Learner)),
        id_column="user_id",
        group_id=group_id,
        order_by=order_by,
        after_key=after.rank if after else None,
        after_user=after.user_id if after else None,
        first=first,
        now=at,
    )


async def get_hardest_items(reader: Reader, group_id: str, first: int) -> list[ItemDifficulty]:
    """Return the group's hardest items, the lowest accuracy first.

    Leave out items with fewer than 5 answers, and items that fewer than 3 members answered.
    """
    rows = await reader.fetch("read_models/group_items", "hardest", group_id=group_id, first=first)
    return [convert(dict(row), ItemDifficulty) for row in rows]


async def get_item_difficulty(
    reader: Reader,
    *,
    level: CefrLevel | None,
    domain: Domain | None,
    first: int,
    after: ItemKey | None = None,
) -> Page[ItemDifficulty]:
    """Return at most `first` items, beginning after the key `after`.

    Leave out items that fewer than 5 learners answered.
    """
    return await pages.read_page(
        reader,
        "read_models/item_difficulty",
        "list",
        lambda row: convert(row, ItemDifficulty),
        level=level,
        domain=domain,
        after_rate=after.rank if after else None,
        after_item=after.item_id if after else None,
        first=first,
    )
