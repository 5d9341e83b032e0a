"""The fields that teachers read: groups, their members, and the difficulty of items.

No response is cached, so that teachers cannot read the data of a learner who has left the group.
"""

from strawberry import ID, UNSET
from strawberry.types.nodes import SelectedField

from progress.query.graphql import arguments, pagination, types
from progress.query.graphql.context import Info
from progress.query.graphql.fields import Cost, declare
from progress.query.read_models import group_rows, groups, rows

_CHEAP = {"groupId", "hardestItems", "__typename"}  # fields that do not need the members' rows


@declare(
    types.Group | None,
    "Teachers of the group, support, administrators.",
    cost=Cost(100, rows_of={"hardestItems": 200}),
)
async def group(info: Info, group_id: ID) -> group_rows.Group | None:
    group_id, reader = _authorize_group(info, group_id), info.context.queries.reader
    # Read the members only if a selected number needs them: reading takes most of the query's time.
    if not _selects_standing(info):
        is_known = await groups.has_members(reader, group_id)
        return group_rows.Group(group_id, 0, 0, 0, None) if is_known else None
    return await groups.get_group(reader, group_id, at=info.context.at)


def _selects_standing(info: Info) -> bool:
    """Return whether the selection may include a number that is computed from all members."""
    selected = [one for node in info.selected_fields for one in node.selections]
    return not all(isinstance(one, SelectedField) and one.name in _CHEAP for one in selected)


@declare(types.LearnerConnection, cost=Cost(130))
async def learners(
    info: Info,
    *,
    group_id: ID,
    order_by: group_rows.LearnerOrder | None = group_rows.LearnerOrder.AT_RISK,
    first: int | None = 50,
    after: str | None = UNSET,
) -> pagination.Page:
    group_id = _authorize_group(info, group_id)
    order = order_by or group_rows.LearnerOrder.AT_RISK
    page = await groups.get_learners(
        info.context.queries.reader,
        group_id,
        order_by=order,
        first=arguments.parse_page_size(first),
        after=pagination.decode_learner_cursor(pagination.text_or_none(after), order),
        at=info.context.at,
    )
    entries = (
        (pagination.encode_learner_cursor(order, key), learner) for key, learner in page.items
    )
    return pagination.build_page(entries, has_next=page.has_next, total=page.total_count)


@declare(
    types.ItemDifficultyConnection,
    "Teachers, support, administrators. Hardest first.",
    cost=Cost(200, rows_with={"level": 20, "domain": 20}),
)
async def item_difficulty(
    info: Info,
    *,
    level: rows.CefrLevel | None = UNSET,
    domain: rows.Domain | None = UNSET,
    first: int | None = 50,
    after: str | None = UNSET,
) -> pagination.Page:
    info.context.caller.check_teacher()
    page = await groups.get_item_difficulty(
        info.context.queries.reader,
        level=level or None,
        domain=domain or None,
        first=arguments.parse_page_size(first),
        after=pagination.decode_difficulty_cursor(pagination.text_or_none(after)),
    )
    entries = (
        (pagination.encode_difficulty_cursor(item.accuracy_rate, item.item_id), item)
        for item in page.items
    )
    return pagination.build_page(entries, has_next=page.has_next, total=page.total_count)


def _authorize_group(info: Info, group_id: str) -> ID:
    """Return the requested group; raise Forbidden if the caller may not read it."""
    parsed = arguments.parse_id("groupId", group_id)
    info.context.caller.check_group(parsed)
    return ID(parsed)
