"""The rows of every read model: as they stand in the tables, and as the oracle has them."""

from pathlib import Path
from typing import Any

from progress.adapters.postgres import database, statements
from tests import oracle

Rows = dict[str, dict[tuple[Any, ...], oracle.Row]]

_KEYS = 2  # the first two columns of each question say which row it is
_MODELS = (
    "daily_stats",
    "weekly_stats",
    "item_stats",
    "runs",
    "user_progress",
    "domain_stats",
    "level_stats",
    "catalogue",
    "catalogue_counts",
)


def blocks() -> dict[str, str]:
    """The blocks of model_rows.sql."""
    return statements.blocks(str(Path(__file__).with_suffix("")))


def read(connection: database.Connection, name: str) -> list[oracle.Row]:
    """The rows that a question of model_rows.sql finds."""
    found = connection.run(blocks()[name]) or []
    columns = [column["name"] for column in connection.columns or []]
    return [dict(zip(columns, row, strict=True)) for row in found]


def read_value(connection: database.Connection, name: str, **values: object) -> Any:
    """The one value that a question of model_rows.sql finds, or None."""
    found = connection.run(blocks()[name], **values)
    return found[0][0] if found else None


def read_events(connection: database.Connection, question: str = "stored") -> list[oracle.Event]:
    """Every event of the log; with `counted`, without those that were set aside."""
    return [
        oracle.Event(
            event_id=row["event_id"],
            type=row["event_type"],
            data=row["event_data"],
            occurred_at=row["occurred_at"],
            created_at=row["created_at"],
            user_id=row["user_id"],
        )
        for row in read(connection, question)
    ]


def read_rows(connection: database.Connection) -> Rows:
    """Every row of the read models' tables."""
    return {model: dict(map(_keyed, read(connection, model))) for model in _MODELS}


def _keyed(row: oracle.Row) -> tuple[tuple[Any, ...], oracle.Row]:
    values = list(row.items())
    return tuple(v for _, v in values[:_KEYS]), dict(values[_KEYS:])


def compute_rows(world: oracle.World) -> Rows:
    """The rows that there should be."""
    learners = sorted({e.user_id for e in world.events if e.user_id})
    rows: Rows = {model: {} for model in _MODELS}
    for user in learners:
        by_learner: dict[str, dict[Any, oracle.Row]] = {
            "daily_stats": oracle.daily_stats(world, user),
            "weekly_stats": oracle.weekly_stats(world, user),
            "item_stats": oracle.item_stats(world, user),
            "runs": {starts: {"ends": ends} for starts, ends in oracle.runs(world, user)},
            "domain_stats": _studied(oracle.domain_stats(world, user)),
            "level_stats": _studied(oracle.level_stats(world, user)),
        }
        if progress := oracle.user_progress(world, user):
            by_learner["user_progress"] = {"": progress}
        for model, found in by_learner.items():
            rows[model] |= {(user, key): row for key, row in found.items()}
    rows["catalogue"] = _described(world)
    rows["catalogue_counts"] = {
        (kind, name): {"items": count}
        for kind in ("domain", "level")
        for name, count in oracle.catalogue_items(world, kind).items()
    }
    return rows


def _described(world: oracle.World) -> dict[tuple[Any, ...], oracle.Row]:
    return {
        (item_id, word.headword): {
            "level": word.level,
            "domains": list(word.domains),
            "in_catalogue": item_id in oracle.catalogue(world),
        }
        for item_id, word in oracle.descriptions(world).items()
    }


def _studied(found: dict[str, oracle.Row]) -> dict[str, oracle.Row]:
    return {name: row for name, row in found.items() if row["items_studied"]}


def compare(actual: Rows, expected: Rows) -> list[str]:
    """What is not as it should be, a line each; a table need not have a field to be right."""
    found = []
    for model in _MODELS:
        for key in sorted(actual[model].keys() | expected[model].keys(), key=str):
            has, should = actual[model].get(key), expected[model].get(key)
            if has is None or should is None:
                found.append(f"{model} {key}: found {has}, expected {should}")
                continue
            found += [
                f"{model} {key} {field}: found {value!r}, expected {should[field]!r}"
                for field, value in has.items()
                if value != should[field]
            ]
    return found
