"""The plan of a run: the ranges of positions that it writes."""

from collections.abc import Iterator
from datetime import datetime

import msgspec

from progress.adapters.postgres.database import Connection
from progress.archive import log_rows
from progress.archive.catalog import Published
from progress.archive.log_rows import Positions

RANGE = 1_000_000  # Positions in a full range.
MAX_AGE_DAYS = 30  # If an event is older, even an incomplete range is archived.


class Request(msgspec.Struct, frozen=True):
    """A request to archive full or old ranges only, or all events, or the events before a time."""

    is_now: bool = False
    before: datetime | None = None


def plan_ranges(
    connection: Connection, current: Published | None, request: Request
) -> list[Positions]:
    """Return the ranges to write: all full ranges, and an incomplete one if requested or old."""
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
