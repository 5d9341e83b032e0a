"""The oracle is an independent implementation of every number, written from the specification.

Each function loops over all events, without state, increments or SQL.
"""

from tests.oracle.catalogue import catalogue
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
    streak,
    user_progress,
    workload,
)
