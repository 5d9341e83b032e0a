"""The oracle is an independent implementation of every number, written from the specification.

Each function loops over all events, without state, increments or SQL.
"""

from tests.oracle.catalogue import Description, catalogue, catalogue_items, descriptions
from tests.oracle.days import daily_stats, day_of
from tests.oracle.difficulty import item_difficulty
from tests.oracle.events import Event, Row, World, see
from tests.oracle.goals import goal
from tests.oracle.groups import group, hardest_items, learners
from tests.oracle.hours import hourly_stats
from tests.oracle.items import item, item_history, item_stats
from tests.oracle.levels import domain_stats, forecast, level_stats
from tests.oracle.models import Rows, defined_models, model_rows
from tests.oracle.periods import monthly_stats, weekly_stats
from tests.oracle.retention import retention, retention_stats
from tests.oracle.standing import (
    due_forecast,
    due_today,
    rest_days,
    runs,
    streak,
    user_progress,
    workload,
)
from tests.oracle.storing import compute_stored

__all__ = [
    "Description",
    "Event",
    "Row",
    "Rows",
    "World",
    "catalogue",
    "catalogue_items",
    "compute_stored",
    "daily_stats",
    "day_of",
    "defined_models",
    "descriptions",
    "domain_stats",
    "due_forecast",
    "due_today",
    "forecast",
    "goal",
    "group",
    "hardest_items",
    "hourly_stats",
    "item",
    "item_difficulty",
    "item_history",
    "item_stats",
    "learners",
    "level_stats",
    "model_rows",
    "monthly_stats",
    "rest_days",
    "retention",
    "retention_stats",
    "runs",
    "see",
    "streak",
    "user_progress",
    "weekly_stats",
    "workload",
]
