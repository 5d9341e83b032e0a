"""Subscriptions, opened: how many may be, what each tells, and when all of them end."""

import asyncio
import functools
import inspect
import signal
import threading
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import msgspec
from graphql import DocumentNode, ExecutionResult, Executor, create_source_event_stream
from graphql.execution import execute_subscription_event
from starlette.responses import Response

from progress.api import eventstream, execution, responses
from progress.api.context import Context
from progress.api.eventstream import EventStream
from progress.api.execution import Asked
from progress.api.selections import GRAPHQL
from progress.changes import Watch
from progress.errors import RateLimited, Unavailable

_TRY_AGAIN = 5  # seconds
_PATIENCE = 3.0  # seconds: with clients that do not read, when the process is to end


class Limits(msgspec.Struct, frozen=True):
    """How many streams may be open, and how often each says that it lives."""

    of_a_caller: int = 10
    of_the_instance: int = 900  # it takes 1,000 requests at once: the rest are for queries
    heartbeat: float = 12.0  # seconds


class Streams:
    """The streams of an instance."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._callers: Counter[str] = Counter()
        self._open: set[Watch[Any]] = set()
        self._follows_signals = self._is_ending = False

    async def answer(
        self, asked: Asked, tree: DocumentNode, context: Context, trace: str
    ) -> Response:
        """The response to a subscription, which is in this document.

        RateLimited, Unavailable where a stream cannot be opened.
        """
        executor = Executor.build(
            GRAPHQL,
            tree,
            context_value=context,
            raw_variable_values=asked.variables,
            operation_name=asked.operation_name,
        )
        if isinstance(executor, list):
            return _refused(ExecutionResult(None, executor), trace)
        return await self._opened(executor, context, trace)

    async def _opened(self, executor: Executor[Any], context: Context, trace: str) -> Response:
        caller = context.caller
        self._check(caller.user_id)
        watch: Any = create_source_event_stream(executor)
        if inspect.isawaitable(watch):
            watch = await watch
        if isinstance(watch, ExecutionResult):
            return _refused(watch, trace)
        self._take(watch, caller.user_id)
        close = functools.partial(self._free, watch, caller.user_id)

        async def following() -> bytes:
            return await _rendered(executor, await anext(watch), trace)

        try:
            first = await following()
        except BaseException:
            close()
            raise
        return EventStream(
            first, following, close, until=caller.until, heartbeat=self._limits.heartbeat
        )

    def _check(self, caller: str) -> None:
        """That one more may be open."""
        if self._is_ending:
            raise Unavailable("this instance is about to end: open the stream again")
        if self._callers[caller] >= self._limits.of_a_caller:
            raise RateLimited(
                f"{self._limits.of_a_caller} streams are open: close one of them", _TRY_AGAIN
            )
        if len(self._open) >= self._limits.of_the_instance:
            raise Unavailable("this instance has as many streams as it may: try again")

    def _take(self, watch: Watch[Any], caller: str) -> None:
        if not self._follows_signals:
            self._follow_signals()
            self._follows_signals = True
        self._open.add(watch)
        self._callers[caller] += 1

    def _free(self, watch: Watch[Any], caller: str) -> None:
        watch.close()
        if watch in self._open:
            self._open.discard(watch)
            self._callers[caller] -= 1
            if not self._callers[caller]:
                del self._callers[caller]

    def end(self) -> None:
        """Complete every stream: its client comes back, to another instance."""
        self._is_ending = True
        for watch in self._open:
            watch.close()

    def _follow_signals(self) -> None:
        """End when the process is to: the server waits for every response."""
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._then(signal.getsignal(number), loop))

    def _then(self, before: Any, loop: asyncio.AbstractEventLoop) -> Callable[..., None]:
        def told(number: int, frame: FrameType | None) -> None:
            if not self._is_ending:
                loop.call_soon_threadsafe(self.end)
                loop.call_soon_threadsafe(loop.call_later, _PATIENCE, self._insist)
            if callable(before):
                before(number, frame)

        return told

    def _insist(self) -> None:
        """A second signal has the server wait no longer for clients that do not read."""
        if self._open:
            signal.raise_signal(signal.SIGINT)


async def _rendered(executor: Executor[Any], state: object, trace: str) -> bytes:
    result = execute_subscription_event(executor.build_per_event_executor(state))
    if not isinstance(result, ExecutionResult):
        result = await result
    return responses.body(execution.told(result, trace))


def _refused(result: ExecutionResult, trace: str) -> Response:
    return eventstream.single(responses.body(execution.told(result, trace)))
