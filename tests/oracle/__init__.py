"""The oracle is an independent implementation of every number, written from the specification.

Each function loops over all events, without state, increments or SQL. Those below a decorator of
`events` are found without being listed here, in whichever module they are.
"""

import importlib
import pkgutil

from tests.oracle.catalogue import language_of, set_aside
from tests.oracle.days import daily_stats, day_of, day_start, items_on, monthly_stats, weekly_stats
from tests.oracle.events import (
    Event,
    Row,
    Rows,
    World,
    compute_field,
    compute_stored,
    defined_models,
    model_rows,
    ratio,
    see,
)
from tests.oracle.groups import (
    find_groups,
    group,
    hardest_items,
    learners,
    members,
    search_groups,
    since,
    weeks,
)
from tests.oracle.items import (
    count_masteries,
    item_difficulty,
    item_history,
    item_stats,
    items_by_language,
    mastery_curve,
)
from tests.oracle.levels import domain_stats, forecast, level_stats
from tests.oracle.memory import (
    by_recall,
    calibration,
    calibration_of_all,
    fading,
    group_knowledge,
    item_forgetting,
    item_memory,
    items_fading,
    knowledge,
    knowledge_curve,
    remembered_item,
)
from tests.oracle.milestones import milestone_id, milestones
from tests.oracle.retention import retention
from tests.oracle.sessions import given, sessions
from tests.oracle.standing import (
    due_forecast,
    due_today,
    folded,
    rest_days,
    search_learners,
    streak_days,
    user_progress,
)

for _module in pkgutil.iter_modules(__path__):
    if not _module.name.startswith("test_"):
        importlib.import_module(f"{__name__}.{_module.name}")
