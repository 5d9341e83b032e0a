"""A subscription's messages on their way: pushed or pulled, tried again, given up."""

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
from progress.local.pubsub.ledger import Ledger, Message
from progress.local.pubsub.pushes import Endpoint, Refused

AT_ONCE = 64  # pushes of one subscription

_LONGEST_POLL = 5.0
_DEFAULT_BACKOFF = (timedelta(milliseconds=100), timedelta(seconds=10))

GiveUp = Callable[[str, Any], Awaitable[None]]  # publishes a message to a dead-letter topic


@dataclass(eq=False)
class Delivery:
    """One message for one subscription."""

    message: Any
    attempts: int
    refusals: int = 0

    @property
    def id(self) -> int:
        return int(self.message.message_id)


class Deliveries:
    """What waits in one subscription, and what is out."""

    def __init__(
        self, definition: Any, ledger: Ledger, background: Background, give_up: GiveUp
    ) -> None:
        self._ledger = ledger
        self._background = background
        self._give_up = give_up
        self._ready: deque[Delivery] = deque()
        self._something = asyncio.Event()
        self._out: dict[str, tuple[Delivery, asyncio.TimerHandle]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._endpoint: Endpoint | None = None
        self._pusher: asyncio.Task[None] | None = None
        self.redefine(definition)

    def redefine(self, definition: Any) -> None:
        """Take over the settings of the subscription; pushes go to its present address."""
        self.definition = definition
        retry, letters = definition.retry_policy, definition.dead_letter_policy
        given = definition.HasField("retry_policy")
        least, most = (
            (retry.minimum_backoff.ToTimedelta(), retry.maximum_backoff.ToTimedelta())
            if given
            else _DEFAULT_BACKOFF
        )
        self._least, self._most = least.total_seconds(), most.total_seconds()
        self._most_attempts = letters.max_delivery_attempts or None
        self._deadline = definition.ack_deadline_seconds or 10
        self.close()
        if url := definition.push_config.push_endpoint:
            self._endpoint = Endpoint(url)
            self._pusher = self._background.start(self._push_all(self._endpoint))

    def close(self) -> None:
        """Push no more."""
        if self._pusher:
            self._pusher.cancel()
        if self._endpoint:
            self._endpoint.close()
        self._pusher = self._endpoint = None

    def put(self, message: Any, attempts: int = 0) -> None:
        """A message that is on disk."""
        self._return(Delivery(message, attempts))

    async def take(self, most: int, *, wait: bool) -> list[tuple[str, Delivery]]:
        """Up to `most` messages with their ack ids; waits a while for the first one."""
        if not self._ready and wait:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_POLL):
                    await self._something.wait()
        taken: list[tuple[str, Delivery]] = []
        while self._ready and len(taken) < most:
            delivery = self._ready.popleft()
            delivery.attempts += 1
            ack_id = f"{delivery.id}-{delivery.attempts}"
            self._out[ack_id] = (delivery, self._timer(ack_id, self._deadline))
            taken.append((ack_id, delivery))
        self._note()
        return taken

    def acknowledge(self, ack_id: str) -> None:
        """The message is done; an ack id that is not out changes nothing."""
        if out := self._out.pop(ack_id, None):
            out[1].cancel()
            self._ledger.acknowledge(self.definition.name, out[0].id)

    def extend(self, ack_id: str, seconds: int) -> None:
        """Give the message so long; 0 brings it back now."""
        if out := self._out.get(ack_id):
            out[1].cancel()
            self._out[ack_id] = (out[0], self._timer(ack_id, seconds))

    def _timer(self, ack_id: str, seconds: int) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self._overdue, ack_id)

    def _overdue(self, ack_id: str) -> None:
        if out := self._out.pop(ack_id, None):
            self._failed(out[0])

    async def _push_all(self, endpoint: Endpoint) -> None:
        while True:
            await self._something.wait()
            await self._slots.acquire()
            if not self._ready:
                self._slots.release()
                continue
            push = self._background.start(self._push(endpoint, self._ready.popleft()))
            self._note()
            push.add_done_callback(lambda _push: self._slots.release())

    async def _push(self, endpoint: Endpoint, delivery: Delivery) -> None:
        delivery.attempts += 1
        try:
            status = await endpoint.push(self._body(delivery), seconds=self._deadline)
        except Refused:
            delivery.attempts -= 1
            delivery.refusals += 1
            self._later(delivery, delivery.refusals)
            return
        if 200 <= status < 300 or status == 102:
            self._ledger.acknowledge(self.definition.name, delivery.id)
        else:
            self._failed(delivery)

    def _body(self, delivery: Delivery) -> bytes:
        message = delivery.message
        published = message.publish_time.ToJsonString()
        wrapped = {
            "data": base64.b64encode(message.data).decode(),
            "attributes": dict(message.attributes),
            "messageId": message.message_id,
            "message_id": message.message_id,
            "publishTime": published,
            "publish_time": published,
        }
        if message.ordering_key:
            wrapped["orderingKey"] = message.ordering_key
        body = {"message": wrapped, "subscription": self.definition.name}
        if self._most_attempts:
            body["deliveryAttempt"] = delivery.attempts
        return orjson.dumps(body)

    def _failed(self, delivery: Delivery) -> None:
        if self._most_attempts and delivery.attempts >= self._most_attempts:
            self._background.start(self._give(delivery))
            return
        self._ledger.count(self.definition.name, delivery.id, delivery.attempts)
        self._later(delivery, delivery.attempts)

    async def _give(self, delivery: Delivery) -> None:
        letter = Message()
        letter.CopyFrom(delivery.message)
        letter.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] = str(delivery.attempts)
        letter.attributes["CloudPubSubDeadLetterSourceSubscription"] = self.definition.name.rsplit(
            "/", 1
        )[-1]
        await self._give_up(self.definition.dead_letter_policy.dead_letter_topic, letter)
        self._ledger.acknowledge(self.definition.name, delivery.id)

    def _later(self, delivery: Delivery, tries: int) -> None:
        pause = min(self._least * 2 ** min(tries - 1, 30), self._most)
        asyncio.get_running_loop().call_later(pause, self._return, delivery)

    def _return(self, delivery: Delivery) -> None:
        self._ready.append(delivery)
        self._something.set()

    def _note(self) -> None:
        if not self._ready:
            self._something.clear()
