"""The plan of a run: the ranges of positions that it writes."""

from collections.abc import Iterator
from datetime import datetime

import msgspec

from progress.adapters.postgres.database import Connection
from progress.archive import log_rows
from progress.archive.catalog import Published
from progress.archive.log_rows import Positions

RANGE = 1_000_000  # The number of positions in a full range.
MAX_AGE_DAYS = 30  # An incomplete range is archived if its first event is older than this.


class Request(msgspec.Struct, frozen=True):
    """The selection of the events to archive.

    By default, the last range is archived only if it is full, or if its first event is old. With
    `is_now`, it is always archived. With `before`, all events that were recorded before this time
    are archived, and no others.
    """

    is_now: bool = False
    before: datetime | None = None


def plan_ranges(
    connection: Connection, current: Published | None, request: Request
) -> list[Positions]:
    """Return the ranges to write: all full ranges, and perhaps an incomplete range at the end.

    The incomplete range is written if the request asks for it, or if its first event is old.
    """
    bound = log_rows.find_bound(connection, request.before)
    first = current.manifest.upto + 1 if current else 1
    plan = list(split(Positions(first, bound)))
    is_wanted = request.is_now or request.before is not None
    if plan and plan[-1].last - plan[-1].first + 1 < RANGE and not is_wanted:
        rest = plan[-1]
        if not log_rows.is_old(connection, rest.first, MAX_AGE_DAYS):
            plan.pop()
    return plan


def split(positions: Positions) -> Iterator[Positions]:
    """Yield the parts of a range, each of at most RANGE positions."""
    for first in range(positions.first, positions.last + 1, RANGE):
        yield Positions(first, min(first + RANGE - 1, positions.last))
