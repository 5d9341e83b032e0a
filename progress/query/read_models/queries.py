"""The typed Python API of the read models: its methods return records.

`at` decides which day is today; the default is the current time. `as_of` selects the events that
had happened by that time, `known_at` those that had been recorded by that time. Today is then the
day of `as_of` or, if only `known_at` is given, the day of `known_at`. `language` selects the items
of one language: a primary subtag in lower case, or `und` for items without a language. Own lists
and own words are returned only if `is_learner` says that the reader is the learner. The list of a
task is returned only if the `reader` (see `rows`) is in a group that has it, or teaches one.
"""

import functools
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

from msgspec import convert

from progress import settings
from progress.errors import ProjectionError
from progress.query.read_models import rows
from progress.query.read_models.reader import Reader

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _run(
    query: rows.Declared[_P, _T],
) -> Callable[Concatenate["Queries", _P], Coroutine[Any, Any, _T]]:
    """Return the method that runs the query with the method's arguments."""

    async def get(self: "Queries", /, *arguments: _P.args, **options: _P.kwargs) -> _T:
        return await self.run(query(*arguments, **options))

    functools.update_wrapper(get, query.function)
    return get


class Queries:
    """Typed queries. All methods raise Unavailable if the database does not respond."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    async def run(self, query: rows.Query[_T]) -> _T:
        file, block, moment, parameters, make, constants = query
        found = await self.reader.fetch_at(moment, file, block, constants, **parameters)
        return make(found, parameters)

    get_current_progress = _run(rows.user_progress)
    get_daily_stats = _run(rows.day_stats)
    get_stats_range = _run(rows.daily_stats)
    get_weekly_stats = _run(rows.weekly_stats)
    get_monthly_stats = _run(rows.monthly_stats)
    get_item_stats = _run(rows.item_stats)
    get_item = _run(rows.item)
    get_item_history = _run(rows.item_history)
    get_lists = _run(rows.lists)
    get_list = _run(rows.list_)
    get_list_items = _run(rows.list_items)
    get_item_lists = _run(rows.item_lists)
    get_scales = _run(rows.scales)
    get_tasks = _run(rows.tasks)
    get_knowledge = _run(rows.knowledge)
    get_knowledge_curve = _run(rows.knowledge_curve)
    get_mastery_curve = _run(rows.mastery_curve)
    get_calibration = _run(rows.calibration)
    get_calibration_of_all = _run(rows.calibration_of_all)
    get_sessions = _run(rows.sessions)
    get_session = _run(rows.session)
    get_domain_stats = _run(rows.domain_stats)
    get_level_stats = _run(rows.level_stats)
    get_streak = _run(rows.streak)
    get_due_forecast = _run(rows.due_forecast)
    get_milestones = _run(rows.milestones)
    get_today = _run(rows.today)
    get_local_day = _run(rows.local_day)
    get_recorded_events = _run(rows.recorded_events)
    get_own_posts = _run(rows.own_posts)

    async def get_projection_status(
        self, *, at: datetime | None = None
    ) -> list[rows.ProjectionStatus]:
        limits = settings.current().lag_limits()
        found = await self.reader.fetch(
            "projections/checkpoints", "status", now=at or datetime.now(UTC), **limits
        )
        return [convert(dict(row), rows.ProjectionStatus) for row in found]

    async def check_lag(
        self, projection_name: str, *, at: datetime | None = None
    ) -> rows.ProjectionStatus:
        """Return one projection's lag and status; raise ProjectionError for an unknown name."""
        for status in await self.get_projection_status(at=at):
            if status.name == projection_name:
                return status
        raise ProjectionError(f"there is no projection {projection_name}")
