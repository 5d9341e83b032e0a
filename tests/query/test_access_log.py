"""The log lines of requests and wake-ups, and the gauges that the batch job logs."""

import base64
import functools
import json
import queue
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.test import Client

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.projections import gauges, projector
from tests.conftest import Store
from tests.support import api, model_rows, pushes, sample_events
from tests.support.api import Api
from tests.support.stage import append

Line = dict[str, Any]
ReadLines = Callable[[], list[Line]]

UNREACHABLE = "postgresql://nobody@127.0.0.1:1/none"
QUERY = "{ streak { current } }"


@pytest.fixture
def read_lines(capsys: pytest.CaptureFixture[str]) -> ReadLines:
    def read() -> list[Line]:
        lines = map(json.loads, capsys.readouterr().out.splitlines())
        return [line for line in lines if "outcome" in line]

    return read


@pytest.fixture
def cached_api(store: Store, patient_redis: str) -> Iterator[Api]:
    with api.serve(store.url, redis_url=patient_redis) as made:
        yield made


@pytest.fixture
def project(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("DATABASE_URL", store.url)
    monkeypatch.setattr(projector, "_idle", queue.LifoQueue())
    settings.current.cache_clear()
    with pushes.load_function("project") as called:
        yield called
    settings.current.cache_clear()
    while not projector._idle.empty():
        projector._idle.get().close()


def wake(project: Client, shard: int, **attributes: str) -> int:
    data = base64.b64encode(json.dumps({"command": "wake", "shard": shard}).encode()).decode()
    body = json.dumps({"message": {"data": data, "attributes": attributes}})
    return project.post("/", data=body).status_code


LATE = '{ dailyStats(from: "2024-02-01", to: "2024-01-01") { date } }'
MUTATION = 'mutation { runBatch(idempotencyKey: "k") { id } }'


@pytest.mark.parametrize("query", [QUERY, "{ nothing }", "{", LATE, MUTATION, None])
def test_a_request_that_the_api_rejects_is_logged_as_ok(
    cached_api: Api, read_lines: ReadLines, query: str | None
) -> None:
    body = json.dumps({"query": query} if query else {}).encode()
    cached_api.request("POST", "/graphql", body, api.headers())
    (line,) = read_lines()
    operation = "mutation" if query == MUTATION else "query"
    assert (line["operation"], line["outcome"]) == (operation, "ok")
    assert line["latency_ms"] > 0
    headers = {"content-type": "application/json"}  # without a token
    assert cached_api.request("POST", "/graphql", body, headers).status_code == 401
    assert [line["outcome"] for line in read_lines()] == ["ok"]


def test_the_cache_result_is_logged_if_the_cache_was_used(
    cached_api: Api, read_lines: ReadLines, connection: Connection
) -> None:
    # Ann needs events, because the cache stores nothing about unknown learners.
    append(connection, sample_events.lesson("ann", 0))
    projector.Projector(connection).catch_up_all()
    for query in (QUERY, QUERY, "{ __typename }", "{ streak { current", LATE, QUERY):
        cached_api.post(query)
    assert [line.get("cache_result") for line in read_lines()] == [
        "miss", "hit", None, None, None, "hit",
    ]  # fmt: skip


def test_an_unreachable_redis_is_logged_as_a_cache_error_and_not_as_a_failed_request(
    store: Store, read_lines: ReadLines
) -> None:
    with api.serve(store.url, redis_url="redis://127.0.0.1:1") as query_api:
        query_api.post(QUERY)
    (line,) = read_lines()
    assert (line["cache_result"], line["outcome"]) == ("error", "ok")


def test_an_unreachable_database_is_logged_as_an_error(read_lines: ReadLines) -> None:
    with api.serve(UNREACHABLE) as query_api:
        assert query_api.error(QUERY)[0] == "UNAVAILABLE"
    assert [line["outcome"] for line in read_lines()] == ["error"]


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/nothing"])
def test_requests_that_are_not_graphql_requests_are_not_logged(
    cached_api: Api, read_lines: ReadLines, path: str
) -> None:
    cached_api.request("GET", path)
    cached_api.request("OPTIONS", "/graphql", b"", {"origin": "https://a.example"})
    assert read_lines() == []


def test_the_log_line_of_a_wake_up_has_the_lag_before_the_fold(
    project: Client, connection: Connection, read_lines: ReadLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(connection, [event for n in range(2) for event in sample_events.lesson("u", n)])
    (shard,) = projector.Projector(connection).find_shards_behind()
    waiting = model_rows.read_value(connection, "head")
    small = functools.partialmethod(projector.Projector.catch_up, limit=3)
    monkeypatch.setattr(projector.Projector, "catch_up", small)  # several windows
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    assert [wake(project, shard, **trace) for _ in range(2)] == [204, 204]
    first, second = read_lines()
    assert (first["projection_lag"], second["projection_lag"]) == (waiting, 0)
    assert (first["operation"], first["shard"], first["outcome"]) == ("wake", shard, "ok")
    assert first["logging.googleapis.com/trace"] == "0af7651916cd43dd8448eb211c80319c"


def test_the_log_line_of_a_wake_up_has_the_delay_of_the_oldest_event_that_it_folds(
    project: Client, connection: Connection, read_lines: ReadLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delay is from publication to record, which the wake-up states, and from there to here."""
    small = functools.partialmethod(projector.Projector.catch_up, limit=3)
    monkeypatch.setattr(projector.Projector, "catch_up", small)  # several windows
    began = time.monotonic()
    append(connection, sample_events.lesson("u", 0))
    time.sleep(0.3)
    append(connection, sample_events.lesson("u", 1))
    (shard,) = projector.Projector(connection).find_shards_behind()
    for text in ("70000", "70000"):
        assert wake(project, shard, event_delay_ms=text) == 204
    elapsed_ms = 1_000 * (time.monotonic() - began)
    first, second = read_lines()
    assert 300 <= first["projection_delay_ms"] - 70_000 <= elapsed_ms
    assert "projection_delay_ms" not in second  # it folded nothing
    for number, text in enumerate(("-5", "soon", "9" * 30, "٣", ""), start=2):
        append(connection, sample_events.lesson("u", number))
        assert wake(project, shard, event_delay_ms=text) == 204
        (line,) = read_lines()
        assert 0 <= line["projection_delay_ms"] < 70_000


def test_the_lag_is_logged_even_if_another_worker_holds_the_shard(
    project: Client, store: Store, connection: Connection, read_lines: ReadLines
) -> None:
    append(connection, sample_events.lesson("u", 0))
    (shard,) = projector.Projector(connection).find_shards_behind()
    connection.run("BEGIN")
    projector.Projector(connection).fold_window(shard, 1)
    assert wake(project, shard) == 204
    connection.run("ROLLBACK")
    assert [line["projection_lag"] for line in read_lines()] == [
        model_rows.read_value(connection, "head")
    ]


def test_a_push_without_a_command_is_logged_and_not_sent_again(
    project: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.post("/", data=b"{}").status_code == 204
    assert "expected a command that wakes a shard" in capsys.readouterr().out


def test_a_wake_up_that_pub_sub_repeats_is_logged_as_a_warning(
    project: Client, read_lines: ReadLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", UNREACHABLE)
    settings.current.cache_clear()
    assert wake(project, 3) == 503
    (line,) = read_lines()
    assert (line["operation"], line["outcome"], line["severity"]) == ("wake", "error", "WARNING")


def test_the_log_line_of_an_unexpected_error_has_a_stack_trace_without_personal_data(
    project: Client, read_lines: ReadLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise LookupError("password=hush-hush of ann@example.com")

    monkeypatch.setattr(projector, "wake", fails)
    assert wake(project, 3) == 500
    (line,) = read_lines()
    assert (line["operation"], line["outcome"]) == ("wake", "error")
    assert "LookupError" in line["stack_trace"]
    assert not re.search("hush|ann@", json.dumps(line))


def test_gauges_equal_the_contents_of_the_store(store: Store, connection: Connection) -> None:
    sample_events.record_lessons(connection, "ann", "ben")
    append(connection, [{"no": "event"}])  # becomes a dead letter
    before = gauges.measure(connection)
    assert before.projection_lag == model_rows.read_value(connection, "head")
    assert before.projection_lag_ms > 0
    assert before.dead_letters == 1
    assert 0 < before.database_ms < 5_000
    with_more = [store.connect() for _ in range(3)]
    assert 0 < before.database_connections < 1
    assert gauges.measure(connection).database_connections > before.database_connections
    for opened in with_more:
        opened.close()
    assert before.database_bytes > 1_000_000
    projector.Projector(connection).catch_up_all()
    after = gauges.measure(connection)
    assert (after.projection_lag, after.projection_lag_ms) == (0, 0)
