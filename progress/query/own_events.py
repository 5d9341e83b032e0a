"""The recorder of what learners do to their own record: with a post, or with a mutation."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from progress.adapters import request_scope
from progress.adapters.postgres.shares import Places
from progress.query.read_models.reader import Reader

_WAKE_TIMEOUT_S = 3.0
_ANSWER_S = 0.5  # of a call's time, for the answer that it has waited for other appends in vain
_OF_POST = {"is_mutation": False, "expected_version": None, "seen_version": None, "seen": None}


class Recorded(msgspec.Struct, frozen=True):
    """What became of entries: how many had each outcome, and which would be dead letters.

    `refused` has the place of each such entry, its reason and, if it is ahead of the clock, this
    clock. The position is that of a mutation's event.
    """

    outcomes: dict[str, int]
    refused: list[tuple[int, str, datetime | None]]
    shards: list[int]
    global_position: int | None


class OwnEvents:
    """The half of the connections with which learners' events are recorded, and no more."""

    def __init__(self, reader: Reader, connections: int) -> None:
        self._reader = reader
        self._places = Places(max(1, connections // 2))

    async def fetch(self, block: str, **values: object) -> Mapping[str, Any]:
        """Return the row of a block; raise Unavailable at the request's deadline."""
        scope = request_scope.current()
        deadline = asyncio.get_running_loop().time() + scope.remaining()
        await self._places.acquire(scope.caller, deadline)
        since = time.monotonic()
        try:
            seconds = max(0.001, scope.remaining() - _ANSWER_S)
            rows: list[Mapping[str, Any]] = await self._reader.fetch(
                "query/own_events", block, **values, lock_timeout=f"{1_000 * seconds:.0f}ms"
            )
        finally:
            self._places.release(scope.caller, since)
        return rows[0]

    async def append(
        self, learner: str, entries: Sequence[bytes], **of_mutation: object
    ) -> Recorded:
        """Record the entries, which are JSON; see sql/event_store/functions/append_own.sql.

        Raise StatementFailed with the function's SQLSTATE, and Unavailable; then they may be
        recorded nevertheless, and the call can be repeated.
        """
        sent = (b"[%b]" % b",".join(entries)).decode()
        values = _OF_POST | of_mutation
        row = await self.fetch("append", user_id=learner, entries=sent, **values)
        return msgspec.json.decode(row["recorded"], type=Recorded)


async def wake(send: Callable[[Any], object], named: Collection[Any]) -> None:
    """Send wake-ups; if this takes too long, leave them to the sweep."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_WAKE_TIMEOUT_S):
            await asyncio.to_thread(send, named)
