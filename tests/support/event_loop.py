"""Event loops of asynchronous tests, and of functions that run in the process of a test."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

_P = ParamSpec("_P")


def in_event_loop(test: Callable[_P, Coroutine[Any, Any, None]]) -> Callable[_P, None]:
    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def close(runner: asyncio.Runner, *close_parts: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Cancel what still runs in the loop, then close these parts, and the loop.

    A call of the database that is cancelled leaves a task, for which its part waits.
    """

    async def end() -> None:
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for close_part in close_parts:
            await close_part()

    runner.run(end())
    runner.close()
