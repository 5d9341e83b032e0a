"""Exports of records and of statistics: permissions, arguments, limits and downloads."""

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

import pytest
from starlette.requests import Request

from progress.adapters.postgres import statements
from progress.adapters.postgres.database import Connection
from progress.local import readiness
from progress.operations import export_files, records
from progress.operations.records import Operation, OperationKind, OperationState
from progress.projections import batch
from progress.query.graphql import mutations
from progress.query.graphql.downloads import Downloads
from progress.settings import Settings
from tests.conftest import Store
from tests.support import sample_events, stage
from tests.support.export_fixtures import export, get
from tests.support.operation_fixtures import Operator, blocks, url_of

JOB = Path(__file__).parents[2] / "jobs/batch_aggregates/main.py"


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
    sql = statements.blocks("operations/operations")
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


def ask(operator: Operator, arguments: str, user: str = "sue", role: str = "support") -> Any:
    """Request an export; return the operation's id, or the error's code and message."""
    query = f"mutation {{ exportStatistics({arguments}) {{ id }} }}"
    body = operator.ask(query, user, roles=role)
    if "errors" in body:
        (error,) = body["errors"]
        return error["extensions"]["code"], error["message"]
    return body["data"]["exportStatistics"]["id"]


def test_support_and_administrators_can_export_statistics_and_download_only_their_own_exports(
    operator: Operator, populated: Connection
) -> None:
    request = 'table: DAILY, idempotencyKey: "k"'
    assert ask(operator, request, "ann", "learner")[0] == "FORBIDDEN"
    own = ask(operator, request)
    assert ask(operator, request, "ada", "admin") != own
    assert operator.run(own)["state"] == "SUCCEEDED"
    download = get(operator, own, "sue", "support")["download"]
    assert "/daily-" in download["url"]
    assert download["url"].endswith(".csv")
    assert get(operator, own, "ada", "admin")["download"] is None
    assert get(operator, own, "sue", "learner")["download"] is None
    assert get(operator, own, "ann", "learner") is None


def test_an_exported_file_is_served_with_its_media_type(
    operator: Operator, populated: Connection
) -> None:
    types = {"CSV": "text/csv; charset=utf-8", "PARQUET": "application/vnd.apache.parquet"}
    for number, (name, type_) in enumerate(types.items()):
        request = f'table: LEVEL, format: {name}, idempotencyKey: "{number}"'
        operation_id = ask(operator, request)
        operator.run(operation_id)
        url = get(operator, operation_id, "sue", "support")["download"]["url"]
        response = operator.api.request("GET", url)
        assert (response.status_code, response.headers["content-type"]) == (200, type_)


def test_a_caller_can_have_only_one_unfinished_export_of_statistics(
    operator: Operator, populated: Connection
) -> None:
    first = ask(operator, 'table: DAILY, learners: ["b", "a"], idempotencyKey: "1"')
    same = 'table: DAILY, format: CSV, from: null, learners: ["a", "b", "a"], idempotencyKey: "2"'
    assert ask(operator, same) == first
    code, message = ask(operator, 'table: WEEKLY, idempotencyKey: "3"')
    assert code == "BAD_USER_INPUT"
    assert first in message
    code, message = ask(operator, 'table: WEEKLY, idempotencyKey: "1"')
    assert code == "BAD_USER_INPUT"
    assert message.startswith("idempotencyKey: expected a new key")
    assert ask(operator, 'table: WEEKLY, idempotencyKey: "4"', "sam") != first
    operator.run(first)
    assert ask(operator, 'table: WEEKLY, idempotencyKey: "5"') != first


def test_support_can_cancel_its_own_export(operator: Operator, populated: Connection) -> None:
    own = ask(operator, 'table: DAILY, idempotencyKey: "k"')
    cancel = f'mutation {{ cancelOperation(id: "{own}") {{ id }} }}'
    assert operator.error(cancel, "sam", roles="support")[0] == "NOT_FOUND"
    assert "errors" not in operator.ask(cancel, "sue", roles="support")
    assert operator.run(own)["error"] == "cancelled"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ('table: DAILY, from: "2024-01-02", to: "2024-01-01"', "from: expected a day not later"),
        ('table: ITEM, from: "2024-01-02"', "from, to: expected only with DAILY or WEEKLY"),
        ("table: DAILY, learners: []", "learners: expected 1 to 1,000 ids, or null for all"),
        ('table: DAILY, learners: [""]', "learners: expected 1 to 200 characters"),
    ],
)
def test_invalid_arguments_of_an_export_are_rejected(
    operator: Operator, populated: Connection, arguments: str, message: str
) -> None:
    code, text = ask(operator, f'{arguments}, idempotencyKey: "k"')
    assert code == "BAD_USER_INPUT"
    assert text.startswith(message)
    assert operator.called() == []


def test_an_export_that_is_too_large_for_one_step_is_rejected(
    operator: Operator, populated: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    populated.run("ANALYZE")
    monkeypatch.setattr(mutations, "MAX_BYTES", 1_000)
    code, text = ask(operator, 'table: ITEM, idempotencyKey: "k"')
    assert code == "BAD_USER_INPUT"
    assert text.startswith(
        "learners: expected an export of at most 3,000 s and 1 GiB - found about 0 s"
    )
    assert text.endswith("choose fewer days or learners, and make several requests")
    code, text = operator.error(
        'mutation { exportUser(userId: "ann", idempotencyKey: "k") { id } }'
    )
    assert code == "BAD_USER_INPUT"
    assert text.startswith(
        "userId: expected an export of at most 600 s and 1 GiB - found about 0 s and"
    )
    assert operator.called() == []
    assert isinstance(ask(operator, 'table: LEVEL, learners: ["no"], idempotencyKey: "k"'), str)
    monkeypatch.setattr(mutations, "MAX_BYTES", 1 << 30)
    monkeypatch.setattr(export_files, "_USER_BYTES_PER_S", 1)
    assert operator.error('mutation { exportUser(userId: "ann", idempotencyKey: "k") { id } }')
    monkeypatch.undo()
    export(operator)
