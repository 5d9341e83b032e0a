"""Checks of export requests: role, arguments, time and size.

One step of the export operation writes the whole file. The estimated time must not exceed the
timeout of this step.
"""

from datetime import date

import msgspec
from strawberry import ID

from progress.errors import BadInput, Forbidden, NotFound
from progress.operations import export_files
from progress.operations.export_files import (
    MAX_BYTES,
    Estimate,
    FileFormat,
    StatisticsArguments,
    StatisticsTable,
)
from progress.operations.records import PLANS, OperationKind
from progress.query.graphql import arguments
from progress.query.graphql.context import Info


def authorize_user(info: Info, user_id: ID | None) -> str:
    """Return the requested learner; raise Forbidden if the caller may not export the record.

    The role `admin` may export every record, `support` none, other roles only their own record.
    """
    caller = info.context.caller
    learner = arguments.parse_id("userId", user_id) if isinstance(user_id, str) else caller.user_id
    if caller.role == "support":
        raise Forbidden("support may not export a record")
    if learner != caller.user_id and not info.context.is_admin:
        raise Forbidden("a learner may export their own record only")
    return learner


async def check_user(info: Info, learner: str) -> None:
    """Raise NotFound for an unknown learner, and BadInput if the record is too large."""
    rows = await info.context.queries.reader.fetch(
        "operations/export_user", "check", learner=learner
    )
    if not rows[0]["is_known"]:
        raise NotFound("userId: expected a learner with events - found none")
    estimate = export_files.estimate_user(rows[0]["events"], rows[0]["event_bytes"])
    advice = "ask the operator for a copy of the log"
    _check_estimate("userId", estimate, OperationKind.EXPORT_USER, advice)


def parse_statistics(
    table: StatisticsTable,
    format_: FileFormat,
    learners: list[ID] | None,
    first_day: date | None,
    last_day: date | None,
) -> StatisticsArguments:
    """Return the arguments of an export of statistics; raise BadInput if they are invalid."""
    if first_day and last_day and first_day > last_day:
        raise BadInput(f"from: expected a day not later than `to` - found {first_day}, {last_day}")
    if (first_day or last_day) and not table.has_days:
        raise BadInput(f"from, to: expected only with DAILY or WEEKLY - found with {table}")
    return StatisticsArguments(
        table, format_, arguments.parse_learners(learners), first_day, last_day
    )


async def check_statistics(info: Info, request: StatisticsArguments) -> None:
    """Raise BadInput if the export would take too long or be too large."""
    rows = await info.context.queries.reader.fetch(
        "operations/export_statistics",
        f"estimate {request.table.lower()}",
        learners=request.learners,
        first_day=request.first_day,
        last_day=request.last_day,
    )
    expected = export_files.read_rows(msgspec.json.decode(rows[0][0]))
    estimate = export_files.estimate_statistics(request.table, request.format, expected)
    advice = "choose fewer days or learners, and make several requests"
    arguments_ = "from, to, learners" if request.table.has_days else "learners"
    _check_estimate(arguments_, estimate, OperationKind.EXPORT_STATISTICS, advice)


def _check_estimate(names: str, estimate: Estimate, kind: OperationKind, advice: str) -> None:
    max_seconds = PLANS[kind].steps[0].timeout_s
    if estimate.seconds > max_seconds or estimate.bytes > MAX_BYTES:
        raise BadInput(
            f"{names}: expected an export of at most {max_seconds:,.0f} s and 1 GiB - found about "
            f"{estimate.seconds:,.0f} s and {estimate.bytes / MAX_BYTES:.1f} GiB: {advice}"
        )
