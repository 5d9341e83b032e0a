"""Subscriptions, opened: how many may be, what each tells, and when all of them end."""

import asyncio
import inspect
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import msgspec
from graphql import DocumentNode, ExecutionResult, Executor, create_source_event_stream
from starlette.responses import Response

from progress.errors import RateLimited, Unavailable
from progress.query.execution import execute
from progress.query.execution.execute import Asked
from progress.query.execution.selections import GRAPHQL
from progress.query.graphql.context import Context
from progress.query.http import responses, sse, subscription_results
from progress.query.http.sse import EventStream
from progress.query.http.subscription_results import Rendering
from progress.query.live.hub import Watch

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
        with ExitStack() as held:
            held.enter_context(self._place(context.caller.user_id))
            watch: Any = create_source_event_stream(executor)
            if inspect.isawaitable(watch):
                watch = await watch
            if isinstance(watch, ExecutionResult):
                return _refused(watch, trace)
            held.enter_context(self._kept(watch))
            rendered = subscription_results.rendering(tree, executor, trace)
            return await self._begun(watch, rendered, held, context.caller.until)

    async def _begun(
        self, watch: Watch[Any], rendered: Rendering, held: ExitStack, until: float
    ) -> Response:
        """The stream, once it has something to tell."""

        async def following() -> bytes:
            return await rendered(await anext(watch))

        try:
            first = await following()
        except StopAsyncIteration:
            raise Unavailable("this instance is about to end: try again") from None
        beat = self._limits.heartbeat
        return EventStream(
            first, following, watch.close, held.pop_all(), until=until, heartbeat=beat
        )

    @contextmanager
    def _place(self, caller: str) -> Iterator[None]:
        """One of the places; RateLimited, Unavailable where there is none."""
        limits = self._limits
        if self._callers[caller] >= limits.of_a_caller:
            why = f"{limits.of_a_caller} streams are open: close one of them"
            raise RateLimited(why, _TRY_AGAIN)
        if self._is_ending or self._callers.total() >= limits.of_the_instance:
            raise Unavailable("this instance takes no more streams now: try again")
        self._callers[caller] += 1
        try:
            yield
        finally:
            self._callers[caller] -= 1
            if not self._callers[caller]:
                del self._callers[caller]

    @contextmanager
    def _kept(self, watch: Watch[Any]) -> Iterator[None]:
        """Until the block ends, the end of all is its end too."""
        if not self._follows_signals:
            self._follow_signals()
            self._follows_signals = True
        self._open.add(watch)
        try:
            yield
        finally:
            self._open.discard(watch)
            watch.close()

    def end(self) -> None:
        """Complete every stream: its client comes back, to another instance."""
        self._is_ending = True
        for watch in list(self._open):
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


def _refused(result: ExecutionResult, trace: str) -> Response:
    return sse.single(responses.body(execute.told(result, trace)))
