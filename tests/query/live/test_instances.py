"""Streams of whole instances: changes, outages, limits, and released resources."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import pytest

from progress.adapters.postgres import database
from progress.projections import schema
from progress.serve import readiness
from tests.conftest import Store
from tests.support import cache_instances, cli, http_client, subscription_client, token_issuer
from tests.support.function_process import FunctionProcess
from tests.support.postgres_servers import OwnServer
from tests.support.subscription_client import (
    PROGRESS,
    STREAK,
    LessonRecorder,
    Serve,
    Stream,
    Subscribe,
)

NEVER = 3_600


@pytest.fixture
def recorder(store: Store) -> Iterator[LessonRecorder]:
    with closing(LessonRecorder(store.url)) as recorder:
        yield recorder


@pytest.mark.first_in_gate
@pytest.mark.parametrize("ends", [True, False], ids=["ended", "hanging"])
def test_streams_follow_changes_during_a_redis_outage(
    serve: Serve, recorder: LessonRecorder, subscribe: Subscribe, ends: bool
) -> None:
    with cache_instances.own_valkey() as own, serve(REDIS_URL=own.url) as function:
        stream = subscribe(function.port, PROGRESS)
        assert stream.next_value() is None
        (own.end if ends else own.stop)()
        recorder.add_lesson()
        assert stream.next_value()["totalSessionsCompleted"] == 1
        assert subscribe(function.port, PROGRESS).next_value()["totalSessionsCompleted"] == 1


def test_a_redis_without_scripts_is_told(store: Store, serve: Serve) -> None:
    """Entries of hashes are stored by a script, which a proxy or a right may refuse."""
    with cache_instances.own_valkey() as own:
        own.server().execute_command("ACL", "SETUSER", "default", "-@scripting")
        with serve(REDIS_URL=own.url) as function:
            asked = (function.port, "GET", "/ready")
            readiness.wait(
                lambda: http_client.fetch_json(*asked)[1]["cache"] == "rejects", "the refusal"
            )
        answer = cli.progress(store.url, "doctor", REDIS_URL=own.url)
        assert "LOOK  Redis rejects EVAL: " in answer.stdout


def test_open_streams_wait_and_new_streams_are_rejected_during_an_outage(
    own_server: OwnServer, subscribe: Subscribe
) -> None:
    with closing(database.connect(own_server.url)) as connection:
        schema.create(connection)
    with subscription_client.query_function(own_server.url) as function:
        stream = subscribe(function.port, PROGRESS)
        assert stream.next_value() is None
        own_server.stop()
        refused = subscribe(function.port, PROGRESS, "bob")
        assert refused.status == 503
        assert refused.response.headers["retry-after"]
        assert refused.read_body()["errors"][0]["extensions"] == {"code": "UNAVAILABLE"}
        own_server.start()
        with closing(LessonRecorder(own_server.url)) as recorder:
            recorder.add_lesson()
            assert stream.next_value()["totalSessionsCompleted"] == 1
            assert subscribe(function.port, STREAK, "bob").next_value()["current"] == 0
        stream.close()


# The query selects one number under many long aliases. The results are so large that a few of them
# fill all buffers between the server and the client.
_NAMES = " ".join(f"{3_500 * letter}: totalSessionsCompleted" for letter in ascii_lowercase)
WIDE = f"subscription {{ progressUpdated {{ {_NAMES} }} }}"

SHORT_S = 0.02
PATIENT = f"stall_s={NEVER}"


def open_idle_stream(
    port: int, subscribe: Subscribe, recorder: LessonRecorder, lessons: int, **options: Any
) -> Stream:
    """Open a stream, but do not read it. Return it when another stream has received all lessons."""
    idle = subscribe(port, WIDE, receive_buffer=4096, **options)
    active = subscribe(port, PROGRESS)
    assert active.next_value() is None
    for count in range(1, lessons + 1):
        recorder.add_lesson()
        assert active.next_value()["totalSessionsCompleted"] == count
    active.close()
    return idle


@pytest.mark.exhaustive
def test_a_client_that_reads_late_skips_to_the_newest_state(
    serve: Serve, recorder: LessonRecorder, subscribe: Subscribe
) -> None:
    lessons = 80
    with serve(poll_s=SHORT_S, server=PATIENT) as function:
        idle = open_idle_stream(function.port, subscribe, recorder, lessons)
        values: list[Any] = [idle.next_value()]
        while values[-1] is None or lessons not in values[-1].values():
            values.append(idle.next_value())
        assert len(values) < lessons - 20


@pytest.mark.exhaustive
def test_a_stream_that_the_client_does_not_read_ends_soon_after_its_buffer_is_full(
    serve: Serve, recorder: LessonRecorder, subscribe: Subscribe
) -> None:
    with serve(poll_s=SHORT_S, server="stall_s=0.2") as function:
        idle = open_idle_stream(function.port, subscribe, recorder, 60)
        readiness.wait(lambda: function.count_clients() == 0, "the end of the stream")
        idle.close()


@pytest.mark.exhaustive
def test_a_stream_that_the_client_does_not_read_ends_when_its_token_expires(
    serve: Serve, recorder: LessonRecorder, subscribe: Subscribe, tmp_path: Path
) -> None:
    token = token_issuer.token("ann", exp=time.time() + 8)
    options = {"headers": {"authorization": f"Bearer {token}"}}
    log = tmp_path / "log"
    with serve(poll_s=SHORT_S, server=PATIENT, log=log) as function:
        idle = open_idle_stream(function.port, subscribe, recorder, 60, **options)
        assert function.count_clients() == 1
        readiness.wait(lambda: function.count_clients() == 0, "the end of the stream")
        idle.close()
    assert "ERROR" not in log.read_text(encoding="utf-8")


@pytest.mark.exhaustive
def test_shutdown_completes_all_streams(
    serve: Serve, recorder: LessonRecorder, subscribe: Subscribe
) -> None:
    with serve(poll_s=SHORT_S, server=PATIENT) as function:
        idle = open_idle_stream(function.port, subscribe, recorder, 60)
        streams = [subscribe(function.port, PROGRESS) for _ in range(3)]
        for stream in streams:
            assert stream.next_value()
        function.process.send_signal(signal.SIGTERM)
        for stream in streams:
            assert stream.read_to_end() is None
        assert function.process.wait(8) == 0  # even if the idle client never reads
        idle.close()


@pytest.mark.exhaustive
def test_the_processes_of_an_instance_share_its_limit(serve: Serve, subscribe: Subscribe) -> None:
    with serve(limits="per_instance=3", WORKERS="2") as function:
        streams = [subscribe(function.port, PROGRESS, user) for user in ("ann", "bob", "cem")]
        statuses = [stream.status for stream in streams]
        # Each of the two processes accepts one stream.
        assert statuses.count(200) in (1, 2)
        assert statuses.count(503) == 3 - statuses.count(200)


@pytest.mark.exhaustive
def test_a_failed_subscription_does_not_count_as_open(serve: Serve, subscribe: Subscribe) -> None:
    query = 'subscription { streakUpdated(userId: "bob") { current } }'
    with serve(limits="per_caller=1, per_instance=1") as function:
        for _ in range(3):
            error = subscribe(function.port, query).next_error()
            assert error["extensions"] == {"code": "FORBIDDEN"}
        assert subscribe(function.port, PROGRESS).next_value() is None


@pytest.mark.exhaustive
def test_opening_a_stream_counts_against_the_rate_limit(serve: Serve, subscribe: Subscribe) -> None:
    with serve(RATE_LIMIT_PER_MINUTE="3") as function:
        statuses = [subscribe(function.port, PROGRESS).status for _ in range(7)]
        # During these requests, at most one new minute begins, and with it a new count.
        assert statuses[:3] == [200] * 3
        refused = subscribe(function.port, PROGRESS)
        assert 429 in (*statuses, refused.status)


@pytest.mark.exhaustive
def test_a_thousand_streams_do_not_leak_files_or_memory(serve: Serve) -> None:
    with serve(RATE_LIMIT_PER_MINUTE="1000000") as function:

        def try_to_visit() -> bool:
            with closing(Stream(function.port, PROGRESS)) as stream:
                if stream.status == 429:  # an earlier stream has not ended yet
                    return False
                assert stream.next_value() is None
                return True

        def visit(_: int) -> None:
            readiness.wait(try_to_visit, "a stream")

        with ThreadPoolExecutor(8) as visitors:
            # warm-up: the later streams reuse the memory that these streams allocate
            [*visitors.map(visit, range(700))]
            readiness.wait(lambda: function.count_clients() == 0, "the end of the streams")
            before = measure(function)
            [*visitors.map(visit, range(1_000))]
        readiness.wait(lambda: function.count_clients() == 0, "the end of the streams")
        # A few more files are no leak: the pool may have opened connections to the database.
        readiness.wait(lambda: measure(function)[0] < before[0] + 10, "the end of the connections")
        assert measure(function)[1] < before[1] + 5_000_000


def measure(function: FunctionProcess) -> tuple[int, int]:
    """Return the worker process's number of open files, and its resident memory in bytes."""
    worker = function.worker()
    return worker.num_fds(), worker.memory_info().rss
