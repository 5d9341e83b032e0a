"""A blocking Redis client, for maintenance.

Import this module at first use, because it imports redis-py.
"""

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redis import RedisError, ResponseError

from progress.adapters.redis import commands, connections
from progress.adapters.redis.commands import Command, Reply
from progress.adapters.redis.url import Address, parse_url
from progress.errors import CopiesUnavailable, RedisUnavailable

if TYPE_CHECKING:
    from redis.connection import ConnectionInterface

_MAINTENANCE_TIMEOUT_S = 10.0


class BlockingClient:
    """A client for several threads: each call uses a connection that no other thread is using.

    `timeout_s` limits the time from a command to its reply.
    """

    def __init__(self, address: Address, *, connect_timeout_s: float, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._pool = connections.create_blocking_pool(
            address, connect_timeout_s=connect_timeout_s, timeout_s=timeout_s
        )

    def run(self, *sent: Command) -> list[Reply]:
        """Return the replies to the commands, in order, after one round trip.

        Raise RedisUnavailable if there are no replies.
        """
        try:
            connection = self._pool.get_connection()
            try:
                return self._exchange(connection, sent)
            except BaseException:  # a late reply must not be read as the reply to another command
                connection.disconnect()
                raise
            finally:
                self._pool.release(connection)
        except (RedisError, OSError) as error:
            raise RedisUnavailable(f"Redis is unavailable: {error}") from error

    def close(self) -> None:
        self._pool.disconnect()

    def _exchange(
        self, connection: "ConnectionInterface", sent: tuple[Command, ...]
    ) -> list[Reply]:
        deadline = time.monotonic() + self._timeout_s
        connection.send_packed_command(connection.pack_commands(sent), check_health=False)
        return [_read(connection, deadline) for _ in sent]


def delete_keys(url: str, user_id: str, check: Callable[[], None]) -> int:
    """Delete every key that holds a copy about the learner; return the number of these keys.

    `check` is called before each batch of about 1,000 keys. To stop the work, it raises an error.
    Raise CopiesUnavailable if Redis does not respond.
    """
    client = _open_for_maintenance(url)
    deleted, cursor = 0, b"0"
    try:
        while True:
            check()
            cursor, keys = _run(client, commands.list_keys(cursor))
            theirs = [key for key in keys if _learner_of(key) == user_id]
            if theirs:
                deleted += _run(client, commands.delete_keys(theirs))
            if cursor == b"0":
                return deleted
    except RedisUnavailable as error:
        raise CopiesUnavailable(f"copies in Redis cannot be deleted: {error}") from error
    finally:
        client.close()


def delete_everything(url: str) -> None:
    """Delete all keys; raise RedisUnavailable if Redis does not respond."""
    _ask(url, commands.delete_everything())


def check(url: str) -> None:
    """Raise RedisUnavailable if Redis does not respond, or would reject what is written to it."""
    _ask(url, commands.check_writes())


def _ask(url: str, command: Command) -> Any:
    """Return the reply to one command, on a connection of its own."""
    with contextlib.closing(_open_for_maintenance(url)) as client:
        return _run(client, command)


def _open_for_maintenance(url: str) -> BlockingClient:
    timeout_s = _MAINTENANCE_TIMEOUT_S
    return BlockingClient(parse_url(url), connect_timeout_s=timeout_s, timeout_s=timeout_s)


def _run(client: BlockingClient, command: Command) -> Any:
    (reply,) = client.run(command)
    if isinstance(reply, Exception):
        raise RedisUnavailable(f"Redis rejects {command[0]!s}: {reply}")
    return reply


def _learner_of(key: bytes) -> str | None:
    return commands.find_learner(key.decode("utf-8", "replace"))


def _read(connection: "ConnectionInterface", deadline: float) -> Reply:
    left = max(0.001, deadline - time.monotonic())
    try:
        reply: Reply = connection.read_response(timeout=left)
    except ResponseError as error:
        if connections.is_outage(error):
            raise
        return error
    return reply
