"""`progress serve`: the whole system on one machine, with nothing of Google and no Redis."""

import contextlib
import http.client
import itertools
import json
import random
import signal
import socket
import struct
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest

from progress.adapters.postgres import database
from progress.event_store import learner_post_check
from progress.recovery import dumps
from progress.serve import data_folder, readiness
from progress.serve.ports import HOST
from tests.query import test_auth
from tests.support import http_client, sample_events, served, token_issuer
from tests.support.pushes import encode_push
from tests.support.served import Served
from tests.system import test_faults

COMPLETED = "{ userProgress { totalSessionsCompleted } }"


@pytest.fixture(scope="module")
def system() -> Iterator[Served]:
    with served.run() as made:
        made.post_events([sample_events.item_published(f"i{n}") for n in range(4)])
        yield made


def test_one_address_takes_an_answer_and_shows_it(system: Served) -> None:
    events = sample_events.lesson("reader", 1, items=4)
    poster = http_client.headers(system.token("app", "publisher"))
    lines = {"content-type": "application/x-ndjson"}
    text = "\n".join(map(json.dumps, events)).encode()
    status, body = system.post_to("/events", text, **poster | lines)
    assert (status, json.loads(body)["appended"]) == (200, len(events))
    readiness.wait(lambda: system.ask("reader", COMPLETED)["userProgress"] is not None, "a fold")
    assert system.ask("reader", COMPLETED)["userProgress"] == {"totalSessionsCompleted": 1}
    for path in ("/", "/health", "/ready"):
        assert http_client.fetch(system.port, "GET", path)[0] == 200


def test_what_ingest_rejects_is_rejected_at_the_one_address(system: Served) -> None:
    poster = {"authorization": f"Bearer {system.token('app', 'publisher')}"}
    learner = {"authorization": f"Bearer {system.token('ann', 'learner')}"}
    kind = {"content-type": "application/json"}
    assert system.post_to("/events", b"[]", **kind)[0] == 401
    assert system.post_to("/events", b"[]", **kind, **learner)[0] == 202
    assert system.post_to("/events", b"[]", **poster, **{"content-type": "text/csv"})[0] == 415
    assert http_client.fetch(system.port, "GET", "/events", None, poster)[0] == 405
    large = system.post_to("/events", b"[" + b" " * 11_000_000 + b"]", **kind, **poster)
    assert large[0] == 413
    assert system.post_to("/events", b"[]", **kind, **poster)[0] == 200
    for headers in ({}, learner, poster):
        with closing(http.client.HTTPConnection(HOST, system.port, timeout=30)) as connection:
            connection.request("POST", "/events", iter([b"[1,"]), kind | headers)
            response = connection.getresponse()
            assert response.status == (400 if headers else 401)
            http_client.assert_ours(response.read(), response.headers)
    # A push of Pub/Sub, which ingest takes at `/`, is accepted neither from outside nor from here;
    # a command of another process by project alone, and only with the system's key.
    ingest, project = map(system.port_of, ("ingest", "project"))
    known = {"authorization": f"Bearer {data_folder.running(system.folder).key}"}
    assert system.post_to("/", b"{}", **kind, **known)[0] in (404, 405)
    wake = encode_push({"command": "wake", "shard": 0})
    for headers in ({}, learner, poster, {"authorization": "Bearer \xe9"}):
        assert http_client.fetch(ingest, "POST", "/", wake, headers)[0] == 403
        assert http_client.fetch(project, "POST", "/", wake, headers)[0] == 403
    assert http_client.fetch(ingest, "POST", "/", wake, known)[0] == 403
    assert http_client.fetch(project, "POST", "/", wake, known)[0] == 204


def test_a_client_that_leaves_is_no_error(system: Served) -> None:
    """Many requests may be in one connection, and a body may break off where nobody wants it."""
    head = b"%b / HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n"
    requests = head % (b"GET", 0) * 200, head % (b"GET", 9), head % (b"PUT", 9), head % (b"POST", 9)
    before = [line for line in system.lines() if '"ERROR"' in line]
    for port in map(system.port_of, ("graphql", "ingest", "project")):
        for request, resets in itertools.product(requests, (0, 1)):
            with socket.create_connection((HOST, port), timeout=30) as connection:
                how = struct.pack("ii", resets, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, how)
                connection.sendall(request)
            assert http_client.fetch(port, "GET", "/health")[0] == 200
    assert [line for line in system.lines() if '"ERROR"' in line] == before


def test_what_a_learner_posts_is_kept_by_the_client_while_the_database_is_down(
    system: Served,
) -> None:
    system.begin()
    headers = http_client.headers(system.token("phone", "learner"))
    id_ = str(uuid.uuid4())
    sent = sample_events.envelope("GoalSet", {"answers_per_day": 7}, at=datetime.now(UTC))
    body = json.dumps(sent | {"event_id": id_}).encode()

    def is_taken() -> bool:
        return system.post_to("/events", body, **headers)[0] == 202

    system.database.stop()
    try:
        request = http.client.HTTPConnection(HOST, system.port, timeout=30)
        with closing(request):
            request.request("POST", "/events", body, headers)
            response = request.getresponse()
            assert response.status == 503
            assert int(response.headers["Retry-After"]) > 0
    finally:
        system.database.start("fsync=off")
    readiness.wait(is_taken, "the database", seconds=60)
    query = "{ goal { answersPerDay } }"
    readiness.wait(lambda: system.ask("phone", query)["goal"] is not None, "the goal")
    assert system.ask("phone", query)["goal"] == {"answersPerDay": 7}
    with closing(database.connect(system.database.url)) as connection:
        rows = connection.run(
            "SELECT metadata ->> 'posted_by', metadata ->> 'source_id' FROM event_store.events "
            "WHERE stream_id = 'learner-phone'"
        )
    assert rows == [["learner", id_]]
    own = {"event_id": learner_post_check.own_id("phone", id_), "metadata": {"user_id": "phone"}}
    system.envelopes.append(sent | own)
    system.check()


def test_no_path_takes_an_invalid_token(system: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_issuer, "NAME", system.issuer_name)
    valid = token_issuer.token(), token_issuer.token(roles=["publisher"])
    taken = {"/graphql": valid[0], "/graphql/stream": valid[0], "/events": valid[1]}
    for path, token in taken.items():
        rest = {"accept": "text/event-stream"} if "stream" in path else {}
        asked = json.dumps({"query": "{ __typename }"} if "graphql" in path else []).encode()
        assert system.post_to(path, asked, **http_client.headers(token, **rest))[0] == 200
        for name in test_auth.BAD.keys() - {"deep"}:  # its head is too large to be read to its end
            bad = http_client.headers(test_auth.BAD[name](), **rest)
            assert system.post_to(path, asked, **bad)[0] == 401, (path, name)


def test_a_terminated_system_finishes_what_it_has_accepted(system: Served) -> None:
    """SIGTERM comes right after events were accepted: they are folded, and only JSON is logged.

    The next start dumps them.
    """
    system.begin()
    system.post_events(*test_faults.delivery(random.Random(9)))
    assert system.end() == 0
    system.up()
    system.check()
    made = system.dumps / "000001" / dumps.NAME  # the first start had nothing to dump
    readiness.wait(made.exists, "the day's dump", seconds=60)
    for line in system.lines():
        assert line.startswith('{"time":'), line
        assert "message" in json.loads(line)
        assert "effect-local" not in line


def test_the_first_look_asks_each_function_and_speaks_of_nothing_of_google(system: Served) -> None:
    system.signal("ingest", signal.SIGSTOP)
    looked = system.run("doctor").stdout
    system.signal("ingest", signal.SIGCONT)
    assert "query 200, ingest silent, project 200" in looked
    assert "LOOK  ingest answers nothing: " in looked
    assert "there is no Pub/Sub on this machine" in looked
    assert "PUBSUB" not in looked


@pytest.mark.exhaustive
def test_a_system_whose_login_is_refused_ends_and_a_new_start_mends_it(system: Served) -> None:
    with contextlib.closing(system.connect()) as connection:
        connection.run("ALTER ROLE progress_query_postgres PASSWORD 'another'")
    assert system._process
    assert system._process.wait(40) == 1
    assert "a new start mends it" in system.lines()[-1]
    system.up()
    assert system.ask("reader", COMPLETED) is not None


def test_an_operation_runs_to_its_end(system: Served) -> None:
    system.post_events(sample_events.lesson("leaver", 3))
    erase = """mutation ($key: ID!) {
        eraseUser(userId: "leaver", idempotencyKey: $key) { id } }"""
    erasure = system.ask("chief", erase, role="admin", key=str(uuid.uuid4()))["eraseUser"]["id"]
    asked = "query ($id: ID!) { operation(id: $id) { state } }"

    def is_done() -> bool:
        found = system.ask("chief", asked, role="admin", id=erasure)["operation"]
        assert found["state"] != "FAILED"
        return bool(found["state"] == "SUCCEEDED")

    readiness.wait(is_done, "the erasure", seconds=60)
    assert system.ask("leaver", COMPLETED) == {"userProgress": None}


def test_a_command_without_the_database_says_what_to_set(system: Served) -> None:
    failed = system.run("status", DATABASE_URL="")
    assert (failed.returncode, "set DATABASE_URL" in failed.stderr) == (1, True)


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"AUTH_JWKS_URL": "http://127.0.0.1:1/jwks.json"}, "AUTH_JWKS_URL"),
        ({"AUTH_AUDIENCE": ""}, "AUTH_AUDIENCE"),
        ({"ENVIRONMENT": "development"}, "ENVIRONMENT"),
        ({"DATABASE_URL": ""}, "DATABASE_URL"),
        ({}, "another system runs"),
        # It waits 10 s for the first system to end.
        pytest.param(
            {"PROGRESS_DATA_DIR": "/tmp/progress-second"},  # noqa: S108 - nothing is written to it
            "serves this database",
            marks=pytest.mark.exhaustive,
        ),
        ({"AUTH_AUDIENCE_URL": "x"}, "not read: AUTH_AUDIENCE_URL"),
    ],
)
def test_a_system_that_cannot_serve_says_why(
    system: Served, changed: dict[str, str], why: str
) -> None:
    refused = system.run("serve", **changed)
    assert refused.returncode == 1
    assert why in refused.stdout + refused.stderr
