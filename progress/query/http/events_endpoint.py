"""What learners post at `/events`, with the token of the page: checked, counted and published.

A post needs Pub/Sub and no database; the mark of who has posted needs one. Ingest records the
post from the topic `learner-events`.
"""

import asyncio
import contextlib
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from progress.adapters import request_scope
from progress.adapters.pubsub import clients, wakeups
from progress.adapters.redis import commands
from progress.adapters.redis.commands import Reply
from progress.adapters.telemetry import logs, tracing
from progress.auth import Authenticator
from progress.errors import (
    Forbidden,
    PubSubUnavailable,
    RedisUnavailable,
    RequestRejected,
    Unavailable,
)
from progress.event_store import bodies, events, learner_post_check
from progress.event_store.learner_post_check import LearnerPost
from progress.event_store.post_answers import Taken
from progress.query import rate_limits
from progress.query.http import protocol
from progress.query.http.held_bodies import HeldBodies
from progress.query.http.ingest_forwarding import IngestForwarding
from progress.query.http.protocol import Headers
from progress.query.rate_limits import Counted, Numbers, RateLimiter
from progress.query.read_models.reader import Reader
from progress.settings import Settings

if TYPE_CHECKING:
    from progress.adapters.redis.async_client import Client

OFF = "learners may not post events here"  # clients know a system that takes no posts by this text

_PUBLISHER = "expected a learner's token: a publisher posts at the address of ingest"
_TYPES = f"expected {bodies.JSON} or {bodies.LINES} in UTF-8, and no Content-Encoding"
_TIMEOUT_S = 10.0  # of Pub/Sub
_MARK_TIMEOUT_S = 1.0  # of the database
_LONG = 8_192  # bytes of a body that is decoded in a thread; a shorter one takes about 1 ms
_PUBLISHERS = 32  # threads
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


class EventsEndpoint:
    """The path `/events`; under `progress serve`, ingest gets the posts of publishers."""

    def __init__(
        self,
        settings: Settings,
        redis: "Client | None",
        authenticator: Authenticator,
        held: HeldBodies,
        *,
        reader: Reader,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings, self._redis, self._authenticator = settings, redis, authenticator
        self._bodies, self._reader, self._clock = held, reader, clock
        url = settings.serve_events_url
        self._forwarding = IngestForwarding(url) if url else None
        self._publishing = ThreadPoolExecutor(_PUBLISHERS, "publish")
        everybody = settings.learner_entries_per_day
        most = {rate_limits.EVERYBODY: everybody, rate_limits.NEWCOMERS: everybody // 2, **_MOST}
        self._limiters: dict[Counted, RateLimiter] = {
            counted: RateLimiter(redis, number, counted) for counted, number in most.items()
        }

    async def answer(self, request: Request, headers: Headers) -> Response:
        """Return 202 once Pub/Sub has what is good, or say why nothing is taken."""
        try:
            return await self._take(request, headers)
        except RequestRejected as error:
            status = 403 if isinstance(error, Forbidden) else error.status
            lines = protocol.rejection_lines(error, headers)
            return protocol.refuse(error, status, lines)
        except Unavailable as error:
            logs.write("WARNING", f"not published: {error}", operation="post", outcome="error")
            lines = ((b"retry-after", b"%d" % error.retry_after_s),)
            return protocol.refuse(protocol.UNAVAILABLE, 503, lines)

    async def _take(self, request: Request, headers: Headers) -> Response:
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
        kind, encoding = (
            headers.get(name, b"").decode("latin-1")
            for name in (b"content-type", b"content-encoding")
        )
        media_type = bodies.media_type(kind, encoding)
        if not media_type:
            return protocol.refuse(_TYPES, 415)
        now, learner = self._clock(), caller.user_id
        posts: Numbers = [(self._limiters[rate_limits.POSTS], learner, 1)]
        _, first_day = await asyncio.gather(  # in one round trip to Redis
            rate_limits.count_all(self._redis, posts, now), self._find_first_day(learner)
        )
        async with self._bodies.hold(learner) as resize:
            body = await protocol.read_body(request, headers, resize, learner_post_check.MOST_BYTES)
            is_long = len(body) > _LONG
            check = functools.partial(learner_post_check.check, body, media_type, learner, now)
            check = functools.partial(check, in_thread=is_long)
            post = await self._bodies.decode(learner, len(body), check) if is_long else check()
        is_new = first_day is None or first_day >= _day(now)
        numbers = self._numbers(post, learner, is_new=is_new)
        total = await rate_limits.count_all(self._redis, numbers, now)
        try:
            if post.accepted:
                await self._publish(post.message)
        except PubSubUnavailable:
            await rate_limits.take_back(self._redis, [*posts, *numbers], now)
            raise
        if first_day is None and self._redis and post.accepted:
            await self._mark(self._redis, learner, now)
        share = total / self._settings.learner_entries_per_day
        logs.write("INFO", "posted", operation="post", outcome="ok", learner_share=share)
        return protocol.json(msgspec.to_builtins(Taken(post.accepted, post.refused)), 202)

    async def _find_first_day(self, learner: str) -> int | None:
        """Return the UTC day on which the learner posted first; None if Redis does not know it.

        Without Redis, nobody is new.
        """
        day: Reply = b"0"
        with contextlib.suppress(RedisUnavailable):
            if self._redis:
                (day,) = await self._redis.run(commands.find_poster(learner))
        return int(day) if isinstance(day, bytes) else None

    async def _mark(self, redis: "Client", learner: str, now: datetime) -> None:
        """Mark who has posted, unless they are erased: a token may outlive its learner."""
        with contextlib.suppress(Unavailable), request_scope.begin(_MARK_TIMEOUT_S):
            block = "query/erased_learners", "is erased"
            (found,) = await self._reader.fetch(*block, user_id=learner)
            if not found["is_erased"]:
                redis.send(commands.mark_poster(learner, _day(now)))

    def _numbers(self, post: LearnerPost, learner: str, *, is_new: bool) -> Numbers:
        """Return what counts of a post; first the entries of all learners.

        What is refused counts for its sender alone, or few could use up what is for all.
        """
        numbers = [
            (rate_limits.EVERYBODY, "", post.accepted),
            (rate_limits.NEWCOMERS, "", post.accepted if is_new else 0),
            (rate_limits.ENTRIES, learner, post.entries - post.lists),
            (rate_limits.BYTES, learner, post.other_bytes),
            (rate_limits.LISTS, learner, post.lists),
            (rate_limits.LIST_BYTES, learner, post.list_bytes),
            (rate_limits.PREFERENCES, learner, post.types["UserPreferencesChanged"]),
            (rate_limits.RETRACTIONS, learner, post.types["EventRetracted"]),
        ]
        everybody, *others = ((self._limiters[counted], who, n) for counted, who, n in numbers)
        return [everybody, *(each for each in others if each[2])]

    async def _publish(self, data: bytes) -> None:
        if not wakeups.outage().is_over:
            raise PubSubUnavailable("Pub/Sub failed less than 5 s ago")
        publish = functools.partial(contextvars.copy_context().run, self._publish_now, data)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await asyncio.get_running_loop().run_in_executor(self._publishing, publish)
        except (PubSubUnavailable, TimeoutError) as error:
            wakeups.outage().begin()
            raise PubSubUnavailable(f"Pub/Sub does not accept a post: {error}") from error

    def _publish_now(self, data: bytes) -> None:
        attributes = wakeups.publish_attributes(events.LEARNER)
        with tracing.child_span(f"publish {events.LEARNER}", "producer", attributes):
            message: dict[str, Any] = {"data": data, "attributes": tracing.message_attributes()}
            clients.publish_own(events.LEARNER, [message], self._settings, timeout_s=_TIMEOUT_S)


def _day(at: datetime) -> int:
    return int(at.timestamp()) // _DAY
