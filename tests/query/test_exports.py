"""Exports of a learner's record: permissions, the daily limit and downloads."""

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.requests import Request

from progress.adapters.postgres import statements
from progress.adapters.postgres.database import Connection
from progress.local import readiness
from progress.operations import records
from progress.operations.records import Operation, OperationKind, OperationState
from progress.projections import batch
from progress.query.graphql.downloads import Downloads
from progress.settings import Settings
from tests.conftest import Store
from tests.support import sample_events, stage
from tests.support.export_fixtures import (
    export,
    exports,
    get,
)
from tests.support.operation_fixtures import (
    Operator,
    blocks,
    fake_publisher,
    operator,
    populated,
    url_of,
)

JOB = Path(__file__).parents[2] / "jobs/batch_aggregates/main.py"

__all__ = ["exports", "fake_publisher", "operator", "populated"]


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


def test_concurrent_requests_cannot_start_a_sixth_export(
    operator: Operator, populated: Connection, store: Store
) -> None:
    """The sixth request arrives before the fifth commits, and waits for this commit."""
    for number in range(4):
        operator.run(start_own(operator, f"{number}"))
    values = records.accept_values(
        OperationKind.EXPORT_USER,
        caller="ann",
        key="4",
        subject="ann",
        daily_limit=5,
        user_id="ann",
    )
    sql = statements.blocks("operations/operations") | statements.blocks("operations/executor")
    with closing(stage.connect(store.url)) as other, ThreadPoolExecutor(1) as pool:
        other.run("BEGIN")
        fifth = other.run(sql["accept"], **values)[0][0]
        sixth = pool.submit(start_own, operator, "5")
        readiness.wait(lambda: populated.run(blocks()["waiting for rows"])[0][0], "the sixth")
        ended: dict[str, str | None] = {"state": "SUCCEEDED", "outcome": "{}"}
        ended |= dict.fromkeys(("failing_state", "error", "cancelled_by"))
        other.run(sql["set state"], operation_id=fifth, **ended)
        other.run("COMMIT")
        assert sixth.result() == "RATE_LIMITED"
    assert start_own(operator, "4") == str(fifth)
    assert start_own(operator, "5") == "RATE_LIMITED"


def test_only_those_who_requested_an_export_may_download_it(
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


def test_the_batch_job_deletes_local_files_after_a_week(
    operator: Operator, populated: Connection, exports: Path, store: Store
) -> None:
    week = timedelta(days=7).total_seconds()
    exports.mkdir()
    for name, age in {
        "old.zip": week + 60,
        "old.csv.part": week + 60,
        "new.zip": week - 60,
    }.items():
        file = exports / name
        file.touch()
        os.utime(file, (time.time() - age, time.time() - age))
    environment = {**os.environ, "DATABASE_URL": url_of(store, "batch")}
    subprocess.run([sys.executable, JOB], env=environment, capture_output=True, check=True)
    assert [file.name for file in exports.iterdir()] == ["new.zip"]


def test_the_size_of_a_file_in_the_bucket_is_read_without_signing_its_url() -> None:
    """The administrator's view of the page reads up to ten sizes every ten seconds.

    Each signature would need a call to IAM.
    """
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    downloads = Downloads(Settings(exports_bucket="exports"))
    download = downloads.find(finished_export(now), now, "")
    assert download is not None
    assert (download.bytes, download.sha256) == (7, "ab")


def test_a_link_to_a_local_file_expires_after_ten_minutes(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    downloads = Downloads(Settings(progress_data_dir=str(tmp_path)))
    download = downloads.find(finished_export(now), now, "http://127.0.0.1:8080")
    assert download is not None
    path = asyncio.run(download.sign()).removeprefix("http://127.0.0.1:8080")
    assert download.expires_at == now + timedelta(minutes=10)
    assert downloads.open(path, now + timedelta(minutes=9, seconds=59)) is not None
    assert downloads.open(path, now + timedelta(minutes=10)) is None
    assert Downloads(Settings()).open(path, now) is None


def test_an_export_has_no_download_once_the_bucket_has_deleted_the_file() -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    downloads, operation = Downloads(Settings()), finished_export(now)
    last = now + timedelta(days=7) - timedelta(seconds=1)
    assert downloads.find(operation, last, "") is not None
    assert downloads.find(operation, now + timedelta(days=7), "") is None


def finished_export(at: datetime) -> Operation:
    """Return the record of an export that has succeeded."""
    return Operation(
        id="1", number=1, version=1, kind=OperationKind.EXPORT_USER,
        state=OperationState.SUCCEEDED, started_by="ann", progress=1.0, error=None,
        result='{"object":"1.zip","file":"progress-2026-01-01.zip","bytes":7,"sha256":"ab"}',
        started_at=at, finished_at=at, steps=[], subject="ann", requesters=["ann"],
    )  # fmt: skip
