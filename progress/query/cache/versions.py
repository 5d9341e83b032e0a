"""The versions of the read models in the database, which show whether a result is current."""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from strawberry.dataloader import DataLoader

from progress.adapters import request_scope
from progress.adapters.request_scope import RequestScope
from progress.query.cache.keys import CacheKey
from progress.query.cache.single_flight import MAX_LEAD_S, SingleFlight
from progress.query.read_models.reader import Reader

MAX_AGE_S = 1.0
_REFRESH_TIMEOUT_S = 0.05


class _Asked(NamedTuple):
    """The learners whose versions an operation needs, and the time of their local day, if any."""

    user_ids: Collection[str]
    now: datetime | None
    scope: RequestScope


class Versions(NamedTuple):
    """The versions that an operation has read before it looks at the cache."""

    rows: Mapping[str, Mapping[str, Any]]  # by learner: the row of the block `read`
    read_at: float  # on the monotonic clock

    def validator(self, key: CacheKey) -> bytes | None:
        """Return the result's identity and the versions that it depends on, as a line of JSON.

        A cached result is used only if its validator is equal. Return None if the result must not
        be cached, because the learner is unknown or deleted.
        """
        row, policy = self.rows[key.user_id], key.policy
        if row["version"] is None:
            return None
        versions = (
            key.params,  # so that an entry under a wrong key is not used
            row["version"],
            row["schema"],
            policy.batch and row["batch"],
            policy.catalogue and row["catalogue"],
            policy.clock and (row["day_begins"], row["day_ends"]),
        )
        return msgspec.json.encode(versions) + b"\n"


class Position(msgspec.Struct, frozen=True):
    """A position of the log; the read models contain all events up to this position."""

    position: int
    recorded_at: datetime | None
    known_at: float  # the monotonic time before the query


class DatabaseVersions:
    """A reader of the versions, and of the position that the projections have reached."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.last: Position | None = None
        self._operations = DataLoader(self._read, cache=False)
        self._positions: SingleFlight[Position] = SingleFlight()

    async def read(self, keys: Sequence[CacheKey], at: datetime) -> Versions:
        """Return the versions that results for these keys depend on, and the local day of `at`.

        Operations that ask at the same time share a statement. It ends at the earliest of their
        deadlines, so one with a much earlier deadline has a statement of its own.
        """
        scope = request_scope.current()
        now = at if any(key.policy.clock for key in keys) else None
        asked = _Asked({key.user_id for key in keys}, now, scope)
        if scope.deadline - time.monotonic() < request_scope.TIMEOUT_S - MAX_LEAD_S:
            return (await self._read([asked]))[0]
        versions: Versions = await self._operations.load(asked)
        return versions

    async def _read(self, asked: list[_Asked]) -> list[Versions]:
        pairs = ((user_id, each.now) for each in asked for user_id in each.user_ids)
        user_ids, times = zip(*pairs, strict=True)
        seconds = min(each.scope.deadline for each in asked) - time.monotonic()
        callers = {each.scope.caller for each in asked}
        with request_scope.begin(seconds, callers.pop() if len(callers) == 1 else ""):
            found = await self._reader.fetch(
                "projections/versions", "read", user_ids=user_ids, times=times
            )
        rows, read_at = iter(found), time.monotonic()
        return [Versions(dict(zip(each.user_ids, rows, strict=False)), read_at) for each in asked]

    async def fetch_position(self, *, since: float) -> Position:
        """Return a position that was read after `since`, a time of the monotonic clock."""
        if self.last is None or self.last.known_at < since:
            self.last = await self._positions.join("", self._read_position, since=since)
        return self.last

    async def projected_to(self) -> Position | None:
        """Return a position that the projections have reached; None if no position is known.

        Call this before the data is read, so that the data is never older than the position.
        If the database takes more than 50 ms, the last known position is returned.
        """
        last, since = self.last, time.monotonic() - MAX_AGE_S
        if last is None or last.known_at < since:
            refresh = asyncio.create_task(self.fetch_position(since=since))
            refresh.add_done_callback(lambda task: task.cancelled() or task.exception())
            await asyncio.wait({refresh}, timeout=_REFRESH_TIMEOUT_S if last else None)
        return self.last

    async def _read_position(self) -> Position:
        known_at = time.monotonic()
        seconds = request_scope.current().remaining()
        with request_scope.begin(seconds, ""):  # requests of other callers wait for it
            (row,) = await self._reader.fetch("projections/versions", "position")
        return Position(row["position"], row["recorded_at"], known_at)
