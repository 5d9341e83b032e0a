"""Insert rows directly into the read models; columns that a row lacks become zero or null."""

import json
from pathlib import Path
from typing import Any

from progress.adapters.postgres import database, statements

BLOCKS = statements.blocks(str(Path(__file__).with_suffix("")))

_MOMENT = "2024-03-01T00:00:00Z"
_DEFAULTS: dict[str, dict[str, Any]] = {
    "item_stats": dict.fromkeys(
        ("answers", "correct_answers", "response_ms", "timed_answers", "lapses"), 0
    ),
    "items": {
        "domains": [],
        "described_at": _MOMENT,
        "decided_at": _MOMENT,
        "decided_id": "00000000-0000-0000-0000-000000000000",
        "in_catalogue": True,
    },
    "catalogue_counts": {"language": "und", "item_kind": ""},
    "display_names": {"named_at": _MOMENT, "named_id": "00000000-0000-0000-0000-000000000000"},
}


def insert(connection: database.Connection, table: str, *rows: dict[str, Any]) -> None:
    """Insert the rows. The default of `reviewed_on`, a local day, is the review's date in UTC."""
    complete = [{**_zeros(connection, table), **_reviewed_on(row), **row} for row in rows]
    connection.run(
        BLOCKS["insert"].replace("{table}", table), rows=json.dumps(complete, default=str)
    )


def _reviewed_on(row: dict[str, Any]) -> dict[str, Any]:
    return {"reviewed_on": str(row["reviewed_at"])[:10]} if "reviewed_at" in row else {}


def _zeros(connection: database.Connection, table: str) -> dict[str, Any]:
    if table in _DEFAULTS:
        return _DEFAULTS[table]
    connection.run(BLOCKS["columns"].replace("{table}", table))
    numbers = [c["name"] for c in connection.columns or [] if c["type_oid"] == 20]
    return {**dict.fromkeys(numbers, 0), "last_updated": _MOMENT}
