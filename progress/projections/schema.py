"""The read models' schema: `sql/read_models`, `sql/projections`; named after their fingerprint.

To add a read model: write its file (table, fold, what it forgets), and give it its place below.
"""

import functools
import hashlib
from typing import TYPE_CHECKING

import msgspec

from progress.adapters.postgres import statements
from progress.event_store import time_zones

if TYPE_CHECKING:
    from progress.adapters.postgres.database import Connection

# In the order of their folds: a fold may use what the ones before it left in the window's tables.
REALTIME = (
    "zone_rules",
    "preferences",
    "deleted_learners",
    "facts",
    "items",
    "reviews",
    "item_stats",
    "item_days",
    "completions",
    "daily_stats",
    "learning_streaks",
    "user_progress",
)
BATCH = ("catalogue_counts", "weekly_stats", "domain_stats", "level_stats", "snapshots")
DRIVERS = ("checkpoints", "versions", "fold", "batch", "as_of")
# Of a file, what decides how read models are made and what is in them.
_FOLDED = (
    *("table", "views", "functions", "window", "as_of", "empty_window", "fold"),
    *("reset_learners", "delete_learners"),
)


@functools.cache
def fingerprint() -> str:
    """Twelve hexadecimal digits that change with any fold and with the rules of the zones."""
    digest = hashlib.sha256(time_zones.VERSION.encode())
    for name in (*REALTIME, *BATCH, *DRIVERS):
        for block in _FOLDED:
            digest.update(_block(name, block).encode())
    return digest.hexdigest()[:12]


def schema_name() -> str:
    """The schema that holds the read models of this code."""
    return f"progress_{fingerprint()}"


def exists(connection: "Connection", schema: str) -> bool:
    """Whether the database has the schema."""
    return bool(connection.run("SELECT FROM pg_namespace WHERE nspname = :schema", schema=schema))


def create(connection: "Connection", schema: str | None = None) -> bool:
    """Make the schema with empty read models, in one transaction; False where it is there."""
    schema = schema or schema_name()
    if exists(connection, schema):
        return False
    from progress.adapters.postgres import (
        database,  # it brings pg8000 along, which questions do not need
    )

    with database.transaction(connection):
        connection.run(f"CREATE SCHEMA {_identifier(schema)} AUTHORIZATION progress_project")
        connection.run("SET LOCAL ROLE progress_project")
        set_search_path(connection, schema)
        for statement in _definitions():
            connection.run(statement)
        _load_zone_rules(connection)
    return True


def set_search_path(connection: "Connection", schema: str | None = None) -> None:
    """From now on this connection finds the read models of the schema, and the event store."""
    path = f"{_identifier(schema or schema_name())}, event_store"
    connection.run("SELECT set_config('search_path', :path, false)", path=path)


def prepare_window(connection: "Connection") -> None:
    """Give the connection the temporary tables that a fold works on, unless it has them."""
    _prepare(connection, "fold", REALTIME)


def prepare_batch(connection: "Connection") -> None:
    """Give the connection the temporary tables that the batch folds work on, unless it has them."""
    _prepare(connection, "batch", ("batch",))


def as_of_tables() -> str:
    """What a connection runs whose path is pg_temp and the schema: all that a fold writes, anew.

    Views are made again by the same words: here their tables are the temporary ones.
    """
    named = ("as_of", *REALTIME)
    return "\n\n".join(_join(named, block) for block in ("as_of", "views", "window"))


def _prepare(connection: "Connection", driver: str, models: tuple[str, ...]) -> None:
    if not connection.run(_block(driver, "is_prepared"))[0][0]:
        # At once: as transactions of their own they would wait for the disk, table by table.
        connection.run(_join(models, "window"))


def drop(connection: "Connection", schema: str) -> None:
    """Remove a schema of read models that nobody reads any more."""
    connection.run(f"DROP SCHEMA IF EXISTS {_identifier(schema)} CASCADE")


def _definitions() -> list[str]:
    made = [
        _block(name, block)
        for name in ("checkpoints", *REALTIME, *BATCH, "versions", "as_of")
        for block in ("table", "views", "functions")
    ]
    return [*filter(None, made), _fill_in("fold"), _fill_in("batch")]


def _fill_in(driver: str) -> str:
    text = _block(driver, "functions")
    fold = REALTIME if driver == "fold" else BATCH
    text = text.replace("{fold}", _join(fold, "fold"))
    text = text.replace("{empty_window}", _join(REALTIME, "empty_window"))
    text = text.replace("{reset_learners}", _join(REALTIME, "reset_learners"))
    text = text.replace("{delete_batch_rows}", _join(BATCH, "delete_learners"))
    return text.replace("{delete_learners}", _join((*REALTIME, *BATCH), "delete_learners"))


def _join(models: tuple[str, ...], block: str) -> str:
    return "\n\n".join(filter(None, (_block(name, block) for name in models)))


def _block(model: str, block: str) -> str:
    folder = "projections" if model in DRIVERS else "read_models"
    return statements.blocks(f"{folder}/{model}").get(block, "")


def _load_zone_rules(connection: "Connection") -> None:
    rules = msgspec.json.encode(list(time_zones.rules())).decode()
    connection.run(_block("zone_rules", "fill"), rules=rules)


def _identifier(name: str) -> str:
    from pg8000.native import identifier  # 20 ms: not for who only asks for names

    quoted: str = identifier(name)
    return quoted
