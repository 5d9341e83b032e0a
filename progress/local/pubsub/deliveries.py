"""The deliveries of one subscription: pushes, pulls, retries, and the dead-letter topic."""

import asyncio
import base64
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson

from progress.local.pubsub.background import Background
from progress.local.pubsub.push_client import ConnectionRefused, Endpoint
from progress.local.pubsub.queue_store import Message, QueueStore

MAX_PUSHES = 64  # concurrent pushes per subscription

_POLL_TIMEOUT_S = 5.0
_DEFAULT_BACKOFF = (timedelta(milliseconds=100), timedelta(seconds=10))

DeadLetter = Callable[[str, Any], Awaitable[None]]  # publishes a message to a dead-letter topic


@dataclass(eq=False)
class Delivery:
    """A message that one subscription has yet to deliver."""

    message: Any
    attempts: int
    refusals: int = 0

    @property
    def id(self) -> int:
        return int(self.message.message_id)


class Deliveries:
    """The messages of one subscription that are not yet acknowledged, and their deliveries."""

    def __init__(
        self, definition: Any, store: QueueStore, background: Background, dead_letter: DeadLetter
    ) -> None:
        self.undelivered = 0  # messages that are not yet acknowledged
        self._store = store
        self._background = background
        self._dead_letter = dead_letter
        self._ready: deque[Delivery] = deque()
        self._has_ready = asyncio.Event()
        self._leased: dict[str, tuple[Delivery, asyncio.TimerHandle]] = {}
        self._slots = asyncio.Semaphore(MAX_PUSHES)
        self._endpoint: Endpoint | None = None
        self._pusher: asyncio.Task[None] | None = None
        self.redefine(definition)

    def redefine(self, definition: Any) -> None:
        """Apply new settings of the subscription, including its push address."""
        self.definition = definition
        retry, letters = definition.retry_policy, definition.dead_letter_policy
        shortest, longest = (
            (retry.minimum_backoff.ToTimedelta(), retry.maximum_backoff.ToTimedelta())
            if definition.HasField("retry_policy")
            else _DEFAULT_BACKOFF
        )
        self._min_backoff_s = shortest.total_seconds()
        self._max_backoff_s = longest.total_seconds()
        self._max_attempts = letters.max_delivery_attempts or None
        self._ack_deadline_s = definition.ack_deadline_seconds or 10
        self.close()
        if definition.push_config.push_endpoint:
            self._endpoint = Endpoint(definition.push_config)
            self._pusher = self._background.start(self._push_all(self._endpoint))

    def close(self) -> None:
        """Stop pushing."""
        if self._pusher:
            self._pusher.cancel()
        if self._endpoint:
            self._background.start(self._endpoint.close())
        self._pusher = self._endpoint = None

    def add(self, message: Any, attempts: int = 0) -> None:
        """Add a message that is already on disk."""
        self.undelivered += 1
        self._return(Delivery(message, attempts))

    async def pull(self, limit: int, *, wait: bool) -> list[tuple[str, Delivery]]:
        """Return up to `limit` messages with ack ids; with `wait`, wait up to 5 s for the first."""
        if not self._ready and wait:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_TIMEOUT_S):
                    await self._has_ready.wait()
        pulled: list[tuple[str, Delivery]] = []
        while self._ready and len(pulled) < limit:
            delivery = self._ready.popleft()
            delivery.attempts += 1
            ack_id = f"{delivery.id}-{delivery.attempts}"
            self._leased[ack_id] = (delivery, self._timer(ack_id, self._ack_deadline_s))
            pulled.append((ack_id, delivery))
        self._clear_if_empty()
        return pulled

    def acknowledge(self, ack_id: str) -> None:
        """Remove the message; ignore an unknown or expired ack id."""
        if lease := self._leased.pop(ack_id, None):
            lease[1].cancel()
            self._remove(lease[0])

    def _remove(self, delivery: Delivery) -> None:
        self.undelivered -= 1
        is_retained = self.definition.retain_acked_messages
        self._store.acknowledge(self.definition.name, delivery.id, is_retained=is_retained)

    def extend(self, ack_id: str, seconds: int) -> None:
        """Give the client `seconds` from now to acknowledge; with 0, the delivery fails at once."""
        if lease := self._leased.get(ack_id):
            lease[1].cancel()
            self._leased[ack_id] = (lease[0], self._timer(ack_id, seconds))

    def _timer(self, ack_id: str, seconds: int) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self._expire, ack_id)

    def _expire(self, ack_id: str) -> None:
        if lease := self._leased.pop(ack_id, None):
            self._fail(lease[0])

    async def _push_all(self, endpoint: Endpoint) -> None:
        while True:
            await self._has_ready.wait()
            await self._slots.acquire()
            if not self._ready:
                self._slots.release()
                continue
            push = self._background.start(self._push(endpoint, self._ready.popleft()))
            self._clear_if_empty()
            push.add_done_callback(lambda _push: self._slots.release())

    async def _push(self, endpoint: Endpoint, delivery: Delivery) -> None:
        delivery.attempts += 1
        try:
            status = await endpoint.push(self._body(delivery), seconds=self._ack_deadline_s)
        except ConnectionRefused:
            delivery.attempts -= 1
            delivery.refusals += 1
            self._retry_later(delivery, delivery.refusals)
            return
        if 200 <= status < 300:
            self._remove(delivery)
        else:
            self._fail(delivery)

    def _body(self, delivery: Delivery) -> bytes:
        message = delivery.message
        published = message.publish_time.ToJsonString()
        wrapper = {
            "data": base64.b64encode(message.data).decode(),
            "attributes": dict(message.attributes),
            "messageId": message.message_id,
            "message_id": message.message_id,
            "publishTime": published,
            "publish_time": published,
        }
        if message.ordering_key:
            wrapper["orderingKey"] = message.ordering_key
        body = {"message": wrapper, "subscription": self.definition.name}
        if self._max_attempts:
            body["deliveryAttempt"] = delivery.attempts
        return orjson.dumps(body)

    def _fail(self, delivery: Delivery) -> None:
        if self._max_attempts and delivery.attempts >= self._max_attempts:
            self._background.start(self._send_dead_letter(delivery))
            return
        # The retry waits until the number of attempts is on disk. After a crash, the number on disk
        # therefore lacks at most one attempt.
        counted = self._store.count(self.definition.name, delivery.id, delivery.attempts)
        counted.add_done_callback(lambda _: self._retry_later(delivery, delivery.attempts))

    async def _send_dead_letter(self, delivery: Delivery) -> None:
        letter = Message()
        letter.CopyFrom(delivery.message)
        letter.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] = str(delivery.attempts)
        letter.attributes["CloudPubSubDeadLetterSourceSubscription"] = self.definition.name.rsplit(
            "/", 1
        )[-1]
        await self._dead_letter(self.definition.dead_letter_policy.dead_letter_topic, letter)
        self._remove(delivery)

    def _retry_later(self, delivery: Delivery, tries: int) -> None:
        pause = min(self._min_backoff_s * 2 ** min(tries - 1, 30), self._max_backoff_s)
        asyncio.get_running_loop().call_later(pause, self._return, delivery)

    def _return(self, delivery: Delivery) -> None:
        self._ready.append(delivery)
        self._has_ready.set()

    def _clear_if_empty(self) -> None:
        if not self._ready:
            self._has_ready.clear()
