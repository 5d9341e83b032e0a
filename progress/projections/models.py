"""The read models in fold order, each declared once with the GraphQL field that reads it.

The schema, its fingerprint, as-of queries, snapshots, the lag report and the tests use this list.
"""

from typing import NamedTuple


class ReadModel(NamedTuple):
    """One file of `sql/read_models`.

    `field` is the root field of the query API that reads the model. If the model has no field,
    `internal` states the reason. A model with a field, or with `has_view`, has a view for analysts.
    """

    name: str
    field: str | None = None
    internal: str | None = None
    has_view: bool = False


# In fold order, because a fold reads what earlier folds left in the window's tables.
REALTIME = (
    ReadModel("zone_rules", internal="constants: joined to a learner's zones"),
    ReadModel("preferences", internal="time zones, which decide the local day of all other rows"),
    ReadModel("deleted_learners", internal="tells the folds which learners' events to skip"),
    ReadModel("facts", internal="the typed events that the folds read"),
    ReadModel("items", internal="the catalogue: joined to a learner's items", has_view=True),
    ReadModel("review_pairs", internal="consecutive reviews, in which item_stats counts lapses"),
    ReadModel("item_stats", field="item"),
    ReadModel(
        "item_difficulty",
        internal="sums by shard, added up by `itemDifficulty`",
        has_view=True,
    ),
    ReadModel("group_items", internal="sums by shard, added up by `hardestItems`"),
    ReadModel(
        "group_members",
        internal="memberships, read by the fields `group` and `learners`",
        has_view=True,
    ),
    ReadModel("reviews", internal="lets a late event change only the neighbouring reviews"),
    ReadModel("repeated_answers", internal="answers that late reviews may turn into first answers"),
    ReadModel("retention_stats", field="retention"),
    ReadModel("item_days", internal="the items of each day, for the counts of weeks and months"),
    ReadModel("completions", internal="first completions of sessions, which daily_stats adds up"),
    ReadModel("daily_stats", field="dailyStats"),
    ReadModel("hourly_stats", field="hourlyStats"),
    ReadModel("rest_days", field="restDays"),
    ReadModel("learning_streaks", field="streak"),
    ReadModel("member_weeks", internal="sums over 7 days, for the fields `group` and `learners`"),
    ReadModel("goals", field="goal"),
    ReadModel("user_progress", field="userProgress"),
)
BATCH = (
    ReadModel("catalogue_counts", internal="denominators of domain_stats and level_stats"),
    ReadModel("catalogue_shares", internal="numerators of domain_stats and level_stats"),
    ReadModel("mastery_days", internal="newly mastered items by day, for the pace in level_stats"),
    ReadModel("weekly_stats", field="weeklyStats"),
    ReadModel("domain_stats", field="domainStats"),
    ReadModel("level_stats", field="levelStats"),
    ReadModel("snapshots", internal="rows from which an as-of query starts to fold"),
)
