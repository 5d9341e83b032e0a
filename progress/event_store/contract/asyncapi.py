"""The AsyncAPI 3 document: the topics, and the event types that each topic carries."""

import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec

from progress import __version__
from progress.event_store import events, outgoing
from progress.event_store.contract import schemas
from progress.event_store.contract.fields import example, published_example

# AsyncAPI tools read only draft-07. In this draft, the schemas mean the same as in draft 2020-12.
_FORMAT = "application/schema+json;version=draft-07"

_PUBLISHERS = {
    "learning-events": "Sessions and answers, from the Learning service.",
    "algorithm-events": "Review outcomes, from the Learning Algorithm service.",
    "vocabulary-events": "The item catalogue, from the Vocabulary service.",
    "user-events": "Accounts, preferences, groups, goals, rest days and lists, from the User "
    "service. The query API publishes the events of learners' mutations, too.",
}

_OUTGOING = (
    "Milestones, announced erasures and, with PUBLISH_EVENTS=all, recorded events. Each message is "
    "a CloudEvent in binary mode; the ordering key is the subject."
)
_MILESTONE = msgspec.convert(
    published_example(outgoing.MilestoneReached), outgoing.MilestoneReached
)
_COMMITTED_AT = datetime(2024, 3, 29, 20, 32, 33, 17_000, UTC)

_Document = dict[str, Any]


def make() -> _Document:
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Events that Progress records and publishes",
            "version": __version__,
            "description": "Publish each event to the topic of its type. The data of a Pub/Sub "
            "message is one event, or a JSON array of events (events/message.json). Progress "
            f"publishes one message in each Pub/Sub message on the topic {outgoing.TOPIC}.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "googleCloud": {
                "host": "pubsub.googleapis.com",
                "protocol": "googlepubsub",
                "description": "Google Cloud Pub/Sub. The topics are in the project of the "
                "environment.",
            }
        },
        "channels": {
            **{topic: _channel(topic, text, _types(topic)) for topic, text in _PUBLISHERS.items()},
            outgoing.TOPIC: _channel(outgoing.TOPIC, _OUTGOING, _published()),
        },
        "operations": {
            **{
                f"receive-{each}": _operation("receive", each, _types(each)) for each in _PUBLISHERS
            },
            f"send-{outgoing.TOPIC}": _operation("send", outgoing.TOPIC, _published()),
        },
        "components": {
            "messages": {
                **{name: _message(name) for name in events.EVENT_TYPES},
                **{
                    declared.__name__: _published_message(kind, declared)
                    for kind, declared in outgoing.MESSAGES.items()
                },
            }
        },
    }


def _types(topic: str) -> list[str]:
    return [name for name in events.EVENT_TYPES if events.TOPICS[name] == topic]


def _published() -> list[str]:
    return [declared.__name__ for declared in outgoing.MESSAGES.values()]


def _channel(topic: str, description: str, names: list[str]) -> _Document:
    messages = {name: {"$ref": f"#/components/messages/{name}"} for name in names}
    return {"address": topic, "description": description, "messages": messages}


def _operation(action: str, topic: str, names: list[str]) -> _Document:
    channel = f"#/channels/{topic}"
    messages = [{"$ref": f"{channel}/messages/{name}"} for name in names]
    return {"action": action, "channel": {"$ref": channel}, "messages": messages}


def _message(name: str) -> _Document:
    declared = events.EVENT_TYPES[name]
    return {
        "name": name,
        "title": name,
        "summary": schemas.describe(declared),
        "payload": {"schemaFormat": _FORMAT, "schema": {"$ref": f"./events/{name}.json"}},
        "examples": [{"name": name, "payload": example(declared)}],
    }


def _published_message(kind: outgoing.Kind, declared: type[msgspec.Struct]) -> _Document:
    name, body = declared.__name__, published_example(declared)
    event_type = body.get("event_type", name)
    event_id = uuid.UUID(body["event_id"]) if "event_id" in body else _MILESTONE.id
    learner = f"learner-{_MILESTONE.user_id}"
    row = outgoing.Row(None, None, kind, event_type, event_id, learner, _COMMITTED_AT, None)
    attributes = row.make_attributes("effect")
    rules: dict[str, _Document] = {key: {"type": "string"} for key in attributes}
    rules["kind"] = {"const": kind}
    if "event_type" not in body:
        rules["event_type"] = rules["ce-type"] = {"const": name}
    return {
        "name": name,
        "title": name,
        "summary": schemas.describe(declared),
        "headers": {"type": "object", "required": [*rules], "properties": rules},
        "payload": {"schemaFormat": _FORMAT, "schema": {"$ref": f"./published/{name}.json"}},
        "examples": [{"name": name, "headers": attributes, "payload": body}],
    }
