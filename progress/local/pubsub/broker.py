"""The stand-in's topics and subscriptions, in memory and on disk."""

import asyncio
from collections import defaultdict
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from progress.local.pubsub.background import Background
from progress.local.pubsub.deliveries import Deliveries
from progress.local.pubsub.queue_store import Definition, QueueStore


class NotFound(LookupError):
    """The topic or subscription does not exist; the caller gets NOT_FOUND."""


class AlreadyExists(LookupError):
    """The topic or subscription already exists; the caller gets ALREADY_EXISTS."""


class Broker:
    """The topics and subscriptions; a message is stored on disk before any subscription gets it."""

    def __init__(self, store: QueueStore, background: Background) -> None:
        self._store = store
        self._background = background
        self._changing = asyncio.Lock()  # one subscription is created or changed at a time
        self._topics: set[str] = set()
        self._subscriptions: dict[str, Deliveries] = {}
        self._of_topic: defaultdict[str, list[Deliveries]] = defaultdict(list)

    async def load(self) -> None:
        self._topics.update(await self._store.topics())
        for definition in await self._store.subscriptions():
            self._attach(definition)
        for subscription, message, attempts in await self._store.waiting():
            if subscription in self._subscriptions:
                self._subscriptions[subscription].add(message, attempts)

    async def publish(self, topic: str, messages: list[Any]) -> list[str]:
        """Publish messages, and return their ids once all messages are on disk.

        Raise NotFound if the topic does not exist.
        """
        self.topic(topic)
        now = Timestamp()
        now.GetCurrentTime()
        for message in messages:
            message.message_id = str(self._store.next_id())
            message.publish_time.CopyFrom(now)
        # A subscription that is created during the write does not get these messages.
        receivers = list(self._of_topic[topic])
        await self._store.add(
            [
                (receiver.definition.name, int(message.message_id), message.SerializeToString())
                for message in messages
                for receiver in receivers
            ]
        )
        for receiver in receivers:
            current = self._subscriptions.get(receiver.definition.name, receiver)
            for message in messages:
                current.add(message)
        return [message.message_id for message in messages]

    def topic(self, name: str) -> str:
        if name not in self._topics:
            raise NotFound(f"no topic {name}")
        return name

    def topics(self, project: str) -> list[str]:
        return sorted(name for name in self._topics if name.startswith(f"{project}/"))

    async def create_topic(self, name: str) -> None:
        if name in self._topics:
            raise AlreadyExists(f"topic {name} already exists")
        await self._store.add_topic(name)
        self._topics.add(name)

    async def delete_topic(self, name: str) -> None:
        await self._store.remove_topic(self.topic(name))
        self._topics.discard(name)
        self._of_topic.pop(name, None)

    def subscription(self, name: str) -> Deliveries:
        if name not in self._subscriptions:
            raise NotFound(f"no subscription {name}")
        return self._subscriptions[name]

    def subscriptions(self, project: str) -> list[Any]:
        return [
            deliveries.definition
            for name, deliveries in sorted(self._subscriptions.items())
            if name.startswith(f"{project}/")
        ]

    def undelivered(self, project: str) -> list[tuple[Any, int]]:
        definitions = self.subscriptions(project)
        return [(each, self._subscriptions[each.name].undelivered) for each in definitions]

    async def create_subscription(self, definition: Any) -> None:
        async with self._changing:
            self.topic(definition.topic)
            if definition.name in self._subscriptions:
                raise AlreadyExists(f"subscription {definition.name} already exists")
            await self._store.save(definition)
            self._attach(definition)

    async def modify_push(self, name: str, push_config: Any) -> None:
        async with self._changing:
            deliveries = self.subscription(name)
            changed = Definition()
            changed.CopyFrom(deliveries.definition)
            changed.push_config.CopyFrom(push_config)
            await self._store.save(changed)
            deliveries.redefine(changed)

    async def seek(self, name: str, time: datetime) -> None:
        """Deliver the messages since `time` again, and none that are older.

        A message that is published or pushed during the seek may be delivered twice.
        """
        async with self._changing:
            former = self.subscription(name)
            former.close()
            if former in self._of_topic[former.definition.topic]:
                self._of_topic[former.definition.topic].remove(former)
            self._attach(former.definition)
            for message in await self._store.seek(name, time):
                self._subscriptions[name].add(message)

    async def delete_subscription(self, name: str) -> None:
        async with self._changing:
            deliveries = self.subscription(name)
            await self._store.remove(name)
            deliveries.close()
            del self._subscriptions[name]
            if deliveries in self._of_topic[deliveries.definition.topic]:
                self._of_topic[deliveries.definition.topic].remove(deliveries)

    def close(self) -> None:
        """Stop all pushes."""
        for deliveries in self._subscriptions.values():
            deliveries.close()

    def _attach(self, definition: Any) -> None:
        deliveries = Deliveries(definition, self._store, self._background, self._dead_letter)
        self._subscriptions[definition.name] = deliveries
        if definition.topic in self._topics:
            self._of_topic[definition.topic].append(deliveries)

    async def _dead_letter(self, topic: str, message: Any) -> None:
        if topic in self._topics:
            await self.publish(topic, [message])
