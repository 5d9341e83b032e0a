"""Every statement of the live folds finds the rows that it reads by their key or their place.

A connection plans each statement once, maybe on empty tables, and keeps the plan while the tables
grow. A plan that reads a whole table is fast at first, and slower with every learner.
"""

import json
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from progress.adapters.postgres.database import Connection
from progress.projections.projector import Projector
from tests.conftest import Store
from tests.mutants import broken_folds
from tests.support.sample_events import lesson
from tests.support.stage import Stage, append, connect

# Tables with one row for each shard, or for each event that no fold could read.
_SMALL = {"checkpoints", "batch_checkpoints", "publisher_checkpoints", "poison_marks"}
# Statements that read the first or the last row of an index.
_ENDS = (
    "EXISTS (SELECT FROM group_members)",
    "NOT EXISTS (SELECT FROM event_store.events e WHERE e.event_type IN ('EventRetracted'))",
    "(SELECT coalesce(max(e.global_position), 0) FROM event_store.events e)",
)

# Statistics of these tiny logs, which a slow test leaves time for, would change the plans.
_KEEP_PLANS = """
DO $$
DECLARE name regclass;
BEGIN
    FOR name IN SELECT oid FROM pg_class WHERE relkind = 'r' AND oid >= 16384 LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', name);
    END LOOP;
END $$
"""

_EXPLAIN = """
LOAD 'auto_explain';
SET auto_explain.log_min_duration = 0;
SET auto_explain.log_nested_statements = on;
SET auto_explain.log_level = notice;
SET auto_explain.log_format = json
"""


def list_plans(connection: Connection) -> Iterator[dict[str, Any]]:
    """Yield the plans of the statements that ran since the last call."""
    while connection.notices:
        message = connection.notices.popleft()[b"M"].decode()
        if "plan:" in message:
            yield json.loads(message[message.index("{") :])


def list_whole_reads(plan: dict[str, Any]) -> Iterator[str]:
    """Yield the tables that a plan reads without a key or a place."""
    table: str = plan.get("Relation Name", "")
    is_read = table and plan["Node Type"] not in ("ModifyTable", "Bitmap Heap Scan")
    if is_read and not plan.keys() & {"Index Cond", "TID Cond"}:
        yield table
    for inner in plan.get("Plans", ()):
        yield from list_whole_reads(inner)


def count_searches(plan: dict[str, Any], table: str) -> int:
    """Return how often a plan searches the indexes of a table."""
    own: int = plan.get("Index Searches", 0) if plan.get("Relation Name") == table else 0
    return own + sum(count_searches(inner, table) for inner in plan.get("Plans", ()))


def explain(store: Store) -> Connection:
    """Return a connection that notes the plans of all statements."""
    connection = connect(store.url)
    connection.notices = deque()  # pg8000 keeps the last hundred only
    for statement in _EXPLAIN.split(";"):
        connection.run(statement)
    return connection


@pytest.mark.parametrize(
    "every", [8, pytest.param(1, marks=pytest.mark.exhaustive)], ids=["some logs", "all logs"]
)
def test_no_statement_of_a_fold_reads_a_whole_table(store: Store, every: int) -> None:
    stage, folding = Stage(store.url), explain(store)
    stage.admin.run(_KEEP_PLANS)
    projector = Projector(folding)
    windows = {
        row[0] for row in stage.admin.run("SELECT relname FROM pg_class WHERE relpersistence = 't'")
    }
    found = set()
    for delivery in broken_folds.load_deliveries()[::every]:
        stage.sweep()
        append(stage.admin, list(delivery.log.delivered))
        projector.catch_up_all(limit=delivery.how.limit)
        for plan in list_plans(folding):
            statement = " ".join(plan["Query Text"].split())[:100]
            tables = {*list_whole_reads(plan["Plan"])} - windows - _SMALL
            if statement not in _ENDS:
                found |= {f"{table}: {statement}" for table in tables}
    folding.close()
    stage.close()
    assert not found


def test_a_window_searches_reviews_only_for_late_events_and_poisoned_events_once(
    store: Store,
) -> None:
    stage, folding = Stage(store.url), explain(store)
    folding.run("SET auto_explain.log_analyze = on")
    projector = Projector(folding)
    searches = []
    for numbers in ([1], [2, 3], [0]):
        append(stage.admin, [event for n in numbers for event in lesson("ann", n)])
        projector.catch_up_all()
        plans = [plan["Plan"] for plan in list_plans(folding)]
        searches.append(sum(count_searches(plan, "reviews") for plan in plans))
        reads = [
            plan for plan in plans if plan.get("Relation Name", "").startswith("window_events")
        ]
        assert max(count_searches(plan, "poison_marks") for plan in reads) == 1
    folding.close()
    stage.close()
    assert searches[:2] == [0, 0] < searches[2:]
