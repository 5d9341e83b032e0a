"""A review log as other programs write it: ids that became floats, damaged fields, odd types."""

import gzip
import tracemalloc
import uuid
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.errors import ReviewLogError
from progress.importers import anki_import, lists, review_log
from progress.importers.anki_events import Learner
from progress.importers.anki_import import Record
from tests.importers.test_anki_recorded import import_new, record

HEADER = "user_id,card_id,review_time,review_rating,id"
# What pyarrow writes beside the columns card_id, review_time, review_rating, review_duration (in
# nanoseconds), interval (a duration, too) and user_id.
ARROW = (
    "/////5ABAAAQAAAAAAAKAAwABgAFAAgACgAAAAABBAAMAAAACAAIAAAABAAIAAAABAAAAAYAAAAoAQAA5AAAAKAAAABoAAAA"
    "NAAAAAQAAAAA////AAABAxAAAAAYAAAABAAAAAAAAAAHAAAAdXNlcl9pZADu/v//AAACACz///8AAAESEAAAABwAAAAEAAAA"
    "AAAAAAgAAABpbnRlcnZhbAAAAAAe////AAADAFz///8AAAESEAAAACAAAAAEAAAAAAAAAA8AAAByZXZpZXdfZHVyYXRpb24A"
    "Uv///wAAAwCQ////AAABAhAAAAAoAAAABAAAAAAAAAANAAAAcmV2aWV3X3JhdGluZwAAAAgADAAIAAcACAAAAAAAAAFAAAAA"
    "0P///wAAAQoQAAAAHAAAAAQAAAAAAAAACwAAAHJldmlld190aW1lAML///8AAAIAEAAUAAgABgAHAAwAAAAQABAAAAAAAAED"
    "EAAAACAAAAAEAAAAAAAAAAcAAABjYXJkX2lkAAAABgAIAAYABgAAAAAAAgAAAAAA"
)


def read(file: Path, **options: Any) -> list[Record]:
    rows, columns = review_log.open_rows(file)
    return [*anki_import.read_rows(rows, columns, Learner(""), None, in_catalogue=False, **options)]


def write(file: Path, header: str, *rows: str) -> Path:
    file.write_bytes("\n".join([header, *rows]).encode(errors="surrogateescape"))
    return file


def make_events(records: list[Record]) -> list[Any]:
    return [event for one in records for message in one.messages() for event in message.events]


def convert(file: Path, types: str, more: str = "") -> Path:
    target = file.with_suffix(".parquet")
    source = f"SELECT * REPLACE ({types}) FROM read_csv('{file}', all_varchar = true)"  # noqa: S608
    with closing(duckdb.connect()) as duck:
        duck.execute(f"COPY ({source}) TO '{target}' (FORMAT parquet {more})")
    return target


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(-1, 2**53)), min_size=1, max_size=5),
    st.sampled_from(["DOUBLE", "HUGEINT", "DECIMAL(38, 1)", None]),
)
def test_an_id_that_a_program_made_a_float_is_the_number(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int]], kind: str | None
) -> None:
    def write_with(end: str) -> Path:
        lines = [
            f"{user}{end},{card}{end},2024-03-{n:02},3,{n}{end},{card}{end}"
            for n, (user, card) in enumerate(sorted(rows), 1)
        ]
        return write(tmp_path_factory.mktemp("log") / "a.csv", f"{HEADER},deck_id", *lines)

    file, names = write_with(".0"), ("user_id", "card_id", "id", "deck_id")
    if kind:
        types = [f"{name}::DECIMAL(38, 1)::{kind} AS {name}" for name in names]
        file = convert(file, ", ".join(types))
    assert make_events(read(file)) == make_events(read(write_with("")))


NONE = ["NULL", "nan", "NaN", "None", r"\N", "<NA>", ""]
GOOD = {"user_id": "1", "review_time": "2024-03-20 10:00:00 UTC", "review_rating": "3"}
SPARED = {
    "headword": ["h" * 201, "\ufffe" * 201],
    "kind": ["k" * 51, "\x07"],
    "deck": ["d" * 101],
    "deck_id": ["1.5", "d" * 201],
    "review_duration": ["-1", "86400001", "9e9", "NaT", "1 s"],
    "interval": ["NaN", "soon", "4294967296"],
    "due": ["NaT", "soon", "0001-01-01T00:00:00Z", "1711744359"],
    "timezone": ["GMT+2", "W. Europe Standard Time"],
}
WRONG = SPARED | {
    "user_id": [*NONE, "1.5"],
    "card_id": ["5.25", "9007199254740994.0"],
    "review_time": ["1711744359.5"],
    "id": ["x", "1.5"],  # the first one is repeated
}


@pytest.mark.parametrize("column", WRONG)
@pytest.mark.parametrize("rating", ["3", "0"])
def test_a_fault_leaves_out_an_optional_field_alone_or_else_the_row(
    tmp_path: Path, column: str, rating: str
) -> None:
    header = dict.fromkeys((*HEADER.split(","), column))

    def read_with(values: list[str]) -> Record:
        cells = [
            GOOD | {"review_rating": rating, "card_id": f"c{n}", column: value}
            for n, value in enumerate(values)
        ]
        rows = [GOOD | {"card_id": "4", "id": "x"}, *cells]
        lines = [",".join(row.get(name, "") for name in header) for row in rows]
        (found,) = read(write(tmp_path / "a.csv", ",".join(header), *lines))
        return found

    found = read_with(values := [*WRONG[column], "\udcff"])
    assert found.answers == read_with([""] * len(values) if column in SPARED else []).answers
    is_told = rating == "3" or column == "user_id"  # manual changes are of no other interest
    wrong = [(n, column) for n in range(3, len(values) + 3) if is_told]
    assert [(fault.row, fault.column) for fault in found.faults] == wrong
    assert found.left_out["faulty"] == (0 if column in SPARED else len(wrong))


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_log_may_have_another_delimiter_and_characters_without_a_width(
    tmp_path: Path, delimiter: str
) -> None:
    header, row = (
        f"{HEADER},headword,a,b".split(","),
        ["1", "4", "2024-03-01", "3", "x", "h,\u200bi"],
    )
    lines = [delimiter.join(each) for each in (header, [*row, "1,5", "2"])]
    (found,) = read(write(tmp_path / "a.csv", "", *lines))
    assert [(one.card_id, one.word) for one in found.answers] == [("4", "h,i")]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (gzip.compress(HEADER.encode(), mtime=0), "a gzip file: unpack it"),
        (HEADER.encode("utf-16"), "UTF-16: save it as UTF-8"),
        (HEADER.encode("utf-16-le"), "UTF-16: save it as UTF-8"),
        (b"\xfe\xff" + HEADER.encode("utf-16-be"), "UTF-16: save it as UTF-8"),
        (b"PK\3\4", "a zip file or a workbook: unpack it, or save it as CSV"),
    ],
)
def test_a_file_in_another_form_is_named(tmp_path: Path, content: bytes, told: str) -> None:
    (file := tmp_path / "a.csv").write_bytes(content)
    for read_file in (read, partial(lists.read_file, column="item_id")):
        with pytest.raises(ReviewLogError, match=f"expected UTF-8, found {told}"):
            read_file(file)


def test_a_missing_value_is_no_id(tmp_path: Path) -> None:
    rows = [f"1,4,2024-03-0{n},3,{none}" for n, none in enumerate(NONE, 1)]
    (found,) = read(write(tmp_path / "a.csv", HEADER, *rows, *["1,4,2024-03-09,3,x"] * 2))
    assert [one.sent_id for one in found.answers] == [None] * len(NONE) + ["x"]
    assert found.left_out == {"manual": 0, "repeated": 1, "faulty": 0}


@pytest.mark.parametrize("is_learner", [True, False])
def test_an_import_stops_where_the_log_has_floats_and_goes_on_with_them(
    connection: Connection, tmp_path: Path, is_learner: bool
) -> None:
    user = uuid.uuid4().int % 2**50
    former = f"{user}.0" if is_learner else str(user)
    answer = review_log.Answer(datetime(2024, 3, 1, tzinfo=UTC), "5.0", 3, None)
    record(connection, Record(learner=Learner(former), answers=[answer]).messages())
    rows = f"{user}.0,5.0,2024-03-01,3,", f"{user},6,2024-03-02,3,"
    file = write(tmp_path / "a.csv", HEADER, *rows)
    told = rf"learner {former} with the item 5\.0.*--keep-floats"
    with pytest.raises(ReviewLogError, match=told):
        read(file, connection=connection)
    (kept,) = read(file, connection=connection, keep_floats=True)
    new = import_new(connection, kept)
    reviews = [event for event in new if event["event_type"] == "CardReviewed"]
    assert [(e["metadata"]["user_id"], e["data"]["item_id"]) for e in reviews] == [(former, "6")]


def test_without_a_readable_schedule_a_card_keeps_the_interval_of_its_former_row(
    tmp_path: Path,
) -> None:
    header = "card_id,review_rating,review_time,interval,due,timezone"
    rows = ["a,3,2024-03-09,x,", "a,3,2024-03-02,4.5,x,Asia/Tokyo", "b,3,2024-03-01,,2024-03-04"]
    rows += ["c,3,2024-03-01,x,", "b,3,2024-03-05,,NaT", "b,3,2024-03-06,NaN,2024-03-08"]
    rows += ["a,3,2024-03-10,,NaT", "a,3,2024-03-11", "c,3,2024-03-06,x,"]
    rows += ["c,3,2024-03-05,,2024-03-04"]
    (found,) = read(write(tmp_path / "a.csv", header, *rows))
    assert {(one.card_id, one.at.day): one.interval_days for one in found.answers} == {
        ("a", 2): 4.5, ("a", 9): 4.5, ("a", 10): 4.5, ("a", 11): 4.5, ("c", 1): None,
        ("b", 1): None, ("b", 5): 3, ("b", 6): None, ("c", 5): None, ("c", 6): 0,
    }  # fmt: skip
    assert found.learner.timezone == "Asia/Tokyo"


def test_a_duration_in_parquet_has_the_unit_of_its_type(tmp_path: Path) -> None:
    header = "card_id,review_time,review_rating,review_duration,interval"
    rows = ("c,2024-03-01,3,2500000000,259200000000000", "d,2024-03-02,3,,")
    file = write(tmp_path / "a.csv", header, *rows)
    types = "review_duration::BIGINT AS review_duration, interval::BIGINT AS interval"
    metadata = f", KV_METADATA {{'ARROW:schema': '{ARROW}'}}"
    (found,) = read(convert(file, types, metadata))
    times = [(one.response_time_ms, one.interval_days) for one in found.answers]
    assert times == [(2500, 3), (None, None)]
    (damaged,) = read(convert(file, types, metadata.replace("AAA", "AA=")))
    assert [one.column for one in damaged.faults] == ["review_duration", "interval"]
    spans = "to_milliseconds(2500) AS review_duration, to_hours(72) AS interval"  # DuckDB's own
    (found,) = read(convert(file, spans))
    assert {(one.response_time_ms, one.interval_days) for one in found.answers} == {(2500, 3)}


@pytest.mark.parametrize(
    ("column", "read_column", "fault"),
    [
        ("remark", "repeat('a', 1_000_000)", None),
        ("remark", "[repeat('a', 1_000_000)]", None),
        ("headword", "repeat('語', 131_072)", "headword: expected at most 200 characters, found"),
        ("headword", "repeat('語', 131_073)", "expected at most 131,072 characters in a cell"),
        ("headword", "repeat('a', 1_000_000)", "expected at most 131,072 characters in a cell"),
        ("deck", "[repeat('a', 1_000_000)]", "deck: expected text, a number or a time"),
        ("user_id", "MAP {'a': repeat('a', 1_000_000)}", "user_id: expected text, a number"),
    ],
)
def test_the_memory_does_not_grow_with_a_cell_of_parquet(
    tmp_path: Path, column: str, read_column: str, fault: str | None
) -> None:
    row = f"'c' || n AS card_id, '2024-03-01' AS review_time, 3 AS review_rating, {read_column}"
    with closing(duckdb.connect()) as duck:
        duck.execute(
            f"COPY (SELECT {row} AS {column} FROM range(500) r (n)) "  # noqa: S608
            f"TO '{(bomb := tmp_path / 'a.parquet')}' (FORMAT parquet, COMPRESSION zstd, "
            "DICTIONARY_SIZE_LIMIT 1000, STRING_DICTIONARY_PAGE_SIZE_LIMIT 1_000_000_000)"
        )
    tracemalloc.start()
    found = [one for record in read(bomb) for one in record.faults]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == (500 if fault else 0)
    assert all(fault and fault in str(one) for one in found)
    assert peak < 20_000_000
