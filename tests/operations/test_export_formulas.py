"""Spreadsheet programs run no text of a CSV file as a formula, and every text can be restored."""

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.operations import export_statistics, export_user
from progress.operations.export_files import FileFormat, StatisticsArguments, StatisticsTable
from tests.support import rows_by_hand

_FORMULA = re.compile(r"[-=+@＝＋－＠\s]")
_LINK = '=HYPERLINK("https://example.org", "open")'
# One row of each table, except for the learner's id.
ROWS: dict[StatisticsTable, tuple[str, dict[str, Any]]] = {
    StatisticsTable.DAILY: ("daily_stats", {"day": "2024-03-04"}),
    StatisticsTable.WEEKLY: ("weekly_stats", {"monday": "2024-03-04"}),
    StatisticsTable.DOMAIN: ("catalogue_shares", {"kind": "domain", "name": "R"}),
    StatisticsTable.LEVEL: ("catalogue_shares", {"kind": "level", "name": "A1"}),
    StatisticsTable.ITEM: ("item_stats", {"item_id": "i1"}),
}


def write(connection: Connection, table: StatisticsTable, format_: FileFormat) -> bytes:
    """Export the table's rows; return the file."""
    content, request = io.BytesIO(), StatisticsArguments(table, format_, None, None, None)
    export_statistics.write(connection, request, content, lambda _: None)
    connection.run("ROLLBACK")
    return content.getvalue()


def parse(content: bytes) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file."""
    yield from csv.DictReader(io.StringIO(content.decode(), newline=""))


def restore(cell: str) -> str:
    """Return the text of a cell, by the rule in docs/api.md."""
    return cell.removeprefix("'")


def texts() -> st.SearchStrategy[str]:
    """Return a strategy for the texts of ids and headwords; PostgreSQL stores no null character."""
    some = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
    begins = st.sampled_from(("", *"'=+-@\t\r\n＝＋－＠ ", "''", "'=", "-1", '"=', ",="))
    return st.builds(str.__add__, begins, some).filter(bool)


@given(rows=st.lists(st.tuples(texts(), texts(), texts()), min_size=1, max_size=9))
def test_any_id_and_headword_is_a_text_that_can_be_restored(
    connection: Connection, tmp_path: Path, rows: list[tuple[str, str, str]]
) -> None:
    words = {item: word for _, item, word in rows}
    learnt = sorted({(user, item, words[item]) for user, item, _ in rows})
    connection.run("TRUNCATE item_stats, items")
    for user, item, _ in learnt:
        rows_by_hand.insert(connection, "item_stats", {"user_id": user, "item_id": item})
    for item, word in words.items():
        rows_by_hand.insert(connection, "items", {"item_id": item, "headword": word})
    exported = [*parse(write(connection, StatisticsTable.ITEM, FileFormat.CSV))]
    cells = [(row["user_id"], row["item_id"], row["headword"]) for row in exported]
    assert not [cell for row in cells for cell in row if _FORMULA.match(cell)]
    assert sorted(tuple(map(restore, row)) for row in cells) == learnt
    file = tmp_path / "items.parquet"
    file.write_bytes(write(connection, StatisticsTable.ITEM, FileFormat.PARQUET))
    typed = duckdb.read_parquet(str(file)).project("user_id, item_id, headword")
    assert sorted(typed.fetchall()) == learnt


@given(groups=st.sets(texts(), min_size=1, max_size=5))
def test_any_group_and_item_of_a_learner_can_be_restored(
    connection: Connection, groups: set[str]
) -> None:
    decision = {"decided_at": "2024-03-01T00:00:00Z", "decided_id": f"{0:032}", "is_member": True}
    connection.run("TRUNCATE item_stats, group_members")
    for group in groups:
        row = {"user_id": "ann", "group_id": group, **decision}
        rows_by_hand.insert(connection, "group_members", row)
        rows_by_hand.insert(connection, "item_stats", {"user_id": "ann", "item_id": group})
    content = io.BytesIO()
    export_user.write(connection, "ann", content, lambda _: None)
    connection.run("ROLLBACK")
    with zipfile.ZipFile(content) as archive:
        for name, column in (("groups.csv", "group"), ("items.csv", "item_id")):
            cells = [row[column] for row in parse(archive.read(name))]
            assert not [cell for cell in cells if _FORMULA.match(cell)]
            assert sorted(map(restore, cells)) == sorted(groups)


@pytest.mark.parametrize("table", ROWS)
def test_every_table_marks_the_ids_of_learners(
    connection: Connection, table: StatisticsTable
) -> None:
    model, row = ROWS[table]
    rows_by_hand.insert(connection, model, {"user_id": _LINK, **row})
    assert [r["user_id"] for r in parse(write(connection, table, FileFormat.CSV))] == [f"'{_LINK}"]
