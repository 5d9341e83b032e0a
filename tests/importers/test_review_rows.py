"""A review log as other programs write it: ids that became floats, damaged fields, odd types."""

import unicodedata
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.errors import ReviewLogError
from progress.importers import anki_import, review_log, review_rows
from progress.importers.anki_events import Learner
from progress.importers.anki_import import Record
from tests.importers.test_anki_recorded import record

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


def read(
    file: Path, connection: Connection | None = None, *, keep_floats: bool = False
) -> list[Record]:
    rows = review_rows.read(file)
    columns = review_log.find_columns(file, next(rows))
    return [
        *anki_import.read_rows(
            *(rows, columns, Learner(""), None),
            in_catalogue=False,
            connection=connection,
            keep_floats=keep_floats,
        )
    ]


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
    folder = tmp_path_factory.mktemp("log")
    ordered = sorted(rows)
    ids = [f"{u},{c},2024-03-{n:02},3,{n}" for n, (u, c) in enumerate(ordered, 1)]
    expected = make_events(read(write(folder / "a.csv", HEADER, *ids)))
    ids = [f"{u}.0,{c}.0,2024-03-{n:02},3,{n}.0" for n, (u, c) in enumerate(ordered, 1)]
    ids.insert(1, "NULL,,2024-03-01,0,")
    file = write(folder / "b.csv", HEADER, *ids)
    if kind:
        del ids[1]
        casts = [
            f"{name}::DECIMAL(38, 1)::{kind} AS {name}" for name in ("user_id", "card_id", "id")
        ]
        file = convert(write(file, HEADER, *ids), ", ".join(casts))
    assert make_events(read(file)) == expected


@pytest.mark.parametrize("none", ["NULL", "nan", "NaN", "None", r"\N", "<NA>", ""])
def test_what_stands_for_a_missing_value_is_no_learner(tmp_path: Path, none: str) -> None:
    rows = ("ann,5,2024-03-01,3,x", f"{none},6,2024-03-02,3,y", f"ann,7,2024-03-03,3,{none}")
    (found,) = read(write(tmp_path / "a.csv", HEADER, *rows))
    assert [(one.card_id, one.sent_id) for one in found.answers] == [("5", "x"), ("7", None)]
    assert [str(fault)[:22] for fault in found.faults] == ["row 3, column user_id:"]


def test_a_number_with_a_fraction_or_more_digits_than_a_float_has_is_no_id(tmp_path: Path) -> None:
    rows = ["1.5,5,2024-03-01,3,", "1,5.25,2024-03-01,3,", "1,9007199254740994.0,2024-03-01,3,"]
    rows += ["\udcff,5,2024-03-01,3,"]
    (*_, found) = read(write(tmp_path / "a.csv", HEADER, *rows))
    assert found.answers == []
    assert [(fault.row, fault.column) for fault in found.faults] == [
        *((3, "card_id"), (4, "card_id"), (5, "user_id"))
    ]


@pytest.mark.parametrize("is_learner", [True, False])
def test_an_import_stops_where_the_log_has_floats_and_goes_on_with_them(
    connection: Connection, tmp_path: Path, is_learner: bool
) -> None:
    user = uuid.uuid4().int % 2**50
    former = f"{user}.0" if is_learner else str(user)
    (own,) = read(write(tmp_path / "a.csv", HEADER, f"{user},5,2024-03-01,3,,", ""))
    own_answers = [review_log.Answer(own.answers[0].at, "5.0", 3, None)]
    made = Record(Learner(former), own_answers)
    record(connection, made.messages())
    file = write(
        tmp_path / "b.csv", HEADER, f"{user}.0,5.0,2024-03-01,3,", f"{user},6,2024-03-02,3,"
    )
    with pytest.raises(
        ReviewLogError, match=rf"learner {former} with the item 5\.0.*--keep-floats"
    ):
        read(file, connection)
    (kept,) = read(file, connection, keep_floats=True)
    new = [e for m in anki_import.select_new(connection, kept) for e in m.events]
    reviews = [event for event in new if event["event_type"] == "CardReviewed"]
    assert [(e["metadata"]["user_id"], e["data"]["item_id"]) for e in reviews] == [(former, "6")]


SPARED = {
    "headword": ["h" * 201, "\ufffe" * 201],
    "kind": ["k" * 51, "\x07"],
    "deck": ["d" * 101],
    "deck_id": ["1.5", "d" * 201],
    "review_duration": ["-1", "86400001", "NaT", "1 s"],
    "interval": ["NaN", "soon"],
    "due": ["NaT", "0001-01-01T00:00:00Z", "1711744359"],
    "timezone": ["GMT+2", "W. Europe Standard Time"],
}


@pytest.mark.parametrize("column", SPARED)
def test_a_fault_in_an_optional_field_leaves_out_the_field_alone(
    tmp_path: Path, column: str
) -> None:
    header = f"card_id,review_time,review_rating,{column}"
    values = ["", *SPARED[column], "\udcff"]
    rows = [f"c{n},2024-03-{n + 1:02} 10:00:00 UTC,3,{value}" for n, value in enumerate(values)]
    (found,) = read(write(tmp_path / "a.csv", header, *rows))
    plain = [f"{row.rpartition(',')[0]}," for row in rows]
    (expected,) = read(write(tmp_path / "b.csv", header, *plain))
    assert (found.answers, found.left_out["faulty"]) == (expected.answers, 0)
    assert [(one.row, one.column) for one in found.faults] == [
        (n, column) for n in range(3, len(values) + 2)
    ]


def test_without_a_readable_schedule_a_card_keeps_the_interval_of_its_former_row(
    tmp_path: Path,
) -> None:
    header = "card_id,review_rating,review_time,interval,due"
    rows = ["a,3,2024-03-09,x,", "a,3,2024-03-02,4.5,x", "b,3,2024-03-01,,2024-03-04"]
    rows += ["c,3,2024-03-01,x,", "b,3,2024-03-05,,NaT", "b,3,2024-03-06,NaN,2024-03-08"]
    rows += ["a,3,2024-03-10,,NaT"]
    (found,) = read(write(tmp_path / "a.csv", header, *rows))
    assert {(one.card_id, one.at.day): one.interval_days for one in found.answers} == {
        ("a", 2): 4.5, ("a", 9): 4.5, ("a", 10): 4.5, ("c", 1): None,
        ("b", 1): None, ("b", 5): 3, ("b", 6): None,
    }  # fmt: skip


def test_times_in_seconds_are_named_as_such(tmp_path: Path) -> None:
    rows = [f",c,{second},3," for second in ("1711744359", "1711744359.5")]
    (found,) = read(write(tmp_path / "a.csv", HEADER.replace("user_id", "x"), *rows))
    assert found.answers == []
    (kind,) = {one.kind for one in found.faults}
    assert kind.endswith("expected milliseconds since 1970, not seconds: multiply them by 1,000")


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


@given(st.sampled_from(["Français", "が", "한국어"]), st.booleans())
def test_a_deck_and_a_word_have_one_form(
    tmp_path_factory: pytest.TempPathFactory, text: str, has_id: bool
) -> None:
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    header = "card_id,review_time,review_rating,deck,headword" + ",deck_id" * has_id
    rows = [f"c{n},2024-03-0{n},3,{form},{form},d-1" for n, form in enumerate(forms, 1)]
    (found,) = read(write(tmp_path_factory.mktemp("log") / "a.csv", header, *rows))
    data = [event["data"] for event in make_events([found]) if "list_id" in event["data"]]
    (list_id,) = {one["list_id"] for one in data}
    assert (list_id == "d-1") == has_id
    assert {one.get("name", one.get("headword")) for one in data} == {forms[0]}
