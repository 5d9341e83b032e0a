"""What learners post at `/events`, with the token of the page: checked, counted and recorded."""

import asyncio
import contextlib
import functools
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from progress.adapters import request_scope
from progress.adapters.pubsub import wakeups
from progress.adapters.redis import commands
from progress.adapters.redis.commands import Reply
from progress.adapters.telemetry import logs
from progress.auth import Authenticator
from progress.errors import Forbidden, RedisUnavailable, Unavailable
from progress.event_store import bodies, learner_post_check
from progress.event_store.learner_post_check import LearnerPost
from progress.event_store.post_answers import Taken
from progress.query import own_events, rate_limits
from progress.query.execution.execute import RequestLog
from progress.query.http import protocol
from progress.query.http.held_bodies import HeldBodies
from progress.query.http.ingest_forwarding import IngestForwarding
from progress.query.http.protocol import Headers
from progress.query.own_events import OwnEvents
from progress.query.rate_limits import Counted, Numbers, RateLimiter
from progress.settings import Settings

if TYPE_CHECKING:
    from progress.adapters.redis.async_client import Client

OFF = "learners may not post events here"  # clients know a system that takes no posts by this text

_PUBLISHER = "expected a learner's token: a publisher posts at the address of ingest"
_TYPES = f"expected {bodies.JSON} or {bodies.LINES} in UTF-8, and no Content-Encoding"
_PART = 100  # entries that are recorded at once; others wait for one part
_TIMEOUT_S = 10.0  # of the database, for a part
_LONG = 8_192  # bytes of a body that is decoded in a thread; a shorter one takes about 1 ms
_MOST = {
    rate_limits.POSTS: 60,
    rate_limits.ENTRIES: 20_000,
    rate_limits.BYTES: 10_000_000,
    rate_limits.LISTS: 25_000,  # a deck of 20,000 cards holds up no answer
    rate_limits.LIST_BYTES: 10_000_000,
    rate_limits.PREFERENCES: 50,
    rate_limits.RETRACTIONS: 1_000,
}
_DAY = 86_400
_BODY = (b"content-type", b"content-encoding")


class EventsEndpoint:
    """The path `/events`; under `progress serve`, ingest gets the posts of publishers."""

    def __init__(
        self,
        settings: Settings,
        redis: "Client | None",
        authenticator: Authenticator,
        held: HeldBodies,
        *,
        own: OwnEvents,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings, self._redis, self._authenticator = settings, redis, authenticator
        self._bodies, self._own, self._clock = held, own, clock
        url = settings.serve_events_url
        self._forwarding = IngestForwarding(url) if url else None
        everybody = settings.learner_entries_per_day
        most = {rate_limits.EVERYBODY: everybody, rate_limits.NEWCOMERS: everybody // 2, **_MOST}
        self._limiters: dict[Counted, RateLimiter] = {
            counted: RateLimiter(redis, number, counted) for counted, number in most.items()
        }

    async def answer(self, request: Request, headers: Headers, _log: RequestLog) -> Response:
        """Return 202 once what is good is on disk; raise RequestRejected if nothing is taken.

        After Unavailable, some of it may be; a repetition is harmless.
        """
        authorization = headers.get(b"authorization", b"").decode("latin-1")
        caller = await self._authenticator.authenticate(authorization)
        if caller.role == "publisher":
            if self._forwarding:
                return await self._forwarding.answer(request)
            raise Forbidden(_PUBLISHER)
        if not self._settings.learners_may_post:
            raise Forbidden(OFF)
        if request.method != "POST":
            return protocol.refuse("expected POST", 405, ((b"allow", b"OPTIONS, POST"),))
        kind, encoding = (headers.get(name, b"").decode("latin-1") for name in _BODY)
        if not (media_type := bodies.media_type(kind, encoding)):
            return protocol.refuse(_TYPES, 415)
        now, learner = self._clock(), caller.user_id
        request_scope.current().caller = learner
        posts: Numbers = [(self._limiters[rate_limits.POSTS], learner, 1)]
        _, first_day = await asyncio.gather(  # in one round trip to Redis
            rate_limits.count_all(self._redis, posts, now), self._find_first_day(learner)
        )
        async with self._bodies.hold(learner) as resize:
            body = await protocol.read_body(request, headers, resize, learner_post_check.MOST_BYTES)
            is_long = len(body) > _LONG
            check = functools.partial(
                learner_post_check.check, body, media_type, learner, now, in_thread=is_long
            )
            post = await self._bodies.decode(learner, len(body), check) if is_long else check()
        is_new = first_day is None or first_day >= _day(now)
        numbers = self._numbers(post, learner, is_new=is_new)
        total = await rate_limits.count_all(self._redis, numbers, now)
        try:
            is_erased = await self._record(learner, post)
        except Unavailable:
            await rate_limits.take_back(self._redis, [*posts, *numbers], now)
            raise
        if first_day is None and self._redis and post.good and not is_erased:
            self._redis.send(commands.mark_poster(learner, _day(now)))
        share = total / self._settings.learner_entries_per_day
        logs.write("INFO", "posted", operation="post", outcome="ok", learner_share=share)
        taken = Taken(len(post.good), sorted(post.refused, key=lambda each: each.index))
        return protocol.json(msgspec.to_builtins(taken), 202)

    async def _record(self, learner: str, post: LearnerPost) -> bool:
        """Record what is good, unless the log refuses it; return whether the learner is erased."""
        good, shards, is_erased = list(post.good.items()), set[int](), False
        try:
            for at in range(0, len(good), _PART):
                part = good[at : at + _PART]
                with request_scope.begin(_TIMEOUT_S):
                    recorded = await self._own.append(learner, [entry for _, entry in part])
                shards.update(recorded.shards)
                is_erased = is_erased or "erased" in recorded.outcomes
                for n, reason, clock in recorded.refused:
                    post.refuse(part[n][0], reason, clock)
        finally:
            if shards:  # also if a later part has failed
                await own_events.wake(wakeups.send, shards)
        return is_erased

    async def _find_first_day(self, learner: str) -> int | None:
        """Return the UTC day on which the learner posted first; None if Redis does not know it.

        Without Redis, nobody is new.
        """
        day: Reply = b"0"
        with contextlib.suppress(RedisUnavailable):
            if self._redis:
                (day,) = await self._redis.run(commands.find_poster(learner))
        return int(day) if isinstance(day, bytes) else None

    def _numbers(self, post: LearnerPost, learner: str, *, is_new: bool) -> Numbers:
        """Return what counts of a post; first the entries of all learners.

        What is refused counts for its sender alone, or few could use up what is for all.
        """
        good = len(post.good)
        numbers = [(self._limiters[rate_limits.EVERYBODY], "", good)]
        if is_new and good:
            numbers.append((self._limiters[rate_limits.NEWCOMERS], "", good))
        for counted, limiter in self._limiters.items():
            if number := post.counts[counted.key]:
                numbers.append((limiter, learner, number))
        return numbers


def _day(at: datetime) -> int:
    return int(at.timestamp()) // _DAY
