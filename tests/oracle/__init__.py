"""The oracle is an independent implementation of every number, written from the specification.

Each function loops over all events, without state, increments or SQL.
"""

from tests.oracle.catalogue import Description, catalogue, catalogue_items, descriptions
from tests.oracle.days import daily_stats, day_of, hourly_stats, monthly_stats, weekly_stats
from tests.oracle.events import (
    Event,
    Row,
    Rows,
    World,
    compute_stored,
    defined_models,
    model_rows,
    see,
)
from tests.oracle.groups import group, hardest_items, learners
from tests.oracle.items import item, item_difficulty, item_history, item_stats
from tests.oracle.levels import domain_stats, forecast, level_stats
from tests.oracle.retention import retention, retention_stats
from tests.oracle.standing import (
    due_forecast,
    due_today,
    goal,
    rest_days,
    runs,
    streak,
    user_progress,
    workload,
)

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
