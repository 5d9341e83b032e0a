"""The versions of the read models in the database, which show whether a result is current."""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from strawberry.dataloader import DataLoader

from progress.adapters import request_scope
from progress.query.cache.keys import CacheKey
from progress.query.cache.single_flight import MAX_LEAD_S, SingleFlight
from progress.query.read_models.reader import Reader

MAX_AGE_S = 1.0
_REFRESH_TIMEOUT_S = 0.05


class LearnerVersion(NamedTuple):
    """A learner's version, and the beginning and the end of their local day, if it was asked for.

    The version is None if the learner is unknown or deleted.
    """

    version: int | None
    day: tuple[datetime, datetime] | None


class _Asked(NamedTuple):
    """The learners whose versions an operation needs, and the time of their local day, if any."""

    user_ids: Collection[str]
    now: datetime | None
    deadline: float


class Versions(msgspec.Struct, frozen=True):
    """The versions that an operation has read before it looks at the cache."""

    learners: Mapping[str, LearnerVersion]
    schema: int
    batch: int
    catalogue: int
    read_at: float  # on the monotonic clock

    def validator(self, key: CacheKey) -> bytes | None:
        """Return the result's identity and the versions that it depends on, as a line of JSON.

        A cached result is used only if its validator is equal. Return None if the result must not
        be cached, because the learner is unknown or deleted.
        """
        learner, policy = self.learners[key.user_id], key.policy
        if learner.version is None:
            return None
        versions = (
            key.params,  # so that an entry under a wrong key is not used
            learner.version,
            self.schema,
            policy.batch and self.batch,
            policy.catalogue and self.catalogue,
            policy.clock and learner.day,
        )
        return msgspec.json.encode(versions) + b"\n"


class Position(msgspec.Struct, frozen=True):
    """The position that the projections have reached, and when its event was recorded."""

    position: int
    recorded_at: datetime | None
    known_at: float  # The monotonic time before the query.


class ProjectedTo(msgspec.Struct, frozen=True):
    """A position of the log; the read models contain all events up to this position."""

    position: str  # A number of 64 bits, as text.
    time: datetime | None  # When the event at this position was recorded.


class DatabaseVersions:
    """A reader of the versions, and of the position that the projections have reached."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.last: Position | None = None
        self._operations = DataLoader(self._read, cache=False)
        self._positions: SingleFlight[Position] = SingleFlight()

    def read(self, keys: Sequence[CacheKey], at: datetime) -> asyncio.Future[Versions]:
        """Return the versions that results for these keys depend on, and the local day of `at`.

        Operations that ask at the same time share a statement. It ends at the earliest of their
        deadlines, so one with a much earlier deadline has a statement of its own.
        """
        scope = request_scope.current()
        now = at if any(key.policy.clock for key in keys) else None
        asked = _Asked({key.user_id for key in keys}, now, scope.deadline)
        if scope.deadline - time.monotonic() < request_scope.TIMEOUT_S - MAX_LEAD_S:
            return asyncio.ensure_future(self._read_alone(asked))
        return asyncio.ensure_future(self._operations.load(asked))

    async def _read_alone(self, asked: _Asked) -> Versions:
        return (await self._read([asked]))[0]

    async def _read(self, asked: list[_Asked]) -> list[Versions]:
        pairs = [(user_id, each.now) for each in asked for user_id in each.user_ids]
        with request_scope.begin(min(each.deadline for each in asked) - time.monotonic()):
            rows = await self._reader.fetch(
                *("projections/versions", "read"),
                user_ids=[user_id for user_id, _ in pairs],
                times=[now for _, now in pairs],
            )
        learners = {pair: _learner_version(row) for pair, row in zip(pairs, rows, strict=True)}
        shared = rows[0]["schema"], rows[0]["batch"], rows[0]["catalogue"], time.monotonic()
        return [
            Versions({user_id: learners[user_id, each.now] for user_id in each.user_ids}, *shared)
            for each in asked
        ]

    async def fetch_position(self, *, since: float) -> Position:
        """Return a position that was read after `since`, a time of the monotonic clock."""
        if self.last is None or self.last.known_at < since:
            self.last = await self._positions.join("", self._read_position, since=since)
        return self.last

    async def projected_to(self) -> ProjectedTo | None:
        """Return a position that the projections have reached; None if no position is known.

        Call this before the data is read, so that the data is never older than the position.
        If the database takes more than 50 ms, the last known position is returned.
        """
        last, since = self.last, time.monotonic() - MAX_AGE_S
        if last is None or last.known_at < since:
            refresh = asyncio.create_task(self.fetch_position(since=since))
            refresh.add_done_callback(lambda task: task.cancelled() or task.exception())
            await asyncio.wait({refresh}, timeout=_REFRESH_TIMEOUT_S if last else None)
            last = self.last
        return ProjectedTo(str(last.position), last.recorded_at) if last else None

    async def _read_position(self) -> Position:
        known_at = time.monotonic()
        (row,) = await self._reader.fetch("projections/versions", "position")
        return Position(row["position"], row["recorded_at"], known_at)


def _learner_version(row: Mapping[str, Any]) -> LearnerVersion:
    return LearnerVersion(row["version"], row["day_ends"] and (row["day_begins"], row["day_ends"]))
