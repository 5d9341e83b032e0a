"""docs/analysis.md names each column of the views and of the archive, and no other."""

import json
import re
from pathlib import Path

from graphql import GraphQLObjectType

from progress.archive import files
from progress.event_store import events
from progress.query.graphql.schema import GRAPHQL

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "docs/analysis.md").read_text(encoding="utf-8").split("\n## Names\n")[1]
_, TABLE, ONLY = SECTION.split("\n\n")
ROWS = [
    [re.findall(r"`([^`]+)`", cell) for cell in line.split("|")[2:5]]
    for line in TABLE.splitlines()[2:]
]
GRAPHQL_NAMES, VIEW_NAMES, ARCHIVE_NAMES = (
    [name for row in ROWS for name in row[column]] for column in range(3)
)
ONLY_NAMES = re.findall(r"`(\w+)`", ONLY)


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


def test_each_column_of_the_views_is_named() -> None:
    """tests/projections/test_views.py compares the list with the views themselves."""
    views = json.loads((ROOT / "tests/projections/views.json").read_text())
    columns = {f"{view}.{column}" for view, columns in views.items() for column in columns}
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
