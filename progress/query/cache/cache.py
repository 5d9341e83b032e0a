"""Answers kept in Redis: an instance's cache, with its rate limit and its persisted queries.

Never an answer older than the projection. An entry's label names versions that were each seen
before its data, so that the data may only be newer. It counts where those are the copies' in Redis
(`progress.adapters.redis.version_keys`) or, where there is none, the database's, asked since the
request came. A fold changes the database's as it commits, then tells Redis, where a copy never goes
back; one that could not tell is hidden while a copy lives: five seconds. What is remembered in the
process labels new entries, where it may be old; it decides none. Who shares the computation of
another has seen nothing newer than its label; one that began more than a second ago is shared no
more.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from progress.adapters.redis import version_keys
from progress.adapters.redis.async_client import Client
from progress.adapters.redis.resp import Command, Reply
from progress.errors import CacheAway, Unavailable
from progress.projections import schema
from progress.query.cache import policy, validity
from progress.query.cache.policy import Question, question
from progress.query.cache.rate_limit import Limit
from progress.query.cache.single_flight import Flights, GaveUp
from progress.query.cache.validity import Label, Seen
from progress.query.cache.versions import YOUNG, Learner, Versions

__all__ = ["Cache", "Computed", "Looked", "ProjectedTo", "Question", "question"]

_JOINED = 1.0  # seconds that a computation may have been under way to be joined
_PATIENCE = 0.05  # seconds that a request waits to hear anew how far the projections have come
_PERSISTED = 24 * 3600
_REMEMBERED = 10_000  # learners, with their days

Result = Literal["hit", "miss", "error", "off"]


class Computed(msgspec.Struct, frozen=True):
    """An answer; if it `tells`, with what its own statement saw of the learner."""

    data: bytes
    learner: int | None = None  # the version
    day_ends: datetime | None = None  # where the question depends on the clock


Compute = Callable[[], Awaitable[Computed]]


class Looked(msgspec.Struct):
    """What the cache held for a request: of each question its answer, None where there is none."""

    found: list[bytes | None]
    seen: Seen
    fresh: bool
    result: Result = "off"  # hit: all was found


class ProjectedTo(msgspec.Struct, frozen=True):
    """All events up to a position are in the read models; when that one was recorded."""

    position: str  # 64 bits, as text
    time: datetime | None


class Cache:
    """Of one instance; the database it asks through `progress.query.read_models.reader`.

    With `timeout_s`, in seconds, it waits for a Redis that no request could wait for.
    """

    def __init__(self, url: str | None, *, per_minute: int, timeout_s: float | None = None) -> None:
        self._redis = Client(url, timeout_s=timeout_s) if url else None
        self._limit = Limit(per_minute)
        self._versions = Versions()
        self._answers: Flights[tuple[Label | None, bytes]] = Flights(_JOINED)
        self._days: dict[str, Learner] = {}
        self._schema = schema.schema_name()
        kinds = (version_keys.SWAP, version_keys.BATCH, version_keys.CATALOGUE)
        self._shared = [version_keys.shared_key(self._schema, kind) for kind in kinds]

    async def ask(
        self,
        caller: str | None,
        questions: Sequence[Question],
        *,
        at: datetime,
        fresh: bool = False,
    ) -> Looked:
        """Count the caller's request and look the questions up; RateLimited if it is one too many.

        No caller: it was counted before. With `fresh` what is kept does not count, but what is
        computed is kept anew.
        """
        seen = Seen(at, time.monotonic(), dict.fromkeys(each.user_id for each in questions))
        looked = Looked([None] * len(questions), seen, fresh)
        if self._redis is None:
            self._limit.count(caller, at)
            return looked
        try:
            await self._ask(self._redis, looked, caller, questions)
        except CacheAway:
            looked.result = "error"
            self._limit.count(caller, at)
        return looked

    async def answer(
        self, looked: Looked, question: Question, compute: Compute, *, tells: bool = False
    ) -> bytes:
        """The answer, computed and kept; of those who ask at once one computes for all.

        With `tells`, what is computed says which version of the learner its statement saw.
        """

        computed = functools.partial(self._computed, looked, question, compute, tells=tells)
        passed = None
        while not looked.fresh:
            flight = self._answers.under_way(question)
            if flight is None or flight is passed:
                break
            try:
                label, data = await flight.join()
            except GaveUp:
                continue
            if label is None or looked.seen.admits(label, question):
                return data
            passed = flight
        return (await self._answers.begin(question, computed))[1]

    async def projected_to(self) -> ProjectedTo | None:
        """How far the projections have come, at least; None if the database does not say.

        To be asked before the answers are: these may then only be newer.
        """
        last = self._versions.last
        if last is None or not last.is_young:
            since = time.monotonic() - YOUNG
            reading = asyncio.create_task(self._versions.shared(since=since))
            reading.add_done_callback(lambda task: task.cancelled() or task.exception())
            await asyncio.wait({reading}, timeout=_PATIENCE if last else None)
            last = self._versions.last
        return ProjectedTo(str(last.position), last.recorded_at) if last else None

    async def document(self, sha256: str) -> str | None:
        """The persisted query with that hash, if Redis has it."""
        try:
            found = await self._redis.run(("GET", f"apq:{sha256}")) if self._redis else [None]
        except CacheAway:
            return None
        return found[0].decode(errors="replace") if isinstance(found[0], bytes) else None

    async def keep_document(self, sha256: str, text: str) -> None:
        """Persist a query, where there is a Redis to do so."""
        with contextlib.suppress(CacheAway):
            if self._redis:
                await self._redis.run(("SET", f"apq:{sha256}", text, "EX", _PERSISTED))

    async def state(self) -> str:
        """For people: whether Redis answers. Where it does not, answers cost more, no more."""
        if self._redis is None:
            return "off"
        try:
            await self._redis.run(("PING",))
        except CacheAway:
            return "away"
        return "ok"

    async def close(self) -> None:
        """End the connection to Redis."""
        if self._redis:
            await self._redis.close()

    async def _ask(
        self, redis: Client, looked: Looked, caller: str | None, questions: Sequence[Question]
    ) -> None:
        at = looked.seen.at
        counting = self._limit.counting(caller, at) if caller is not None else None
        commands = [*([counting] if counting else []), *self._commands(looked, questions)]
        if not commands:
            return
        replies = await redis.run(*commands)
        if caller is not None and counting:
            count = replies.pop(0)
            if count == 1:
                redis.send(self._limit.forgetting(counting))
            self._limit.check(count, caller, at)
        if questions:
            looked.result = "miss"
            looked.seen.note(replies[0])
            await self._look(looked, questions, replies[1:])

    def _commands(self, looked: Looked, questions: Sequence[Question]) -> list[Command]:
        """One for the copies, unless it is fresh one for each entry."""
        if not questions:
            return []
        noting = ("MGET", *self._shared, *map(self._learner_s, looked.seen.learners))
        places = () if looked.fresh else [policy.place(each, looked.seen.at) for each in questions]
        return [noting, *map(policy.getting, places)]

    async def _look(
        self, looked: Looked, questions: Sequence[Question], replies: Sequence[Reply]
    ) -> None:
        """Find among the replies the answers that count."""
        kept = [
            (number, questions[number], entry)
            for number, reply in enumerate(replies)
            if isinstance(reply, bytes) and (entry := validity.opened(reply))
        ]
        try:
            for _, asked, _ in kept:
                await self._complete(looked.seen, asked)
        except Unavailable:
            return
        for number, asked, (label, data) in kept:
            if looked.seen.holds(label, asked):
                looked.found[number] = data
        if None not in looked.found:
            looked.result = "hit"

    async def _complete(self, seen: Seen, asked: Question) -> None:
        """Ask the database for those versions that the question depends on and Redis had not."""
        if seen.lacks(asked.rule):
            await self._share(seen, since=seen.since)
        if seen.learners[asked.user_id] is None:
            await self._learner(seen, asked.user_id)

    async def _share(self, seen: Seen, *, since: float) -> None:
        shared = await self._versions.shared(since=since)
        seen.take(shared)
        found = (shared.schema, shared.batch, shared.catalogue)
        self._copy(seen, dict(zip(self._shared, found, strict=True)), shared.known_at)

    async def _learner(self, seen: Seen, user_id: str) -> Learner:
        learner = await self._versions.learner(user_id, seen.at, since=seen.since)
        seen.learners[user_id] = learner.version
        self._copy(seen, {self._learner_s(user_id): learner.version}, learner.known_at)
        self._days[user_id] = learner
        if len(self._days) > _REMEMBERED:
            del self._days[next(iter(self._days))]
        return learner

    def _copy(self, seen: Seen, versions: dict[str, int], known_at: float) -> None:
        """Let Redis know what the database has said since the request came."""
        if self._redis and seen.since <= known_at:
            ends = version_keys.expires_at_ms(known_at)
            keys: Command = (*versions, ends, *versions.values())
            self._redis.send(("EVAL", version_keys.SET_SCRIPT, len(versions), *keys))

    async def _computed(
        self, looked: Looked, asked: Question, compute: Compute, *, tells: bool
    ) -> tuple[Label | None, bytes]:
        """The answer with its label, kept; without one where there is no cache to keep it in."""
        if self._redis is None or looked.result == "error":
            return None, (await compute()).data
        seen, user = looked.seen, asked.user_id
        if seen.lacks(asked.rule):
            await self._share(seen, since=time.monotonic() - YOUNG)  # a label may be old
        learner, ends = seen.learners[user], None
        if not tells and (learner is None or asked.rule.clock):
            learner, ends = await self._today(seen, user)
        began = time.monotonic()
        computed = await compute()
        if tells:
            learner, ends = self._told(seen, user, computed, began), computed.day_ends
        if learner is None:
            return None, computed.data
        label = seen.label(asked, learner, ends)
        self._keep(asked, seen.at, label, computed.data)
        return label, computed.data

    def _told(self, seen: Seen, user_id: str, computed: Computed, began: float) -> int | None:
        version = computed.learner
        if version is not None and version != seen.learners[user_id]:
            seen.learners[user_id] = version
            self._copy(seen, {self._learner_s(user_id): version}, began)
        return version

    def _learner_s(self, user_id: str) -> str:
        """The key of the copy of a learner's version."""
        return version_keys.learner_key(self._schema, user_id)

    async def _today(self, seen: Seen, user_id: str) -> tuple[int, datetime]:
        """The learner's version, no newer than what is computed next, and the end of their day."""
        known = self._days.get(user_id)
        is_known = known and known.is_of_the_day(seen.at)
        if not known or not is_known or known.version != seen.learners[user_id]:
            known = await self._learner(seen, user_id)
        return known.version, known.day_ends

    def _keep(self, asked: Question, at: datetime, label: Label, data: bytes) -> None:
        left = None if label.ends is None else label.ends - at.timestamp()
        command = policy.keeping(policy.place(asked, at), validity.sealed(label, data), left)
        if self._redis and command:
            self._redis.send(command)
