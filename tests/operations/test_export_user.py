"""An export contains the API's numbers, and the events from which they can be recomputed."""

import codecs
import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given

from progress.adapters.postgres.database import Connection
from progress.operations import export_user
from progress.projections import batch
from progress.projections.projector import Projector
from progress.projections.schema import BATCH, REALTIME
from tests.support import model_rows, sample_events, stage
from tests.support.event_logs import Disturbance, Log, Published, logs
from tests.support.export_fixtures import expect_api, export_files, list_rows, write_text
from tests.support.operation_fixtures import Operator
from tests.support.stage import Stage, append, undeclared

# Two read models are exported as JSON. The SQL of any other one names its file: the block "export
# daily" or "rows daily" writes daily.csv.
JSON = {"user_progress": "summary.json", "learning_streaks": "streak.json"}
IN_ORDER = Disturbance((100,), None, 1_000, 1, 1, ())
ZONE = {"user_id": "ann", "timezone": "Asia/Tokyo", "day_start_hour": 3}


def test_the_manifest_describes_every_other_file(
    operator: Operator, populated: Connection, exports: Path
) -> None:
    choices, study = sample_events.choices("ann"), sample_events.further_study("ann")
    stage.append(populated, [*choices, *study])
    files = export_files(operator, exports)
    manifest = json.loads(files["manifest.json"])
    assert [*files] == [*(file["name"] for file in manifest["files"]), "manifest.json"]
    for file in manifest["files"]:
        content = files[file["name"]]
        assert (file["bytes"], file["sha256"]) == (
            len(content),
            hashlib.sha256(content).hexdigest(),
        )
        if file["name"].endswith((".csv", ".jsonl")):
            heading = file["name"].endswith(".csv")
            assert content.startswith(codecs.BOM_UTF8) == heading
            assert file["rows"] == len(content.splitlines()) - heading > 0
    assert {f["name"]: f["rows"] for f in manifest["files"]}["README.html"] == 0
    assert manifest["position"] > 0
    assert not [part for part in exports.iterdir() if part.suffix != ".zip"]


API = {
    "daily.csv": 'dailyStats(from: "2024-03-01", to: "2024-06-01") { date answers accuracyRate }',
    "weekly.csv": 'weeklyStats(from: "2024-03-01", to: "2024-06-01") { start end itemsReviewed }',
    "hourly.csv": "hourlyStats { hour answers averageResponseMs }",
    "languages.csv": "languages { language itemsStudied answers kinds }",
    "domains.csv": "domainStats { domain itemsStudied catalogueItems progressRate }",
    "levels.csv": "levelStats { level learning longTermMastered catalogueItems }",
}


def test_the_exported_tables_have_the_numbers_of_the_api(
    operator: Operator, populated: Connection, exports: Path
) -> None:
    created = sample_events.envelope("UserCreated", ZONE, at=sample_events.BEGIN)
    word = {"user_id": "ann", "item_id": "own", "headword": "Wort", "kind": "r", "list_id": "l1"}
    card = {"user_id": "ann", "item_id": "own", "rating": 3, "interval_days": 1}
    own = [
        sample_events.envelope(kind, data, at=sample_events.BEGIN)
        for kind, data in (("ItemListed", word), ("CardReviewed", card))
    ]
    stage.append(populated, [created, *own, *sample_events.choices("ann")])
    files = export_files(operator, exports)
    batch.run(populated)
    for name, field in API.items():
        (expected,) = operator.api.data(f"{{ {field} }}").values()
        expect_api(list_rows(files, name), expected)
    query = """{ userProgress { totalItemsLearned accuracyRate } streak { longest longestStart }
      retention(from: "2024-03-01", to: "2024-06-01") { start young { rate } mature { rate } } }"""
    expected = operator.api.data(query)
    summary, streak = json.loads(files["summary.json"]), json.loads(files["streak.json"])
    assert summary["total_items_learned"] == expected["userProgress"]["totalItemsLearned"]
    assert summary["accuracy_rate"] == expected["userProgress"]["accuracyRate"]
    assert [streak["longest"], streak["longest_start"]] == [*expected["streak"].values()]
    rows = list_rows(files, "retention.csv")
    assert [(row["date"], row["maturity"], row["retention_rate"]) for row in rows] == [
        (period["start"], maturity.upper(), write_text(period[maturity]["rate"]))
        for period in expected["retention"]
        for maturity in ("young", "mature")
        if period[maturity]["rate"] is not None
    ]
    assert [row["date"] for row in list_rows(files, "rest_days.csv")] == ["2024-04-05"]
    goals = [{"set_at": "2024-04-01 09:01:00+00", "answers_per_day": "2"}]
    assert list_rows(files, "goals.csv") == goals


def test_the_exported_groups_are_those_that_the_learner_joined_or_left(
    operator: Operator, populated: Connection, exports: Path
) -> None:
    memberships = (
        (4, "LearnerLeftGroup", "g1"),
        (3, "LearnerJoinedGroup", "g1"),
        (6, "LearnerLeftGroup", "g3"),
        (7, "LearnerJoinedGroup", "=g4"),
        (8, "LearnerJoinedGroup", "g3"),
    )
    events = [
        sample_events.envelope(
            kind, {"user_id": "ann", "group_id": group}, at=datetime(2024, 4, day, tzinfo=UTC)
        )
        for day, kind, group in memberships
    ]
    retracted = events[-1]["event_id"]
    data = {"user_id": "ann", "retracted_event_id": retracted}
    retraction = sample_events.envelope("EventRetracted", data, at=datetime(2024, 4, 9, tzinfo=UTC))
    stage.append(populated, [*events, retraction])
    files = export_files(operator, exports)
    recorded = {event["event_id"]: event for event in read_events(files)}
    assert {retracted, retraction["event_id"]} <= recorded.keys()
    assert len({tuple(event) for event in recorded.values()}) == 1, "no column about a retraction"
    rows = list_rows(files, "groups.csv")
    assert [tuple(row.values()) for row in rows] == [
        ("'=g4", "2024-04-07 00:00:00+00", ""),
        ("g1", "2024-04-03 00:00:00+00", "2024-04-04 00:00:00+00"),
        ("g3", "", "2024-04-06 00:00:00+00"),
    ]


def test_the_export_says_who_has_read_the_record(
    operator: Operator, populated: Connection, exports: Path
) -> None:
    for reader, role, learner in (("=eve", "support", "ann"), ("eve", "support", "ben")):
        populated.run(
            "INSERT INTO event_store.accesses "
            "VALUES (:learner, '2026-01-02T09:00:00Z', :reader, :role)",
            learner=learner, reader=reader, role=role,
        )  # fmt: skip
    rows = list_rows(export_files(operator, exports), "accesses.csv")
    assert [*rows[0].values()] == ["2026-01-02 09:00:00+00", "'=eve", "support"]
    assert [(row["read_by"], row["role"]) for row in rows[1:]] == [("ada", "admin")]


def test_every_read_model_that_the_api_serves_is_exported(
    operator: Operator, populated: Connection, exports: Path
) -> None:
    """The numbers of the other ones follow from the events, which are exported."""
    files = {
        model.name: {
            f"{name}.csv" for name, _ in export_user.list_tables(f"read_models/{model.name}")
        }
        for model in (*REALTIME, *BATCH)
    } | {model: {file} for model, file in JSON.items()}
    assert [
        model.name for model in (*REALTIME, *BATCH) if model.field and not files[model.name]
    ] == []
    others = {"README.html", "events.jsonl", "manifest.json", "accesses.csv"}
    assert {*export_files(operator, exports)} - others == set[str]().union(*files.values())


@given(log=logs())
def test_the_numbers_of_any_log_can_be_recomputed_from_the_exported_events(
    stage: Stage, log: Log
) -> None:
    stage.sweep()
    stage.deliver(log, IN_ORDER)
    numbers = read_all_numbers(stage.admin)
    events = read_catalogue(stage.admin)
    for learner in {user for user, _ in numbers["user_progress"]}:
        content = io.BytesIO()
        export_user.write(stage.admin, learner, content, lambda _: None)
        stage.admin.run("ROLLBACK")
        with zipfile.ZipFile(content) as archive:
            events += map(json.loads, archive.read("events.jsonl").splitlines())
    recorded = read_log(stage.admin)
    with undeclared():
        append(stage.admin, events)
    assert read_log(stage.admin) == recorded, "each event is a redelivery"
    stage.sweep()
    stage.deliver(Log(tuple(Published(event, (0,)) for event in events), log.now), IN_ORDER)
    assert read_all_numbers(stage.admin) == numbers


def read_log(connection: Connection) -> list[Any]:
    tables = ("event_store.events", "event_store.dead_letters")
    return [model_rows.read_table(connection, table) for table in tables]


def read_events(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in files["events.jsonl"].splitlines()]


def read_catalogue(connection: Connection) -> list[Any]:
    return [
        {
            "event_id": str(event["event_id"]),
            "event_type": event["event_type"],
            "occurred_at": event["occurred_at"].isoformat(),
            "data": event["event_data"],
        }
        for event in model_rows.read_table(connection, "event_store.events")
        if event["stream_id"].startswith("item-")
    ]


def read_all_numbers(connection: Connection) -> model_rows.Rows:
    """Return the rows of every read model, without the times of their last update."""
    rows = model_rows.read_rows(connection)
    for row in rows["user_progress"].values():
        del row["last_updated"]
    return rows


def test_the_readme_describes_every_file_and_field_in_both_languages(
    operator: Operator, populated: Connection, exports: Path
) -> None:
    files = export_files(operator, exports)
    _, english, japanese = files["README.html"].decode().split("<section ")
    assert japanese.startswith('lang="ja"')
    of_each = [re.findall("<(?:code|h2)>(.*?)</", text) for text in (english, japanese)]
    assert sorted(of_each[0]) == sorted(list_fields(files))
    assert of_each[1] == of_each[0]
    assert not re.search("<(td|p)></", japanese), "a text has no Japanese"


def list_fields(files: dict[str, bytes]) -> Iterator[str]:
    for name, content in files.items():
        if name == "README.html":
            continue
        yield name
        if name.endswith(".csv"):
            yield from next(csv.reader([content.decode("utf-8-sig").splitlines()[0]]))
        else:
            yield from json.loads(content.splitlines()[0] if name.endswith("l") else content)


def test_the_export_has_the_lists_and_words_of_the_learner_s_own(
    operator: Operator, populated: Connection, exports: Path
) -> None:
    deck, other = {"user_id": "ann", "list_id": "deck"}, {"user_id": "ann", "list_id": "other"}
    word = {"headword": "=1+1", "kind": "-k", "position": 2}
    events: list[tuple[str, dict[str, Any]]] = [
        ("ListPublished", {**deck, "name": "@deck", "scale": "JLPT", "rank": 5}),
        ("CorrectAnswerGiven", {"user_id": "ann", "session_id": "s", "item_id": "i9"}),
        ("ItemListed", {**deck, "item_id": "i9", **word}),
        ("ItemListed", {**deck, "item_id": "i0"}),
        ("ItemListed", {**deck, "item_id": "i2", "position": 1, "headword": ""}),
        ("ItemListed", {**deck, "item_id": "gone"}),
        ("ItemUnlisted", {**deck, "item_id": "gone"}),
        ("ListArchived", other),
        ("ListPublished", {"list_id": "deck", "name": "of the catalogue"}),
        ("CorrectAnswerGiven", {"user_id": "ann", "session_id": "s", "item_id": "i8"}),
        *(
            ("ItemListed", {**deck, "user_id": "ben", "item_id": item, "headword": "ben's"})
            for item in ("i0", "i2", "i8", "i9")
        ),
    ]
    stage.append(
        populated,
        [
            sample_events.envelope(kind, data, at=sample_events.BEGIN + timedelta(seconds=n))
            for n, (kind, data) in enumerate(events)
        ],
    )
    Projector(populated).catch_up_all()  # otherwise nothing of Ben's is folded
    files = export_files(operator, exports)
    lists = [[*row.values()] for row in list_rows(files, "lists.csv")]
    assert lists == [
        ["own:deck", "'@deck", "JLPT", "5", "false", "3"],
        ["own:other", "", "", "", "true", "0"],
    ]
    listed = [[*row.values()] for row in list_rows(files, "listed_items.csv")]
    assert listed == [["own:deck", "i2", "1"], ["own:deck", "i9", "2"], ["own:deck", "i0", ""]]
    assert [[*r.values()] for r in list_rows(files, "words.csv")] == [["i9", "'=1+1", "'-k"]]
    items = {row["item_id"]: row for row in list_rows(files, "items.csv")}
    assert [items[item]["headword"] for item in ("i0", "i9")] == ["i0", "'=1+1"]
    assert [items[item]["kind"] for item in ("i0", "i9")] == ["", "'-k"]
    assert items["i8"]["headword"] == ""
