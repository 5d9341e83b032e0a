"""The rows of every read model, as the tables contain them and as the oracle computes them."""

import re
import time
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from progress.adapters.postgres import database, statements
from progress.event_store import intake
from progress.projections.schema import BATCH, REALTIME
from tests import oracle

BLOCKS = statements.blocks(str(Path(__file__).with_suffix("")))

Rows = dict[str, oracle.Rows]


def compared_models() -> list[str]:
    defined = oracle.defined_models()
    return [model.name for model in (*REALTIME, *BATCH) if model.name in defined]


def read(connection: database.Connection, block: str) -> list[oracle.Row]:
    if block not in BLOCKS and block in compared_models():
        table = statements.blocks(f"read_models/{block}").get("table", "")
        kind = "one row" if re.search("user_id .* PRIMARY KEY", table) else "table"
        return _run(connection, BLOCKS[kind].replace("{table}", block))
    return _run(connection, BLOCKS[block])


def read_table(connection: database.Connection, table: str) -> list[oracle.Row]:
    return _run(connection, BLOCKS["table"].replace("{table}", table))


def _run(connection: database.Connection, statement: str) -> list[oracle.Row]:
    rows = connection.run(statement) or []
    columns = [column["name"] for column in connection.columns or []]
    return [dict(zip(columns, row, strict=True)) for row in rows]


def list_view_columns(connection: database.Connection) -> dict[str, dict[str, str]]:
    """Return the types of the columns of each view for analysts, by name."""
    views: dict[str, dict[str, str]] = {}
    for view, name, kind in connection.run(BLOCKS["view columns"]):
        views.setdefault(view, {})[name] = kind
    return views


def find_mistakes(connection: database.Connection) -> list[str]:
    """Return the kinds of what does not count as it should, as they will be in two hours."""
    asked = {"now": datetime.now(UTC) + timedelta(hours=2), "declared": intake.declared_types()}
    rows = database.run(connection, "query/intake", "findings", **asked)
    return [kind for kind, *_ in rows if kind]


def read_value(connection: database.Connection, block: str, **values: object) -> Any:
    rows = connection.run(BLOCKS[block], **values)
    return rows[0][0] if rows else None


def wait_for_lock(observer: database.Connection, pid: int, running: Future[Any]) -> None:
    """Wait until the session `pid` waits for a lock.

    Raise AssertionError if `running`, the work of the session, ends first.
    """
    while not read_value(observer, "waits", pid=pid):
        assert not running.done(), "the work ended without waiting for a lock"
        time.sleep(0.002)


def kill(observer: database.Connection, pid: int) -> None:
    """End the session, and wait until its locks are released."""
    read_value(observer, "terminate", pid=pid)
    while read_value(observer, "lives", pid=pid):
        time.sleep(0.002)


def kill_at_lock(observer: database.Connection, pid: int, running: Future[Any]) -> None:
    """Kill the session when it waits for a lock, or when `running`, its work, has ended."""
    while not running.done() and not read_value(observer, "waits", pid=pid):
        time.sleep(0.002)
    kill(observer, pid)


def read_events(connection: database.Connection) -> list[oracle.Event]:
    return [oracle.Event(**row) for row in read(connection, "events")]


def read_rows(connection: database.Connection) -> Rows:
    return {model: read_model(connection, model) for model in compared_models()}


def read_model(connection: database.Connection, model: str) -> oracle.Rows:
    """Return the rows; the first two columns of the statement's result are the key."""
    rows = (list(row.items()) for row in read(connection, model))
    return {(first, second): dict(others) for (_, first), (_, second), *others in rows}


def compute_rows(world: oracle.World) -> Rows:
    return {model: oracle.model_rows(world, model) for model in compared_models()}


def compare(actual: Rows, expected: Rows) -> list[str]:
    """Return one line for each difference; ignore fields that only the oracle's rows have."""
    lines = []
    for model in compared_models():
        for key in sorted(actual[model].keys() | expected[model].keys(), key=str):
            has, should = actual[model].get(key), expected[model].get(key)
            if has is None or should is None:
                lines.append(f"{model} {key}: found {has}, expected {should}")
                continue
            lines += [
                f"{model} {key} {field}: found {value!r}, expected {should[field]!r}"
                for field, value in has.items()
                if value != should[field]
            ]
    return lines
