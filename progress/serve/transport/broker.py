"""The transport's topics and subscriptions, and their deliveries."""

import asyncio
import base64
import contextlib
import itertools
import re
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

import aiohttp
import orjson

from progress.adapters.pubsub import loopback, wakeups
from progress.adapters.telemetry import logs
from progress.event_store import events, outgoing
from progress.serve.transport.queue import Message, Queue, Subscription

_CONNECT_TIMEOUT_S = 2.0
_PUSHES = 64  # of a subscription at the same time
_OPERATION = b'"operation"'
_COMMAND_DEADLINE_S = 600.0  # as the deadline of a push of Pub/Sub

Published = tuple[bytes, dict[str, str], str]  # data, attributes, ordering key
Sign = Callable[[Subscription], str]  # returns the token of the subscription's pushes, or ""


class NotFound(LookupError):
    """The topic or subscription does not exist; the caller gets NOT_FOUND."""


class AlreadyExists(LookupError):
    """The topic or subscription already exists; the caller gets ALREADY_EXISTS."""


class Lane:
    """Messages of one subscription, and the workers that push them."""

    def __init__(self, subscription: Subscription, workers: int) -> None:
        self.subscription = subscription
        self.workers = workers
        self.waiting: asyncio.Queue[Message] = asyncio.Queue()
        self.tasks: list[asyncio.Task[None]] = []
        self.busy = 0  # workers that wait for the answer to a push


class Broker:
    """The topics and subscriptions; a message is on disk before any subscription gets it.

    A command that waits already is not stored again: there is one row for each shard.
    """

    def __init__(
        self,
        queue: Queue,
        session: aiohttp.ClientSession,
        group: asyncio.TaskGroup,
        *,
        lanes: tuple[int, int],
        sign: Sign,
    ) -> None:
        """Push so many wake-ups and operations at the same time, because each has sessions."""
        self._queue, self._session, self._group = queue, session, group
        self._lanes_of_commands, self._sign = lanes, sign
        self._topics: set[str] = set()
        self._subscriptions: dict[str, Subscription] = {}
        self._of_topic: defaultdict[str, list[Subscription]] = defaultdict(list)
        self._lanes: dict[tuple[str, bool], Lane] = {}
        self._messages: dict[tuple[str, str], Message] = {}
        self._commands: dict[tuple[str, bytes], Message] = {}
        self._storing: dict[tuple[str, bytes], asyncio.Task[None]] = {}
        self._gone: set[tuple[str, str]] | None = None  # those removed during a reload
        self._changing = asyncio.Lock()  # one subscription is created or removed at a time

    async def load(self) -> None:
        self._topics.update(await self._queue.topics())
        for subscription in await self._queue.subscriptions():
            self._attach(subscription)

    async def begin(self) -> None:
        for message in await self._queue.waiting():
            self._enqueue(message)

    async def follow(self) -> None:
        """Read the queue again whenever another process has changed it; never return."""
        while True:
            await self._queue.changed.wait()
            self._queue.changed.clear()
            before, self._gone = [*self._messages], set()
            rows = await self._queue.waiting()
            gone, self._gone = self._gone, None
            found = {message.key: message for message in rows if message.key not in gone}
            for key in before:
                if key in self._messages and key not in found:
                    self._forget(self._messages[key])
            for key, message in found.items():
                if key in self._messages:
                    self._messages[key].data = message.data
                else:
                    self._enqueue(message)

    async def ensure(self, topic: str, name: str, url: str, *, deadline_s: float = 60.0) -> None:
        """Let a topic have a subscription that is pushed to this address.

        A subscription of version 0.3 keeps its name, which has a number after the given one.
        """
        if topic not in self._topics:
            await self.create_topic(topic)
        is_same = re.compile(rf"{re.escape(name)}(-\d+)?").fullmatch
        same = (s.name for s in self._of_topic[topic] if is_same(s.name))
        name = next(same, name)
        subscription = Subscription(name=name, topic=topic, endpoint=url, deadline_s=deadline_s)
        await self._queue.save(subscription)
        self._attach(subscription)

    async def publish(self, topic: str, messages: list[Published]) -> list[str]:
        """Publish data with attributes and ordering keys; return the ids once all is on disk.

        Raise NotFound if the topic does not exist, and ValueError if a key has a NUL.
        """
        if any("\0" in ordering_key for *_, ordering_key in messages):
            raise ValueError("an ordering key has no NUL")  # no text of PostgreSQL has
        self.topic(topic)
        now = datetime.now(UTC)
        # Random ids never repeat: not after a restore, and not in another folder.
        identified = [(str(uuid4().int), *each) for each in messages]
        fresh: dict[object, Message] = {}  # a command comes once
        writes = set[asyncio.Task[None]]()
        for subscription, each in itertools.product(self._of_topic[topic], identified):
            message = Message(subscription.name, *each, now)
            if not self._wait_again(message, writes):
                key = message.command if self._is_command(message) else message.key
                fresh.setdefault(key, message)
        if fresh:
            writes.add(write := self._group.create_task(self._store([*fresh.values()])))
            commands = [m for m in fresh.values() if self._is_command(m)]
            self._storing |= {m.command: write for m in commands}
        for write in writes:
            await asyncio.shield(write)
        return [id_ for id_, *_ in identified]

    def _wait_again(self, message: Message, writes: set[asyncio.Task[None]]) -> bool:
        """Return whether this command waits already; if it is being pushed, it waits again."""
        if waiting := self._commands.get(message.command):
            waiting.attributes, waiting.is_wanted_again = message.attributes, True
            return True
        if write := self._storing.get(message.command):
            writes.add(write)
            return True
        return False

    async def _store(self, messages: list[Message]) -> None:
        await self._queue.add(messages)
        for message in messages:
            self._storing.pop(message.command, None)
            self._enqueue(message)

    def topic(self, name: str) -> str:
        if name not in self._topics:
            raise NotFound(f"no topic {name}")
        return name

    async def create_topic(self, name: str) -> None:
        if name in self._topics:
            raise AlreadyExists(f"topic {name} already exists")
        await self._queue.add_topic(name)
        self._topics.add(name)

    def subscription(self, name: str) -> Subscription:
        if name not in self._subscriptions:
            raise NotFound(f"no subscription {name}")
        return self._subscriptions[name]

    async def create_subscription(self, subscription: Subscription) -> None:
        async with self._changing:
            self.topic(subscription.topic)
            if subscription.name in self._subscriptions:
                raise AlreadyExists(f"subscription {subscription.name} already exists")
            await self._queue.save(subscription)
            self._attach(subscription)

    async def delete_subscription(self, name: str) -> None:
        async with self._changing:
            self._detach(self.subscription(name))
            for message in [m for m in self._messages.values() if m.subscription == name]:
                self._forget(message)
            await self._queue.remove_subscription(name)

    async def drain(self, seconds: float) -> None:
        """Return when no command waits, at the latest after this time."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self._commands and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)

    def _attach(self, subscription: Subscription) -> None:
        if former := self._subscriptions.get(subscription.name):
            self._detach(former)
        self._subscriptions[subscription.name] = subscription
        self._of_topic[subscription.topic].append(subscription)

    def _detach(self, subscription: Subscription) -> None:
        del self._subscriptions[subscription.name]
        self._of_topic[subscription.topic].remove(subscription)
        for key in [key for key in self._lanes if key[0] == subscription.name]:
            for task in self._lanes.pop(key).tasks:
                task.cancel()

    def _enqueue(self, message: Message) -> None:
        if message.key in self._messages or message.subscription not in self._subscriptions:
            return
        self._messages[message.key] = message
        if self._is_command(message):
            self._commands[message.command] = message
        self._offer(message)

    def _is_command(self, message: Message) -> bool:
        return self._subscriptions[message.subscription].topic.endswith(f"/{wakeups.TOPIC}")

    def _offer(self, message: Message) -> None:
        """Let a worker push the message, unless somebody has removed it meanwhile.

        One more worker starts while all others are at work: no push waits for the end of another.
        """
        if self._messages.get(message.key) is not message:
            return
        lane = self._lane(message)
        lane.waiting.put_nowait(message)
        idle = len(lane.tasks) - lane.busy
        if idle < lane.waiting.qsize() and len(lane.tasks) < lane.workers:
            lane.tasks.append(self._group.create_task(self._work(lane)))

    def _lane(self, message: Message) -> Lane:
        workers, is_operation = _PUSHES, False
        if self._is_command(message):
            is_operation = _OPERATION in message.data
            workers = self._lanes_of_commands[is_operation]
        key = message.subscription, is_operation
        if key not in self._lanes:
            self._lanes[key] = Lane(self._subscriptions[message.subscription], workers)
        return self._lanes[key]

    async def _work(self, lane: Lane) -> None:
        while True:
            message = await lane.waiting.get()
            if self._messages.get(message.key) is message:  # nobody has removed it meanwhile
                lane.busy += 1
                await self._push(lane.subscription, message)
                lane.busy -= 1

    async def _push(self, subscription: Subscription, message: Message) -> None:
        message.is_wanted_again = False
        status = await self._send(subscription, message)
        if status is None:  # nobody listens
            message.refusals += 1
            self._push_later(subscription, message, message.refusals)
            return
        if 200 <= status < 300:
            if message.is_wanted_again:
                message.attempts = message.refusals = 0
                self._offer(message)
            else:
                self._remove(message)
            return
        message.attempts += 1
        if message.attempts < subscription.max_attempts:
            # The retry waits until the number of attempts is on disk.
            await self._queue.count(message)
            self._push_later(subscription, message, message.attempts)
            return
        await self._give_up(subscription, message, status)

    async def _give_up(self, subscription: Subscription, message: Message, status: int) -> None:
        if subscription.dead_letter_topic in self._topics:
            name = subscription.name.rpartition("/")[2]
            attributes = {
                "CloudPubSubDeadLetterSourceDeliveryCount": str(message.attempts),
                "CloudPubSubDeadLetterSourceSubscription": name,
            }
            letter = message.data, message.attributes | attributes, message.ordering_key
            await self.publish(subscription.dead_letter_topic, [letter])
            self._remove(message)
            return
        why = f"{message.attempts} pushes of {message.message_id} to {subscription.name} failed"
        logs.write("ERROR", f"{why}, the last one with the status {status}")
        self._forget(message)  # first: the same command, published meanwhile, is a new message
        await self._queue.count(message, is_dead=True)

    def _push_later(self, subscription: Subscription, message: Message, tries: int) -> None:
        pause = subscription.min_backoff_s * 2 ** min(tries - 1, 30)
        pause = min(pause, subscription.max_backoff_s)
        asyncio.get_running_loop().call_later(pause, self._offer, message)

    def _remove(self, message: Message) -> None:
        self._forget(message)
        self._queue.remove(message)

    def _forget(self, message: Message) -> None:
        self._messages.pop(message.key, None)
        if self._commands.get(message.command) is message:
            del self._commands[message.command]
        if self._gone is not None:
            self._gone.add(message.key)

    async def _send(self, subscription: Subscription, message: Message) -> int | None:
        """Send a push; return the status of the response, or None if nobody listens.

        If no response arrives within the deadline, return 504. If the connection ends before the
        response, send the push once more, because the server may have closed an idle connection,
        then return 502.
        """
        body = _encode(subscription, message)
        total = subscription.deadline_s
        timeout = aiohttp.ClientTimeout(total=total, sock_connect=_CONNECT_TIMEOUT_S)
        headers = {"User-Agent": "progress-transport", "Content-Type": "application/json"}
        if token := self._sign(subscription):
            headers["Authorization"] = f"Bearer {token}"
        for _ in range(2):
            try:
                async with self._session.post(
                    subscription.endpoint,
                    data=body,
                    headers=headers,
                    timeout=timeout,
                    allow_redirects=False,
                ) as response:
                    await response.read()  # so that the connection can be used again
                    return response.status
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                return None
            except TimeoutError:
                return 504
            except (aiohttp.ClientError, ValueError):  # the latter: a name that no host can have
                continue
        return 502


def _encode(subscription: Subscription, message: Message) -> bytes:
    published = message.published_at.isoformat().replace("+00:00", "Z")
    wrapper = {
        "data": base64.b64encode(message.data).decode(),
        "attributes": message.attributes,
        "messageId": message.message_id,
        "message_id": message.message_id,
        "publishTime": published,
        "publish_time": published,
    }
    if message.ordering_key:
        wrapper["orderingKey"] = message.ordering_key
    body = {"message": wrapper, "subscription": subscription.name}
    return orjson.dumps(body | {"deliveryAttempt": message.attempts + 1})


def open_session() -> aiohttp.ClientSession:
    kept = aiohttp.TCPConnector(limit=0, keepalive_timeout=loopback.IDLE_S)
    return aiohttp.ClientSession(connector=kept)


async def create_topology(broker: Broker, project: str, ingest_url: str, project_url: str) -> None:
    prefix = f"projects/{project}"
    urls = dict.fromkeys(sorted({*events.TOPICS.values()}), ingest_url)
    for topic, url in urls.items():
        name = f"{prefix}/subscriptions/{topic}-ingest-sub"
        await broker.ensure(f"{prefix}/topics/{topic}", name, url)
    name, deadline_s = f"{prefix}/subscriptions/progress-projection-sub", _COMMAND_DEADLINE_S
    commands = f"{prefix}/topics/{wakeups.TOPIC}"
    await broker.ensure(commands, name, project_url, deadline_s=deadline_s)
    with contextlib.suppress(AlreadyExists):  # subscribers are other programs
        await broker.create_topic(f"{prefix}/topics/{outgoing.TOPIC}")
