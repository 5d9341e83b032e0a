"""A query has ten seconds from its arrival; waits and retries do not exceed this deadline."""

import asyncio
import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response

from progress.adapters import request_scope
from progress.adapters.postgres import async_client
from progress.adapters.postgres.database import Connection
from progress.errors import Unavailable
from progress.projections.projector import Projector
from progress.query.cache import versions
from progress.query.live.hub import LiveQueries
from progress.query.live.sources import Learners
from progress.query.read_models import as_of
from tests.conftest import Store
from tests.support import api, sample_events
from tests.support.api import Api, QueryClient
from tests.support.stage import append, connect

SHORT = 0.3  # seconds
_PAUSE_S = 0.005  # between two looks at the sessions
DAYS = 'dailyStats(from: "2024-03-01", to: "2024-03-31") { date }'
LATER = 'asOf: "2024-05-01T00:00:00Z"'


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Disable the timeouts of statements, so that only the deadline cancels them."""
    monkeypatch.setattr(request_scope, "TIMEOUT_S", 3_600)  # of commands in new sessions
    monkeypatch.setattr(async_client, "_STATEMENT_TIMEOUT", "0")
    monkeypatch.setitem(as_of._SETTINGS, "statement_timeout", "0")
    return monkeypatch


def test_a_request_within_a_request_is_of_the_same_caller_unless_it_names_one() -> None:
    with request_scope.begin(1, "ann"):
        for names, caller in ({}, "ann"), ({"caller": "bob"}, "bob"), ({"caller": ""}, ""):
            with request_scope.begin(1, **names):
                assert request_scope.current().caller == caller


@pytest.fixture
def queried(store: Store, connection: Connection) -> Iterator[Api]:
    sample_events.record_lessons(connection, "ann")
    with api.serve(store.url) as made:
        yield made


def busy(store: Store) -> list[str]:
    with closing(store.connect()) as watching:
        rows = watching.run("""SELECT query FROM pg_stat_activity
            WHERE datname = current_database() AND application_name IN ('query', 'past')
              AND state <> 'idle'""")
    return [query for (query,) in rows]


@pytest.mark.parametrize(
    "hanging",
    [
        (DAYS, "daily_stats"),
        ("itemStats { totalCount }", "item_stats"),
        ("dueForecast { items }", "items"),
        (f"streak({LATER}) {{ current }}", "event_store.events"),
    ],
    ids=["compiled", "by a resolver", "of the catalogue", "about the past"],
)
def test_a_hanging_statement_runs_once_is_cancelled_and_is_logged_with_its_field(
    patient: pytest.MonkeyPatch,
    queried: Api,
    store: Store,
    hanging: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    field, table = hanging
    failures: list[BaseException] = []
    once = async_client.Database._run_once

    async def counted(self: Any, fetch: Any, scope: Any) -> Any:
        try:
            return await once(self, fetch, scope)
        except BaseException as error:
            failures.append(error)
            raise

    patient.setattr(versions, "MAX_AGE_S", 60)  # their next read would wait for the lock, too
    queried.post(f"{{ again: {field} }}")  # opens the sessions and prepares the statements
    patient.setattr(request_scope, "TIMEOUT_S", SHORT)
    patient.setattr(async_client.Database, "_run_once", counted)
    with closing(connect(store.url)) as locking:
        locking.run("BEGIN")
        locking.run(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        assert queried.error(f"{{ {field} }}")[0] == "UNAVAILABLE"
        assert len(failures) == 1
        name = re.split(r"\W", field)[0]
        assert f"its time limit: {name}" in capsys.readouterr().out
        while busy(store):  # until PostgreSQL has cancelled the statement that waits for the lock
            queried._runner.run(asyncio.sleep(_PAUSE_S))


def test_a_caller_leaves_a_connection_to_others_and_has_at_most_120_statements_that_wait(
    queried: Api, store: Store
) -> None:
    def ask(user: str, query: str) -> asyncio.Task[Response]:
        body, headers = msgspec.json.encode({"query": query}), api.headers(user)
        return asyncio.create_task(queried.answer("POST", "/graphql", body, headers))

    async def crowd() -> list[Response]:
        alias = 'a%d: dailyStats(from: "2024-01-%02d", to: "2024-03-%02d") { date }'
        texts = (" ".join(alias % (n, n, to) for n in range(1, 31)) for to in range(1, 6))
        eve = [ask("eve", f"{{ {text} }}") for text in texts]
        while len(await asyncio.to_thread(busy, store)) < 9:
            assert not any(each.done() for each in eve[:4])
            await asyncio.sleep(_PAUSE_S)
        for _ in range(3):
            answer = api.read(await ask("ann", "{ itemStats { totalCount } }"))
            assert answer["data"] == {"itemStats": {"totalCount": 0}}
        assert len(await asyncio.to_thread(busy, store)) == 9
        locking.run("ROLLBACK")
        return await asyncio.gather(*eve)

    queried.post(f"{{ {DAYS} itemStats {{ totalCount }} }}")
    with closing(connect(store.url)) as locking:
        locking.run("BEGIN")
        locking.run("LOCK TABLE daily_stats IN ACCESS EXCLUSIVE MODE")
        answers = queried.run(crowd())
    assert [each.status_code for each in answers] == [200] * 4 + [429]
    assert answers[-1].headers["Retry-After"] == "1"
    (error,) = api.read(answers[-1])["errors"]
    assert error["extensions"]["code"] == "RATE_LIMITED"


def test_questions_about_readiness_share_an_answer_and_no_place_of_a_query(
    queried: Api, store: Store
) -> None:
    query = "{ itemStats { totalCount } }"

    async def ask() -> set[int]:
        asked = [asyncio.create_task(queried.answer("GET", "/ready")) for _ in range(300)]
        while not (found := await asyncio.to_thread(busy, store)):
            await asyncio.sleep(_PAUSE_S)
        assert len(found) == 1
        body = msgspec.json.encode({"query": query})
        answer = await queried.answer("POST", "/graphql", body, api.headers())
        assert api.read(answer)["data"] == {"itemStats": {"totalCount": 0}}
        locking.run("ROLLBACK")
        return {response.status_code for response in await asyncio.gather(*asked)}

    queried.post(query)  # reads the versions, which would wait for the lock, too
    with closing(connect(store.url)) as locking:
        locking.run("BEGIN")
        locking.run("LOCK TABLE checkpoints IN ACCESS EXCLUSIVE MODE")
        assert queried.run(ask()) == {200}
        locking.run("BEGIN")
        locking.run("LOCK TABLE checkpoints IN ACCESS EXCLUSIVE MODE")
        assert queried.request("GET", "/ready").status_code == 200  # the answer holds for a second


def test_a_query_tries_only_one_connection_if_the_server_does_not_respond(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_scope, "TIMEOUT_S", SHORT)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / ".s.PGSQL.5432"))
        listening.listen()
        with api.serve(f"postgresql://u@/d?host={tmp_path}") as queried:
            assert queried.error('{ item(itemId: "i") { itemId } }')[0] == "UNAVAILABLE"
        listening.accept()[0].close()
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_the_deadline_includes_the_time_spent_on_the_body(queried: Api, store: Store) -> None:
    """If the deadline passes before the body arrives, the database is not queried."""
    body = msgspec.json.encode({"query": f"{{ {DAYS} }}"})

    async def receive() -> dict[str, Any]:
        request_scope.current().deadline = time.monotonic()
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "POST", "path": "/graphql", "query_string": b""}
    named = [(k.encode(), v.encode()) for k, v in api.headers().items()]
    answering = queried._api.answer(Request({**scope, "headers": named}, receive))
    (fault,) = api.read(queried._runner.run(answering))["errors"]
    assert fault["extensions"]["code"] == "UNAVAILABLE"
    with closing(store.connect()) as watching:
        assert not watching.run("SELECT FROM pg_stat_activity WHERE application_name = 'query'")


def test_the_deadline_includes_the_wait_for_an_as_of_session(
    store: Store, connection: Connection, fetch: QueryClient
) -> None:
    async def crowd() -> None:
        of_ann = {"as_of": sample_events.BEGIN + timedelta(hours=12)}
        many = [
            asyncio.create_task(fetch.queries.get_streak("ann", **of_ann))
            for _ in range(2)  # of three sessions: one is for another caller
        ]
        while len(await asyncio.to_thread(busy, store)) < 2:
            await asyncio.sleep(_PAUSE_S)
        with request_scope.begin(SHORT), pytest.raises(Unavailable, match="no connection"):
            await fetch.queries.get_streak("ann", **of_ann)
        connection.run("ROLLBACK")
        await asyncio.gather(*many)

    connection.run("BEGIN")
    connection.run("LOCK TABLE event_store.events IN ACCESS EXCLUSIVE MODE")
    fetch(crowd())


def test_a_subscription_outlives_the_deadline_of_its_request(
    connection: Connection, fetch: QueryClient
) -> None:
    sample_events.record_lessons(connection, "ann")
    Projector(connection).catch_up_all()

    async def watch() -> None:
        live_queries = LiveQueries({"learner": Learners(fetch.queries.reader)})
        with request_scope.begin(10.0) as scope:
            subscription = live_queries.subscribe("learner", "ann", lambda state: state.progress)
            before = await anext(subscription)
            scope.deadline = time.monotonic()
            append(connection, sample_events.lesson("ann", 9))
            Projector(connection).catch_up_all()
            after = await anext(subscription)
            assert after.total_sessions_completed == before.total_sessions_completed + 1
            subscription.close()

    fetch(watch())
