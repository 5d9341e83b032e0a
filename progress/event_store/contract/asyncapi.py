"""The AsyncAPI 3 document: the topics, and the event types that each topic carries."""

from typing import Any

from progress.event_store import events
from progress.event_store.contract import schemas
from progress.event_store.contract.fields import example

# AsyncAPI tools read only draft-07. In this draft, the schemas mean the same as in draft 2020-12.
_FORMAT = "application/schema+json;version=draft-07"

_PUBLISHERS = {
    "learning-events": "Sessions and answers, from the Learning service.",
    "algorithm-events": "Review outcomes, from the Learning Algorithm service.",
    "vocabulary-events": "The item catalogue, from the Vocabulary service.",
    "user-events": "Accounts, preferences, groups, goals and rest days, from the User service.",
}

_Document = dict[str, Any]


def make() -> _Document:
    """Return the document; its payloads refer to the files in the folder `events`."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Events that Progress records",
            "version": "0.1.0",
            "description": "Publish each event to the topic of its type. The data of a Pub/Sub "
            "message is one event, or a JSON array of events (events/message.json).",
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
        "channels": {topic: _channel(topic) for topic in _PUBLISHERS},
        "operations": {f"receive-{topic}": _operation(topic) for topic in _PUBLISHERS},
        "components": {"messages": {name: _message(name) for name in events.EVENT_TYPES}},
    }


def _types(topic: str) -> list[str]:
    return [name for name in events.EVENT_TYPES if events.TOPICS[name] == topic]


def _channel(topic: str) -> _Document:
    messages = {name: {"$ref": f"#/components/messages/{name}"} for name in _types(topic)}
    return {"address": topic, "description": _PUBLISHERS[topic], "messages": messages}


def _operation(topic: str) -> _Document:
    channel = f"#/channels/{topic}"
    messages = [{"$ref": f"{channel}/messages/{name}"} for name in _types(topic)]
    return {"action": "receive", "channel": {"$ref": channel}, "messages": messages}


def _message(name: str) -> _Document:
    declared = events.EVENT_TYPES[name]
    return {
        "name": name,
        "title": name,
        "summary": schemas.describe(declared),
        "payload": {"schemaFormat": _FORMAT, "schema": {"$ref": f"./events/{name}.json"}},
        "examples": [{"name": name, "payload": example(declared)}],
    }
