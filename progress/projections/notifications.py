"""Notices: after a change of the read models is committed, Redis is told.

The copies of the versions become the new ones, so that no cached answer of before counts, and those
who listen on the channel of a learner or an operation hear of it. A notice that is lost costs five
seconds (see `progress.adapters.redis.version_keys`), so none is waited for longer than 50 ms, and
none fails what it tells of.
"""

import contextlib
import functools
import time
from collections import deque
from collections.abc import Sequence
from contextvars import ContextVar

import msgspec

from progress import settings
from progress.adapters.redis import channels, resp, version_keys
from progress.adapters.redis.resp import Command, ErrorReply, Reply
from progress.adapters.redis.sockets import RedisSocket
from progress.adapters.redis.url import address
from progress.adapters.telemetry import logs, tracing
from progress.projections import schema

_CONNECT_TIMEOUT_S, _REPLY_TIMEOUT_S = 0.015, 0.035  # seconds
_RETRY_AFTER_S = 1.0  # that a Redis which did not answer is left alone
_MAX_PENDING = 100  # commands that wait for its return
_REDIS = {"db.system.name": "redis"}

_aimed_at: ContextVar[str | None] = ContextVar("_aimed_at", default=None)


class Change(msgspec.Struct, frozen=True):
    """What a fold changed: the version is None where that was nothing."""

    version: int | None
    learners: str | None  # as JSON
    catalogue: bool | None
    began: float = msgspec.field(default_factory=time.monotonic)  # before it was committed


def is_enabled() -> bool:
    """Whether there is anyone to tell."""
    return _url() is not None


def use(url: str) -> None:
    """Whom to tell, where the settings name nobody."""
    _aimed_at.set(url)


def publish(change: Change, catalogue: int | None = None) -> bool:
    """A window's change, with the catalogue's version where that changed; False if it was lost."""
    ends = version_keys.end(change.began)
    commands: list[Command] = []
    if change.version is not None and change.learners:
        told = (change.version, change.learners, version_keys.of_learner(schema.schema_name(), ""))
        commands.append(("EVAL", version_keys.TELL, 0, ends, *told))
    if catalogue is not None:
        commands.append(_keep_version(version_keys.CATALOGUE, ends, catalogue))
        commands.append(("PUBLISH", channels.EVERYONE, catalogue))
    return _send(commands)


def publish_batch(version: int, *, known_at: float) -> bool:
    """The version of the batch's tables; False if that was lost."""
    return _send([_keep_version(version_keys.BATCH, version_keys.end(known_at), version)])


def publish_swap(version: int, *, known_at: float) -> bool:
    """That the read models are others now, by that version; False if that was lost."""
    keeping = _keep_version(version_keys.SWAP, version_keys.end(known_at), version)
    return _send([keeping, ("PUBLISH", channels.EVERYONE, version)])


def publish_operation(operation_id: str, version: int) -> bool:
    """That an operation has come further; False if that was lost."""
    return _send([("PUBLISH", channels.OPERATION + operation_id, version)])


def _keep_version(kind: str, ends: int, version: int) -> Command:
    return (
        "EVAL",
        version_keys.KEEP,
        1,
        version_keys.of_all(schema.schema_name(), kind),
        ends,
        version,
    )


def _url() -> str | None:
    return settings.current().redis_url or _aimed_at.get()


def _send(commands: Sequence[Command]) -> bool:
    url = _url()
    if url is None or not commands:
        return True
    with tracing.span("notice", "client", _REDIS) as span:
        span.note("db.operation.name", resp.named(commands))
        return _publisher(url).send(commands)


@functools.cache
def _publisher(url: str) -> "_Publisher":
    return _Publisher(url)


class _Publisher:
    """The way to a Redis, which is left alone for a while when it does not answer."""

    def __init__(self, url: str) -> None:
        """Made at first use, so after any fork."""
        self._address = address(url)
        self._idle: deque[RedisSocket] = deque()
        self._alone_until = 0.0
        self._untold: deque[Command] = deque(maxlen=_MAX_PENDING)

    def send(self, commands: Sequence[Command]) -> bool:
        """All of the commands in one round trip, after those that failed before.

        False, and a line in the log, if they failed: they may have been carried out.
        """
        if time.monotonic() < self._alone_until:
            self._untold.extend(commands)
            return False
        commands = [*self._taken(), *commands]
        try:
            replies = self._asked(commands)
        except OSError as fault:
            self._alone_until = time.monotonic() + _RETRY_AFTER_S
            self._untold.extend(commands)
            logs.write("WARNING", f"Redis was not told of a change: {fault}")
            return False
        refusals = [reply.text for reply in replies if isinstance(reply, ErrorReply)]
        if refusals:  # the same again would fare no better
            logs.write("ERROR", f"Redis was told of a change and refused: {refusals[0]}")
        return not refusals

    def _asked(self, commands: Sequence[Command]) -> list[Reply]:
        """The replies, on a connection that no other thread has meanwhile."""
        line = self._kept() or RedisSocket(self._address, seconds=_CONNECT_TIMEOUT_S)
        replies = line.ask(commands, seconds=_REPLY_TIMEOUT_S)
        self._idle.append(line)
        return replies

    def _kept(self) -> RedisSocket | None:
        with contextlib.suppress(IndexError):
            while True:
                line = self._idle.pop()
                if line.is_open:
                    return line
                line.close()
        return None

    def _taken(self) -> list[Command]:
        """What failed before; each for one thread alone."""
        taken = []
        with contextlib.suppress(IndexError):
            while True:
                taken.append(self._untold.popleft())
        return taken
