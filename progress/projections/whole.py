"""Whole folds: each table of the read models, folded from scratch by one SELECT.

The SELECTs are the blocks `whole` of the models' files. `sql/projections/whole.sql` has the
relations that the folds share, and an adapter for each engine.
"""

from typing import Literal

from progress.adapters.postgres.statements import blocks, fill
from progress.projections import facts

Engine = Literal["postgresql", "duckdb"]

# The schema's tables that are not computed by a whole fold, each with the reason.
NOT_FOLDED = {
    "zone_rules": "constants",
    "window_shape": "a template without rows",
    "snapshot_learners": "a queue of the batch job",
    "checkpoints": "positions in the log",
    "batch_checkpoints": "positions in the log",
}
# Views, because a table of all typed events would be as large as the log.
_VIEWS = ("facts", "chained_reviews")
_SHARED = (
    "known_learners",
    "shifts",
    "dated_facts",
    "chained_facts",
    "chained_reviews",
    "item_places",
)
# In this order, because each SELECT reads the sources and the relations before it.
_RELATIONS = (
    *("deleted_learners", "preferences", "zones_in_force"),
    *("known_learners", "shifts", "dated_facts"),
    *("items", "completions"),
    *("chained_facts", "reviews", "repeated_answers", "retention_stats"),
    *("chained_reviews", "item_stats", "item_difficulty", "item_days"),
    *("group_members", "group_items"),
    *("daily_stats", "hourly_stats", "rest_days", "learning_streaks", "goals", "user_progress"),
    "member_weeks",
    *("item_places", "catalogue_counts", "catalogue_shares", "mastery_days", "weekly_stats"),
)

TABLES = tuple(name for name in _RELATIONS if name not in _SHARED)
# The relations that do not depend on the events of learners.
CATALOGUE = ("items", "item_places", "catalogue_counts")
# Tables of sums over all learners. A rebuild from the archive computes these tables last.
SUMS = ("item_difficulty", "group_items")
LEARNERS = tuple(table for table in TABLES if table not in (*CATALOGUE, *SUMS))


def source_statements(engine: Engine, cast: str = "CAST") -> dict[str, str]:
    """Return the statements that create the sources of the folds, keyed by name.

    `cast` converts the text of an event's field; DuckDB's TRY_CAST gives null for an invalid one.
    """
    sql = blocks("projections/whole")
    parts = facts.parts(cast) | {"events": sql[f"{engine} events"]}
    return {
        "facts": _create("facts", fill("projections/whole", "facts", **parts)),
        "zone_offsets": _create("zone_offsets", sql[f"{engine} zone_offsets"]),
    }


def fold_statements() -> dict[str, str]:
    """Return the statements that create the folded tables and their shared relations, in order.

    The tables are temporary and have the names of the live tables.
    """
    shared = blocks("projections/whole")
    return {
        table: _create(table, shared[table] if table in _SHARED else _blocks_of(table)["whole"])
        for table in _RELATIONS
    }


def live_query(table: str) -> str | None:
    """Return the query that converts live rows to the whole fold's form; None if none is needed.

    Intervals become numbers of hours, and arrays become texts.
    """
    return _blocks_of(table).get("live")


def loaded_query(table: str) -> str | None:
    """Return the query that converts folded rows for loading; None if they are loaded unchanged.

    Numbers of hours become intervals, texts become arrays, and versions are added.
    """
    return _blocks_of(table).get("loaded")


def fill_statement(table: str) -> str:
    """Return the statement that fills a table of `SUMS` from the learners' tables."""
    return _blocks_of(table)["fill"]


def _blocks_of(table: str) -> dict[str, str]:
    """Return the SQL blocks of the table's model, keyed by block name."""
    if table != "zones_in_force":
        return blocks(f"read_models/{table}")
    # `preferences.sql` has blocks for two tables. The names of the blocks for `zones_in_force` end
    # with the table's name.
    named = blocks("read_models/preferences")
    return {name: named[f"{name} {table}"] for name in ("whole", "live", "loaded")}


def _create(table: str, query: str) -> str:
    kind = "VIEW" if table in _VIEWS else "TABLE"
    return fill("projections/whole", "create", kind=kind, table=table, query=query)
