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


@pytest.mark.parametrize(
    "every", [8, pytest.param(1, marks=pytest.mark.exhaustive)], ids=["some logs", "all logs"]
)
def test_no_statement_of_a_fold_reads_a_whole_table(store: Store, every: int) -> None:
    stage, folding = Stage(store.url), connect(store.url)
    folding.notices = deque()  # pg8000 keeps the last hundred only
    for statement in _EXPLAIN.split(";"):
        folding.run(statement)
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
