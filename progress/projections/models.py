"""The read models in fold order, each declared once with the GraphQL field that reads it.

The schema, its fingerprint, as-of queries, snapshots, the lag report and the tests use this list.
"""

from typing import NamedTuple


class ReadModel(NamedTuple):
    """One file of `sql/read_models`.

    `field` is the root field of the query API that reads the model. A model without a field states
    the reason in `internal`.
    """

    name: str
    field: str | None = None
    internal: str | None = None


# In fold order, because a fold reads what earlier folds left in the window's tables.
REALTIME = (
    ReadModel("zone_rules", internal="constants: joined to a learner's zones"),
    ReadModel("preferences", internal="decide the local day of every other row"),
    ReadModel("deleted_learners", internal="keep later events of a deleted learner out"),
    ReadModel("facts", internal="typed events: what the folds read"),
    ReadModel("items", internal="the catalogue: joined to a learner's items"),
    ReadModel("review_pairs", internal="pairs of consecutive reviews: item_stats counts lapses"),
    ReadModel("item_stats", field="item"),
    ReadModel("item_difficulty", internal="sums by shard: itemDifficulty adds them up"),
    ReadModel("group_items", internal="sums by shard: hardestItems adds them up"),
    ReadModel("group_members", internal="memberships: the fields group and learners join them"),
    ReadModel("reviews", internal="reviews with first answers: late events change neighbours"),
    ReadModel("repeated_answers", internal="become first answers if a review arrives late"),
    ReadModel("retention_stats", field="retention"),
    ReadModel("item_days", internal="distinct items of a day: weeks and months count them"),
    ReadModel("completions", internal="first completions of sessions: daily_stats sums them"),
    ReadModel("daily_stats", field="dailyStats"),
    ReadModel("hourly_stats", field="hourlyStats"),
    ReadModel("rest_days", field="restDays"),
    ReadModel("learning_streaks", field="streak"),
    ReadModel("member_weeks", internal="members' last days: read by the fields group and learners"),
    ReadModel("goals", field="goal"),
    ReadModel("user_progress", field="userProgress"),
)
BATCH = (
    ReadModel("catalogue_counts", internal="denominators of domain_stats and level_stats"),
    ReadModel("catalogue_shares", internal="numerators: domain_stats and level_stats select them"),
    ReadModel("mastery_days", internal="pace of the last 28 days: level_stats sums the days"),
    ReadModel("weekly_stats", field="weeklyStats"),
    ReadModel("domain_stats", field="domainStats"),
    ReadModel("level_stats", field="levelStats"),
    ReadModel("snapshots", internal="rows from which an as-of query starts to fold"),
)
