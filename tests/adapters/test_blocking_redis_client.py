"""The blocking Redis client gives up in time, and never reads the reply to another command."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from progress.adapters.redis import blocking_client, commands
from progress.adapters.redis.blocking_client import BlockingClient
from progress.adapters.redis.url import parse_url
from progress.errors import CopiesUnavailable, RedisUnavailable
from tests.support import cache_instances

_TIMEOUT_S = 0.1

# Use the connection before and after a fork, in both processes.
_FORK = """
import os, sys
from progress.adapters.redis.blocking_client import BlockingClient
from progress.adapters.redis.url import parse_url

client = BlockingClient(parse_url(sys.argv[1]), connect_timeout_s=10, timeout_s=10)
print(*client.run(("CLIENT", "ID")), flush=True)
is_child = os.fork() == 0
for number in range(200):
    assert client.run(("ECHO", f"{is_child} {number}")) == [f"{is_child} {number}".encode()]
print(*client.run(("CLIENT", "ID")), flush=True)
if is_child:
    os._exit(0)
assert os.wait()[1] == 0
"""


def open_client(url: str, timeout_s: float = 10) -> BlockingClient:
    return BlockingClient(parse_url(url), connect_timeout_s=timeout_s, timeout_s=timeout_s)


@pytest.fixture
def own() -> Iterator[cache_instances.Valkey]:
    with cache_instances.own_valkey() as valkey:
        yield valkey


@pytest.mark.parametrize("answer", cache_instances.ANSWERS)
def test_a_server_with_invalid_replies_fails_a_call_in_time(answer: bytes | None) -> None:
    with cache_instances.serve(answer) as url, closing(open_client(url, _TIMEOUT_S)) as client:
        began = time.monotonic()
        for _ in range(3):
            with pytest.raises(RedisUnavailable):
                client.run(commands.ping(), commands.ping())
        assert time.monotonic() - began < 3 * 5 * _TIMEOUT_S


def test_replies_without_a_command_are_not_the_replies_to_the_next_command() -> None:
    with cache_instances.serve(b"+PONG\r\n+MORE\r\n") as url, closing(open_client(url)) as client:
        assert [client.run(commands.ping()) for _ in range(3)] == [[b"PONG"]] * 3


def test_a_call_to_an_unreachable_server_fails() -> None:
    with cache_instances.serve(None) as url:
        pass
    with closing(open_client(url)) as client, pytest.raises(RedisUnavailable, match="refused"):
        client.run(commands.ping())
    with pytest.raises(CopiesUnavailable, match="refused"):
        blocking_client.delete_keys(url, "ann", lambda: None)


def test_a_suspended_server_is_used_again_once_it_resumes(own: cache_instances.Valkey) -> None:
    with closing(open_client(own.url, _TIMEOUT_S)) as client:
        client._timeout_s = 10
        assert client.run(("ECHO", "before")) == [b"before"]
        client._timeout_s = _TIMEOUT_S
        own.stop()
        with pytest.raises(RedisUnavailable):
            client.run(("ECHO", "lost"))
        own.go_on()
        client._timeout_s = 10
        assert client.run(("ECHO", "after")) == [b"after"]


def test_a_connection_that_redis_has_closed_is_replaced(own: cache_instances.Valkey) -> None:
    with closing(open_client(own.url)) as client:
        client.run(commands.ping())
        own.end()
        own.start()
        assert client.run(("ECHO", "again")) == [b"again"]


def test_threads_get_their_own_replies(empty_redis: str) -> None:
    with closing(open_client(empty_redis)) as client, ThreadPoolExecutor(8) as pool:
        replies = pool.map(lambda number: client.run(("ECHO", number), commands.ping()), range(200))
        assert [*replies] == [[b"%d" % number, b"PONG"] for number in range(200)]


def test_a_rejected_command_does_not_fail_the_other_commands(empty_redis: str) -> None:
    with closing(open_client(empty_redis)) as client:
        replies = client.run(("LPUSH", "l", "1"), ("GET", "l"), commands.ping())
    assert isinstance(replies[1], Exception)
    assert (replies[0], replies[2]) == (1, b"PONG")


def test_processes_share_no_connection_after_a_fork(empty_redis: str) -> None:
    forked = subprocess.run(
        [sys.executable, "-c", _FORK, empty_redis],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert (forked.returncode, forked.stderr) == (0, "")
    before, *after = forked.stdout.split()
    assert len(set(after)) == 2
    assert before in after
