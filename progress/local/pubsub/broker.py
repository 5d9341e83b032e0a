"""Topics and subscriptions of the stand-in, in memory as they are on disk."""

import asyncio
from collections import defaultdict
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from progress.local.pubsub.background import Background
from progress.local.pubsub.deliveries import Deliveries
from progress.local.pubsub.ledger import Definition, Ledger


class NotThere(LookupError):
    """A topic or subscription that nobody made; the caller is told so."""


class AlreadyThere(LookupError):
    """A topic or subscription that was made before; the caller is told so."""


class Broker:
    """Takes what is published and hands it to the subscriptions, once it is on disk."""

    def __init__(self, ledger: Ledger, background: Background) -> None:
        self._ledger = ledger
        self._background = background
        self._changing = asyncio.Lock()  # one subscription is made or changed at a time
        self._topics: set[str] = set()
        self._subscriptions: dict[str, Deliveries] = {}
        self._of_topic: defaultdict[str, list[Deliveries]] = defaultdict(list)

    async def load(self) -> None:
        """Take up what is on disk."""
        self._topics.update(await self._ledger.topics())
        for definition in await self._ledger.subscriptions():
            self._attach(definition)
        for subscription, message, attempts in await self._ledger.waiting():
            if subscription in self._subscriptions:
                self._subscriptions[subscription].put(message, attempts)

    async def publish(self, topic: str, messages: list[Any]) -> list[str]:
        """The messages' ids, when all of them are on disk. NotThere without the topic."""
        self.topic(topic)
        now = Timestamp()
        now.GetCurrentTime()
        for message in messages:
            message.message_id = str(self._ledger.next_id())
            message.publish_time.CopyFrom(now)
        # A subscription that is made while these are written has not asked for them.
        receivers = list(self._of_topic[topic])
        await self._ledger.add(
            [
                (receiver.definition.name, int(message.message_id), message.SerializeToString())
                for message in messages
                for receiver in receivers
            ]
        )
        for receiver in receivers:
            for message in messages:
                receiver.put(message)
        return [message.message_id for message in messages]

    def topic(self, name: str) -> str:
        """The name, if the topic is there; else NotThere."""
        if name not in self._topics:
            raise NotThere(f"no topic {name}")
        return name

    def topics(self, project: str) -> list[str]:
        """The names of a project's topics."""
        return sorted(name for name in self._topics if name.startswith(f"{project}/"))

    async def create_topic(self, name: str) -> None:
        if name in self._topics:
            raise AlreadyThere(f"topic {name} is there already")
        await self._ledger.add_topic(name)
        self._topics.add(name)

    async def delete_topic(self, name: str) -> None:
        await self._ledger.remove_topic(self.topic(name))
        self._topics.discard(name)
        self._of_topic.pop(name, None)

    def subscription(self, name: str) -> Deliveries:
        """The subscription, or NotThere."""
        if name not in self._subscriptions:
            raise NotThere(f"no subscription {name}")
        return self._subscriptions[name]

    def subscriptions(self, project: str) -> list[Any]:
        """The definitions of a project's subscriptions."""
        return [
            each.definition
            for name, each in sorted(self._subscriptions.items())
            if name.startswith(f"{project}/")
        ]

    async def create_subscription(self, definition: Any) -> None:
        async with self._changing:
            self.topic(definition.topic)
            if definition.name in self._subscriptions:
                raise AlreadyThere(f"subscription {definition.name} is there already")
            await self._ledger.keep(definition)
            self._attach(definition)

    async def modify_push(self, name: str, push_config: Any) -> None:
        """Push to another address from now on."""
        async with self._changing:
            deliveries = self.subscription(name)
            changed = Definition()
            changed.CopyFrom(deliveries.definition)
            changed.push_config.CopyFrom(push_config)
            await self._ledger.keep(changed)
            deliveries.redefine(changed)

    async def delete_subscription(self, name: str) -> None:
        async with self._changing:
            deliveries = self.subscription(name)
            await self._ledger.remove(name)
            deliveries.close()
            del self._subscriptions[name]
            if deliveries in self._of_topic[deliveries.definition.topic]:
                self._of_topic[deliveries.definition.topic].remove(deliveries)

    def _attach(self, definition: Any) -> None:
        made = Deliveries(definition, self._ledger, self._background, self._give_up)
        self._subscriptions[definition.name] = made
        if definition.topic in self._topics:
            self._of_topic[definition.topic].append(made)

    async def _give_up(self, topic: str, letter: Any) -> None:
        if topic in self._topics:
            await self.publish(topic, [letter])
