"""docs/analysis.md names each column of the views and the archive, and what it equates is equal."""

import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import cast

from graphql import GraphQLObjectType

from progress.adapters.postgres.database import Connection
from progress.archive import files
from progress.event_store import events
from progress.projections import batch, views
from progress.query.graphql.schema import GRAPHQL
from tests.conftest import Store
from tests.support import api, sample_events

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "docs/analysis.md").read_text(encoding="utf-8").split("\n## Names\n")[1]
VIEWS = json.loads((ROOT / "tests/projections/views.json").read_text())
_, TABLE, ONLY = SECTION.split("\n\n")
ROWS = [[cell.strip() for cell in line.split("|")[2:5]] for line in TABLE.splitlines()[2:]]
GRAPHQL_NAMES, VIEW_NAMES, ARCHIVE_NAMES = (
    [name for row in ROWS for name in re.findall(r"`([^`]+)`", row[column])] for column in range(3)
)
ONLY_NAMES = re.findall(r"`(\w+)`", ONLY)

# Each type of GraphQL with the view that has its rows, and the field that returns it.
SOURCES = {
    "UserProgress": ("user_progress", "userProgress"),
    "DailyStats": ("daily_stats", 'dailyStats(from: "2024-03-01", to: "2024-05-31")'),
    "PeriodStats": ("weekly_stats", 'weeklyStats(from: "2024-03-01", to: "2024-05-31")'),
    "ItemStats": ("item_stats", "itemStats { edges { node"),
    "Memory": ("item_stats", "itemStats { edges { node { memory"),
    "DomainStats": ("domain_stats", "domainStats"),
    "LevelStats": ("level_stats", "levelStats"),
    "HourlyStats": ("hourly_stats", "hourlyStats"),
    "Streak": ("learning_streaks", "streak"),
    "Milestone": ("milestones", "milestones { edges { node"),
}


def list_equal() -> Iterator[tuple[str, str, str, str]]:
    """Yield the type, field, view and column of each row that says that the two are equal."""
    for field, column, _ in ROWS:
        names = [re.fullmatch(r"`(?:(\w+)\.)?(\w+)`", cell) for cell in (field, column)]
        if all(names):
            (named, field_), (view, column_) = (name.groups() for name in names if name)
            for type_, (source, _) in SOURCES.items():
                fits = named in {None, type_} and view in {None, source}
                fields = cast("GraphQLObjectType", GRAPHQL.type_map[type_]).fields
                if fits and field_ in fields and column_ in VIEWS[source]:
                    yield type_, field_, source, column_


def with_last_part(names: set[str]) -> set[str]:
    """Return names such as `item_stats.lapses` and, of each, the last part."""
    return names | {name.partition(".")[2] for name in names}


def list_archive_columns(folder: Path) -> set[str]:
    """Write a file of the archive without rows, and return its columns."""
    source, target = folder / "empty.csv", folder / "empty.parquet"
    source.touch()
    with files.open_workspace() as workspace:
        workspace._run("write", csv=[str(source)], target=str(target))
        return set(workspace._duck.read_parquet(str(target)).columns)


def test_graphql_has_the_named_fields() -> None:
    fields = {
        f"{name}.{field}"
        for name, kind in GRAPHQL.type_map.items()
        if isinstance(kind, GraphQLObjectType)
        for field in kind.fields
    }
    assert set(GRAPHQL_NAMES) - with_last_part(fields) == set()


def test_a_field_has_the_values_of_its_column(store: Store, connection: Connection) -> None:
    sample_events.record_lessons(connection, "ann")
    batch.run(connection)
    views.follow(connection, None)
    rows = list(list_equal())
    assert len(rows) > 50
    with api.serve(store.url) as served:
        for type_, field, view, column in rows:
            path = SOURCES[type_][1]
            data = served.data(f"{{ {path} {{ {field} }} {'}' * path.count('{')} }}")
            sql = f"SELECT {column} FROM progress.{view} WHERE user_id = 'ann'"  # noqa: S608 - names
            values = connection.run(sql)
            expected = [value for (value,) in values if value is not None]
            assert list_leaves(data) == sorted(map(to_text, expected)), (field, column)


def list_leaves(value: object) -> list[str]:
    """Return the values in a response, except null, as texts in order."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return sorted(leaf for part in parts for leaf in list_leaves(part))
    return [] if value is None else [to_text(value)]


def to_text(value: object) -> str:
    """Return the same text for a value of PostgreSQL and of JSON, which may be rounded."""
    if isinstance(value, float):
        return f"{value:.3g}"
    text = value.isoformat() if isinstance(value, date) else str(value)
    return re.sub(r"(\.0+)?(Z|\+00:00)?$", "", text)


def test_each_column_of_the_views_is_named() -> None:
    """tests/projections/test_views.py compares the list with the views themselves."""
    columns = {f"{view}.{column}" for view, columns in VIEWS.items() for column in columns}
    assert set(VIEW_NAMES) - with_last_part(columns) == set()
    named = {name.rpartition(".")[2] for name in [*VIEW_NAMES, *ONLY_NAMES]}
    assert {column.partition(".")[2] for column in columns} - named == set()


def test_each_column_of_the_archive_is_named(tmp_path: Path) -> None:
    columns = list_archive_columns(tmp_path)
    fields = {
        f"{name}.{field}"
        for name, event in events.EVENT_TYPES.items()
        for field in event.__struct_fields__
    }
    others = {"learner-", "correlation_id"}
    known = columns | with_last_part(fields) | events.EVENT_TYPES.keys() | others
    assert set(ARCHIVE_NAMES) - known == set()
    assert columns - {*ARCHIVE_NAMES, *ONLY_NAMES} == set()
