"""The export of a learner's record: its contents, its rights, and its faults."""

import asyncio
import csv
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from starlette.requests import Request

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Folder
from progress.errors import ProgressError, StorageUnavailable, Unavailable
from progress.operations import executor, export_user
from progress.operations.records import Operation, OperationKind, OperationState
from progress.projections import batch, schema
from progress.query.graphql.downloads import Downloads
from progress.settings import Settings
from tests.conftest import Store
from tests.support import doomed_export, model_rows, sample_events, stage
from tests.support.operation_fixtures import (
    FIELDS,
    Operator,
    blocks,
    fake_publisher,
    operator,
    populated,
)

__all__ = ["fake_publisher", "operator", "populated"]

DOWNLOAD = "download { url expiresAt bytes sha256 }"
ZONE = {"user_id": "ann", "timezone": "Asia/Tokyo", "day_start_hour": 3}


@pytest.fixture
def exports(operator: Operator) -> Path:
    """The folder of the exported files."""
    return Path(settings.current().progress_data_dir) / "exports"


def export(operator: Operator, learner: str = "ann", **options: Any) -> Any:
    """Start an export and return the operation."""
    return operator.start("exportUser", f'userId: "{learner}", ', **options)


def read(path: Path) -> dict[str, bytes]:
    """Return the files of a valid archive by name."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def export_files(operator: Operator, exports: Path) -> dict[str, bytes]:
    """Export Ann's record and return the files of the archive."""
    done = operator.run(export(operator)["id"])
    assert done["state"] == "SUCCEEDED", done["error"]
    return read(exports / json.loads(done["result"])["object"])


def list_rows(files: dict[str, bytes], name: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    return list(csv.DictReader(io.StringIO(files[name].decode())))


def test_the_manifest_describes_every_other_file(
    operator: Operator, populated: Connection, exports: Path
) -> None:
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
            assert file["rows"] == len(content.splitlines()) - heading > 0
    assert manifest["position"] > 0
    assert not [part for part in exports.iterdir() if part.suffix != ".zip"]


_CAPITAL = re.compile("[A-Z]")
API = {
    "daily.csv": 'dailyStats(from: "2024-03-01", to: "2024-06-01") { date answers accuracyRate }',
    "weekly.csv": 'weeklyStats(from: "2024-03-01", to: "2024-06-01") { start end itemsReviewed }',
    "hourly.csv": "hourlyStats { hour answers averageResponseMs }",
    "domains.csv": "domainStats { domain itemsStudied catalogueItems progressRate }",
    "levels.csv": "levelStats { level learning longTermMastered catalogueItems }",
}


@pytest.mark.parametrize("name", API)
def test_a_table_has_the_numbers_of_the_api(
    operator: Operator, populated: Connection, exports: Path, name: str
) -> None:
    stage.append(populated, [sample_events.envelope("UserCreated", ZONE, at=sample_events.BEGIN)])
    files = export_files(operator, exports)
    batch.run(populated)
    (expected,) = operator.api.data(f"{{ {API[name]} }}").values()
    columns = {field: _CAPITAL.sub(r"_\g<0>", field).lower() for field in expected[0]}
    rows = [
        {field: row[column] for field, column in columns.items()} for row in list_rows(files, name)
    ]
    assert rows == [{k: "" if v is None else _text(v) for k, v in row.items()} for row in expected]


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) and value == int(value) else str(value)


def test_the_summary_and_the_streak_have_the_numbers_of_the_api(
    operator: Operator, populated: Connection, exports: Path
) -> None:
    files = export_files(operator, exports)
    query = "{ userProgress { totalItemsLearned accuracyRate } streak { longest longestStart } }"
    expected = operator.api.data(query)
    summary, streak = json.loads(files["summary.json"]), json.loads(files["streak.json"])
    assert summary["total_items_learned"] == expected["userProgress"]["totalItemsLearned"]
    assert summary["accuracy_rate"] == expected["userProgress"]["accuracyRate"]
    assert [streak["longest"], streak["longest_start"]] == [*expected["streak"].values()]


def test_the_events_give_the_same_numbers_in_an_empty_store(
    operator: Operator, populated: Connection, exports: Path, stores: Callable[[], Store]
) -> None:
    address = {"user_id": "ann", "email": "ann@example.org", "timezone": "Asia/Tokyo"}
    odd = {"user_id": "ann", "note": 'a "quote", \\ a line\nbreak, \x01 and \x02 and 日本語'}
    at = sample_events.BEGIN
    stage.append(populated, [
        sample_events.envelope("UserCreated", address, at=at),
        sample_events.envelope("Unheard", odd, at=at),
    ])  # fmt: skip
    files = export_files(operator, exports)
    batch.run(populated)
    events = [json.loads(line) for line in files["events.jsonl"].splitlines()]
    assert odd in [event["data"] for event in events]
    with closing(stage.connect(stores().url)) as other:
        stage.append(other, read_catalogue(populated))
        stage.append(other, events)
        batch.run(other)
        assert read_numbers(other) == read_numbers(populated)
    before = model_rows.read_table(populated, "event_store.events")
    stage.append(populated, events)
    assert model_rows.read_table(populated, "event_store.events") == before
    assert model_rows.read_table(populated, "event_store.dead_letters") == []


def read_catalogue(connection: Connection) -> list[Any]:
    """Return the envelopes of the catalogue's events."""
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


def read_numbers(connection: Connection) -> model_rows.Rows:
    """Return Ann's rows of every read model, without the time at which they were recorded."""
    rows = model_rows.read_rows(connection)
    for row in rows["user_progress"].values():
        del row["last_updated"]
    return {
        model: {key: row for key, row in rows[model].items() if key[0] == "ann"} for model in rows
    }


def test_events_that_are_not_folded_yet_are_folded_first(
    operator: Operator, connection: Connection, exports: Path
) -> None:
    sample_events.record_lessons(connection, "ann")
    files = export_files(operator, exports)
    assert sum(int(row["answers"]) for row in list_rows(files, "daily.csv")) == 12
    assert len(files["events.jsonl"].splitlines()) == 32


class _Page(HTMLParser):
    """The texts of a page by language; every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.codes: dict[str, list[str]] = {}
        self._language = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "!doctype"):
            self.open.append(tag)
        if tag == "section":
            self._language = dict(attrs)["lang"] or ""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("code", "h2"):
            self.codes.setdefault(self._language, []).append(data)


def test_the_readme_describes_every_file_and_field_in_both_languages(
    operator: Operator, populated: Connection, exports: Path
) -> None:
    files = export_files(operator, exports)
    page = _Page()
    page.feed(files["README.html"].decode())
    page.close()
    assert page.open == []
    expected = [*list_fields(files)]
    assert sorted(page.codes["en"]) == sorted(expected)
    assert page.codes["ja"] == page.codes["en"]


def list_fields(files: dict[str, bytes]) -> Iterator[str]:
    """Yield the names of the files, and of the fields in each."""
    for name, content in files.items():
        if name == "README.html":
            continue
        yield name
        if name.endswith(".csv"):
            yield from next(csv.reader([content.decode().splitlines()[0]]))
        else:
            yield from json.loads(content.splitlines()[0] if name.endswith("l") else content)


@pytest.mark.parametrize("point", doomed_export.POINTS)
def test_the_next_worker_completes_the_export_of_a_worker_that_died(
    operator: Operator, populated: Connection, exports: Path, point: str
) -> None:
    operation_id = export(operator)["id"]
    kill_a_worker(operation_id, point)
    assert get(operator, operation_id)["download"] is None
    for complete in exports.glob("*.zip"):
        read(complete)
    done = operator.run(operation_id)
    assert done["state"] == "SUCCEEDED"
    result = json.loads(done["result"])
    (archive,) = exports.iterdir()
    assert archive.name == result["object"]
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == result["sha256"]
    assert archive.stat().st_size == result["bytes"]
    assert read(archive).keys() >= {"events.jsonl", "manifest.json"}


def kill_a_worker(operation_id: str, point: str) -> None:
    """Run a worker in a process of its own, which kills itself at the point."""
    words = [sys.executable, "-m", "tests.support.doomed_export", operation_id, point]
    done = subprocess.run(words, env=dict(os.environ), timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL


def get(operator: Operator, operation_id: str, user: str = "ann", roles: str = "learner") -> Any:
    """Return the operation with its download, as the caller sees it."""
    query = f'{{ operation(id: "{operation_id}") {{ id state {DOWNLOAD} }} }}'
    body = operator.ask(query, user, roles=roles)
    assert "errors" not in body, body
    return body["data"]["operation"]


@pytest.mark.parametrize("point", ["first bytes", "renamed", "deleted"])
def test_a_cancelled_export_leaves_no_object(
    operator: Operator, populated: Connection, exports: Path, point: str
) -> None:
    """The learner cancels what an administrator started, while no worker runs it."""
    operation_id = export(operator)["id"]
    if point != "deleted":
        kill_a_worker(operation_id, point)
        assert [*exports.iterdir()]
    cancel = f'mutation {{ cancelOperation(id: "{operation_id}") {FIELDS} }}'
    assert "errors" not in operator.ask(cancel, "ann", roles="learner")
    done = operator.run(operation_id)
    assert (done["state"], done["error"]) == ("FAILED", "cancelled")
    assert not exports.exists() or not [*exports.iterdir()]
    assert get(operator, operation_id)["download"] is None


def test_an_export_is_cancelled_while_it_is_written(
    operator: Operator, populated: Connection, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation_id = export(operator)["id"]
    write = export_user._HashedOutput.write

    def write_and_cancel(output: Any, data: Any) -> int:
        operator.ask(f'mutation {{ cancelOperation(id: "{operation_id}") {{ id }} }}')
        return write(output, data)

    monkeypatch.setattr(export_user._HashedOutput, "write", write_and_cancel)
    monkeypatch.setattr(export_user, "_REPORT_INTERVAL", 1)
    assert operator.run(operation_id)["error"] == "cancelled"
    assert not [*exports.iterdir()]


def test_an_outage_of_the_storage_uses_up_no_attempt(
    operator: Operator, populated: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation_id = export(operator)["id"]

    def fail(*_: object) -> None:
        raise StorageUnavailable("no response")

    for _ in range(7):
        with monkeypatch.context() as broken:
            broken.setattr(export_user, "write", fail)
            with pytest.raises(StorageUnavailable):
                executor.run(UUID(operation_id))
    done = operator.run(operation_id)
    assert [step["attempts"] for step in done["steps"]] == [1, 1]


def test_a_rebuild_during_the_export_lets_the_attempt_fail(
    operator: Operator, populated: Connection, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation_id = export(operator)["id"]
    write_files = export_user._write_files

    def write_and_swap(*arguments: Any) -> None:
        write_files(*arguments)
        populated.run(blocks()["retire read models"])
        schema.create(populated)

    with monkeypatch.context() as swapped:
        swapped.setattr(export_user, "_write_files", write_and_swap)
        with pytest.raises(Unavailable, match="a rebuild replaced the read models"):
            executor.run(UUID(operation_id))
    assert not [*exports.iterdir()]
    assert operator.run(operation_id)["state"] == "SUCCEEDED"


def test_a_learner_deleted_after_the_request_is_not_exported(
    operator: Operator, populated: Connection, exports: Path
) -> None:
    operation_id = export(operator)["id"]
    stage.append(populated, [sample_events.user_deleted("ann")])
    done = operator.run(operation_id)
    assert (done["state"], done["error"]) == ("FAILED", "the learner is deleted")
    assert not [*exports.iterdir()]


def test_only_the_learner_and_administrators_may_export_a_record(
    operator: Operator, populated: Connection
) -> None:
    def ask(user: str, role: str, arguments: str) -> str:
        query = f'mutation {{ exportUser({arguments} idempotencyKey: "{user}") {{ id }} }}'
        body = operator.ask(query, user, roles=role)
        return body["errors"][0]["extensions"]["code"] if "errors" in body else "started"

    assert ask("ben", "learner", 'userId: "ann",') == "FORBIDDEN"
    assert ask("ben", "support", 'userId: "ann",') == "FORBIDDEN"
    assert ask("ben", "support", "") == "FORBIDDEN"
    assert ask("nobody", "learner", "") == "NOT_FOUND"
    assert ask("root", "admin", 'userId: "nobody",') == "NOT_FOUND"
    stage.append(populated, [sample_events.user_deleted("cyd")])
    batch.run(populated)
    assert ask("root", "admin", 'userId: "cyd",') == "NOT_FOUND"
    assert operator.called() == []
    assert ask("ann", "learner", "") == "started"
    assert ask("ben", "learner", 'userId: "ben",') == "started"


def start_own(operator: Operator, key: str) -> Any:
    """Start an export as Ann; return the operation's id, or the error's code."""
    query = f'mutation {{ exportUser(idempotencyKey: "{key}") {{ id }} }}'
    body = operator.ask(query, "ann", roles="learner")
    if "errors" in body:
        return body["errors"][0]["extensions"]["code"]
    return body["data"]["exportUser"]["id"]


def test_a_learner_may_start_five_exports_in_a_day(
    operator: Operator, populated: Connection
) -> None:
    cancelled = start_own(operator, "cancelled")
    cancel = f'mutation {{ cancelOperation(id: "{cancelled}") {{ id }} }}'
    operator.ask(cancel, "ann", roles="learner")
    assert operator.run(cancelled)["state"] == "FAILED"
    shared = export(operator)["id"]
    assert start_own(operator, "shared") == shared
    operator.run(shared)
    ids = []
    for number in range(5):
        ids.append(start_own(operator, f"{number}"))
        assert start_own(operator, f"again {number}") == ids[-1]
        operator.run(ids[-1])
    assert len({*ids}) == 5
    assert start_own(operator, "sixth") == "RATE_LIMITED"
    assert start_own(operator, "3") == ids[3]
    assert operator.run(export(operator)["id"])["state"] == "SUCCEEDED"


def test_those_who_requested_an_export_may_download_it(
    operator: Operator, populated: Connection, exports: Path
) -> None:
    operation_id = export(operator)["id"]
    assert get(operator, operation_id)["download"] is None
    operator.run(operation_id)
    assert get(operator, operation_id, "bob", "admin")["download"] is None
    assert get(operator, operation_id, "ben") is None
    for user, role in (("ann", "learner"), ("ada", "admin")):
        download = get(operator, operation_id, user, role)["download"]
        status, headers, body = fetch(operator, download["url"])
        assert status == 200
        assert 'filename="progress-' in headers["content-disposition"]
        assert headers["cache-control"] == "private, no-store"
        assert (len(body), hashlib.sha256(body).hexdigest()) == (
            download["bytes"],
            download["sha256"],
        )
    path = download["url"]
    for wrong in (path.replace("/exports/", "/exports/x"), path[:70], "/exports/", "/exports/a.b"):
        assert fetch(operator, wrong)[0] == 404
    (archive,) = exports.iterdir()
    archive.unlink()
    assert fetch(operator, path)[0] == 404


def fetch(operator: Operator, path: str) -> tuple[int, dict[str, str], bytes]:
    """Return the status, the headers and the whole body of the response to a GET."""
    response = operator.api.request("GET", path)
    parts: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        parts.append(message)

    async def receive() -> Any:
        await asyncio.Event().wait()  # the client stays connected

    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    asyncio.run(response(Request(scope).scope, receive, send))
    headers = {name.decode(): value.decode() for name, value in parts[0]["headers"]}
    return parts[0]["status"], headers, b"".join(part.get("body", b"") for part in parts)


def test_a_link_on_this_machine_expires_after_ten_minutes(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    downloads = Downloads(Settings(progress_data_dir=str(tmp_path)))
    download = asyncio.run(downloads.sign(finished_export(now), now, "http://127.0.0.1:8080"))
    assert download is not None
    path = download.url.removeprefix("http://127.0.0.1:8080")
    assert download.expires_at == now + timedelta(minutes=10)
    assert downloads.open(path, now + timedelta(minutes=9, seconds=59)) is not None
    assert downloads.open(path, now + timedelta(minutes=10)) is None
    assert Downloads(Settings()).open(path, now) is None


def test_an_export_has_no_download_once_the_bucket_deletes_it() -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    downloads, operation = Downloads(Settings()), finished_export(now)
    last = now + timedelta(days=7) - timedelta(seconds=1)
    assert asyncio.run(downloads.sign(operation, last, "")) is not None
    assert asyncio.run(downloads.sign(operation, now + timedelta(days=7), "")) is None


def finished_export(at: datetime) -> Operation:
    """Return the record of an export that has succeeded."""
    return Operation(
        id="1", number=1, version=1, kind=OperationKind.EXPORT_USER,
        state=OperationState.SUCCEEDED, started_by="ann", progress=1.0, error=None,
        result='{"object":"1.zip","file":"progress-2026-01-01.zip","bytes":7,"sha256":"ab"}',
        started_at=at, finished_at=at, steps=[], subject="ann", requesters=["ann"],
    )  # fmt: skip


def test_a_file_left_by_a_dead_process_is_removed(tmp_path: Path) -> None:
    folder = Folder(tmp_path)

    def write() -> None:
        with folder.writing("x.zip") as output:
            output.write(b"half")
            raise ProgressError("failed")

    with pytest.raises(ProgressError):
        write()
    folder.remove_file("x.zip")
    folder.remove_file("x.zip")
    assert not [*tmp_path.iterdir()]
