"""Exported statistics equal those of the API, in a CSV file as well as in a Parquet file."""

import csv
import io
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.adapters.storage import outputs
from progress.adapters.storage.storage import Output
from progress.errors import ProgressError, StorageUnavailable
from progress.operations import export_statistics as conversion
from progress.operations import export_user
from progress.operations.export_files import FileFormat, StatisticsArguments, StatisticsTable
from progress.projections import batch
from tests.support import rows_by_hand, sample_events
from tests.support.export_fixtures import expect_api, export_statistics
from tests.support.operation_fixtures import USERS, Operator
from tests.support.sample_events import BEGIN
from tests.support.stage import append

_DAYS = '(from: "2024-03-01", to: "2024-06-01")'
API = {
    "DAILY": f"dailyStats{_DAYS} {{ date answers studyTimeMinutes accuracyRate }}",
    "WEEKLY": f"weeklyStats{_DAYS} {{ start end activeDays itemsReviewed averageScore }}",
    "DOMAIN": "domainStats { domain itemsStudied catalogueItems progressRate }",
    "LEVEL": "levelStats { level learning longTermMastered catalogueItems }",
}
_FORMULA = re.compile(r"[-=+@＝＋－＠\s]")
_LINK = '=HYPERLINK("https://example.org", "open")'
# One row of each table, except for the learner's id.
ROWS: dict[StatisticsTable, tuple[str, dict[str, Any]]] = {
    StatisticsTable.DAILY: ("daily_stats", {"day": "2024-03-04"}),
    StatisticsTable.WEEKLY: ("weekly_stats", {"monday": "2024-03-04"}),
    StatisticsTable.DOMAIN: (
        "catalogue_shares",
        {"kind": "domain", "name": "R", "language": "und"},
    ),
    StatisticsTable.LEVEL: ("catalogue_shares", {"kind": "level", "name": "A1", "language": "und"}),
    StatisticsTable.ITEM: ("item_stats", {"item_id": "i1"}),
}


def write(operator: Operator, exports: Path, arguments: str) -> Path:
    done = operator.run(export_statistics(operator, arguments)["id"])
    assert done["state"] == "SUCCEEDED", done["error"]
    return exports / str(json.loads(done["result"])["object"])


def write_csv(operator: Operator, exports: Path, arguments: str) -> list[dict[str, str]]:
    text = write(operator, exports, arguments).read_text(encoding="utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def test_the_exported_tables_have_the_same_numbers_as_the_api(
    operator: Operator, populated: Connection, exports: Path
) -> None:
    batch.run(populated)
    for table, field in API.items():
        rows = write_csv(operator, exports, f"table: {table}")
        assert {row["user_id"] for row in rows} == {*USERS}
        (expected,) = operator.api.data(f"{{ {field} }}").values()
        studied = [row for row in expected if row.get("itemsStudied") != 0]
        expect_api([row for row in rows if row["user_id"] == "ann"], studied)


def test_exported_items_have_the_same_numbers_as_the_api(
    operator: Operator, populated: Connection, exports: Path
) -> None:
    """A word of a learner's own is in nobody's file."""
    aside = sample_events.envelope("ItemSetAside", {"user_id": "ann", "item_id": "i1"}, at=BEGIN)
    word = {"user_id": "ann", "list_id": "l", "item_id": "i1", "headword": "Wort", "kind": "k"}
    append(populated, [aside, sample_events.envelope("ItemListed", word, at=BEGIN)])
    batch.run(populated)
    rows = write_csv(operator, exports, 'table: ITEM, learners: ["ann"]')
    assert [row["item_id"] for row in rows if row["set_aside"] == "true"] == ["i1"]
    fields = "itemId headword answers mastery kind setAside"
    query = f"{{ itemStats(first: 200) {{ edges {{ node {{ {fields} }} }} }} }}"
    query = query.replace("(", '(userId: "ann", ')
    nodes = [edge["node"] for edge in operator.data(query)["itemStats"]["edges"]]
    nodes.sort(key=lambda node: node["itemId"])
    expect_api(sorted(rows, key=lambda row: row["item_id"]), nodes)


def test_rows_can_be_selected_by_days_and_learners(
    operator: Operator, populated: Connection, exports: Path
) -> None:
    every = write_csv(operator, exports, "table: DAILY")
    days = sorted({row["date"] for row in every})
    assert [(row["user_id"], row["date"]) for row in every] == sorted(
        (row["user_id"], row["date"]) for row in every
    )
    some = (
        f'table: DAILY, from: "{days[1]}", to: "{days[2]}", learners: ["cyd", "ann", "cyd", "no"]'
    )
    assert write_csv(operator, exports, some) == [
        row for row in every if row["user_id"] != "ben" and row["date"] in days[1:3]
    ]
    assert write_csv(operator, exports, 'table: WEEKLY, from: "2030-01-01"') == []


@pytest.mark.first_in_gate
@pytest.mark.parametrize("table", StatisticsTable)
def test_a_parquet_file_has_the_same_rows_as_the_csv_file_with_typed_values(
    operator: Operator, populated: Connection, exports: Path, table: StatisticsTable
) -> None:
    batch.run(populated)
    rows = write_csv(operator, exports, f"table: {table.name}")
    file = write(operator, exports, f"table: {table.name}, format: PARQUET")
    typed = duckdb.read_parquet(str(file))
    assert typed.columns == [*rows[0]]
    parsers: dict[str, Callable[[str], object]] = {
        "VARCHAR": str,
        "DATE": date.fromisoformat,
        "BIGINT": int,
        "DOUBLE": float,
        "BOOLEAN": {"true": True, "false": False}.__getitem__,
        "TIMESTAMP WITH TIME ZONE": lambda text: datetime.fromisoformat(text).timestamp(),
    }
    types = [str(type_) for type_ in typed.types]
    read = [parsers[type_] for type_ in types]
    # Without another package, DuckDB cannot return a time, but can return its seconds.
    columns = ", ".join(
        f'epoch("{name}")' if type_.startswith("TIME") else f'"{name}"'
        for name, type_ in zip(typed.columns, types, strict=True)
    )
    assert typed.project(columns).fetchall() == [
        tuple(parse(text) if text else None for parse, text in zip(read, row.values(), strict=True))
        for row in rows
    ]


def test_a_csv_export_does_not_need_duckdb(
    operator: Operator, populated: Connection, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert write_csv(operator, exports, "table: DAILY")


def test_line_breaks_and_quotes_are_kept_even_if_the_rows_exceed_a_buffer(tmp_path: Path) -> None:
    texts = [f'a "b", {n}\nc' if n % 1_000 == 0 else f'a "b", {n}' for n in range(300_000)]
    with (tmp_path / "x.parquet").open("wb") as file, conversion.converting(file) as rows:
        rows.write(b"headword,answers\n")
        for number, text in enumerate(texts):
            quoted = text.replace('"', '""')
            rows.write(f'"{quoted}",{number}\n'.encode())
    table = duckdb.read_parquet(str(tmp_path / "x.parquet"))
    assert table.fetchall() == [(text, number) for number, text in enumerate(texts)]


class Down:
    """A storage that does not respond."""

    def write(self, _: object) -> None:
        raise StorageUnavailable("no response")


def fail() -> bytes:
    raise KeyError


@pytest.mark.parametrize(
    ("output", "make", "error"),
    [
        (io.BytesIO(), lambda: b"ann,many\n", ProgressError),  # DuckDB cannot read the row
        (Down(), lambda: b"ann,1\n", StorageUnavailable),
        (io.BytesIO(), fail, KeyError),
    ],
)
def test_any_error_ends_a_conversion(
    output: Output, make: Callable[[], bytes], error: type[Exception]
) -> None:
    def convert() -> None:
        with conversion.converting(output) as rows:
            rows.write(b"user_id,answers\n")
            for _ in range(400_000):
                rows.write(make())

    with pytest.raises(error):
        convert()


def write_formulas(connection: Connection, table: StatisticsTable, format_: FileFormat) -> bytes:
    content, request = io.BytesIO(), StatisticsArguments(table, format_, None, None, None)
    shares: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "_REPORT_INTERVAL", 1)
        conversion.write(connection, request, content, shares.append)
    connection.run("ROLLBACK")
    assert shares
    assert all(0 <= share < 1 for share in shares)
    return content.getvalue()


def parse(content: bytes) -> Iterator[dict[str, str]]:
    yield from csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))


def restore(cell: str) -> str:
    """Return the text of a cell, by the rule in docs/api.md."""
    return cell.removeprefix("'")


def texts() -> st.SearchStrategy[str]:
    """Return a strategy for the texts of ids and headwords; PostgreSQL stores no null character."""
    some = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
    begins = st.sampled_from(("", *"'=+-@\t\r\n＝＋－＠ ", "''", "'=", "-1", '"=', ",="))
    return st.builds(str.__add__, begins, some).filter(bool)


@given(rows=st.lists(st.tuples(texts(), texts(), texts()), min_size=1, max_size=9))
@example(rows=[("0", "\x1f", "0")])  # white space for Python, but not for PostgreSQL
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
    exported = [*parse(write_formulas(connection, StatisticsTable.ITEM, FileFormat.CSV))]
    cells = [(row["user_id"], row["item_id"], row["headword"]) for row in exported]
    assert not [cell for row in cells for cell in row if _FORMULA.match(cell)]
    assert sorted(tuple(map(restore, row)) for row in cells) == learnt
    file = tmp_path / "items.parquet"
    file.write_bytes(write_formulas(connection, StatisticsTable.ITEM, FileFormat.PARQUET))
    typed = duckdb.read_parquet(str(file)).project("user_id, item_id, headword")
    assert sorted(typed.fetchall()) == learnt


@given(groups=st.sets(texts(), min_size=1, max_size=5))
@example(groups={chr(n) for n in range(0x3001) if chr(n).isspace()})
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


def test_every_table_marks_the_ids_of_learners(connection: Connection) -> None:
    for table, (model, row) in ROWS.items():
        connection.run(f"TRUNCATE {model}")
        rows_by_hand.insert(connection, model, {"user_id": _LINK, **row})
        rows = parse(write_formulas(connection, table, FileFormat.CSV))
        assert [row["user_id"] for row in rows] == [f"'{_LINK}"], table
