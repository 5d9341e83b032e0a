"""A receiver of what leaves the system by WEBHOOK_URL, which checks each signature."""

import json
import secrets
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import pytest
from google.pubsub_v1.types import PubsubMessage
from standardwebhooks import Webhook, WebhookVerificationError

from progress.event_store import webhook_posts
from tests.support import http_servers

Reaction = int | str | bytes


def make_secret() -> str:
    return "whsec_" + b64encode(secrets.token_bytes(24)).decode()


class Message(NamedTuple):
    """One attempt to deliver a CloudEvent."""

    id: str
    event: dict[str, Any]
    headers: dict[str, str]  # with lower-case names
    body: bytes

    def as_pubsub(self) -> PubsubMessage:
        event = dict(self.event)
        data = json.dumps(event.pop("data")).encode()
        own = {"eventtype": "event_type", "datacontenttype": "content-type"}
        own |= {"kind": "kind", "schema": "schema"}
        attributes = {own.get(name, f"ce-{name}"): text for name, text in event.items()}
        return PubsubMessage(data=data, attributes=attributes, ordering_key=event["subject"])


class Receiver:
    """What arrives. `react` returns the status of an answer, or what happens instead of one.

    That is "cut" (the connection ends), "silent" (nothing, until the end), "drip" (a head without
    an end) or the answer's bytes.
    """

    def __init__(self) -> None:
        self.url, self.secret = "", make_secret()
        self.attempts: list[Message] = []
        self.accepted: list[Message] = []  # in the order of their answers, with repetitions
        self.faults: list[Exception] = []
        self.react: Callable[[Message], Reaction] = lambda _: 204
        self.changed, self.ended = threading.Condition(), threading.Event()

    @property
    def settings(self) -> dict[str, str]:
        """The environment variables of a system that posts here."""
        return {"WEBHOOK_URL": self.url, "WEBHOOK_SECRET": self.secret}

    @property
    def ids(self) -> list[str]:
        """The ids of the accepted messages, without repetitions."""
        return list(dict.fromkeys(message.id for message in self.accepted))

    def pubsub(self) -> list[PubsubMessage]:
        """Return what was accepted as subscribers of the topic get it, recorded events alone."""
        return [each.as_pubsub() for each in self.accepted if each.event["kind"] == "recorded"]

    def wait(self, is_done: Callable[[], object]) -> None:
        """Wait for messages until `is_done`."""
        with self.changed:
            assert self.changed.wait_for(is_done, 60), self.attempts

    def take(self, body: bytes, headers: dict[str, str]) -> Reaction:
        try:
            event = Webhook(self.secret).verify(body, headers)
            message = Message(headers["webhook-id"], event, headers, body)
            assert (event["specversion"], event["id"]) == ("1.0", message.id)
            assert headers["content-type"] == "application/cloudevents+json"
        except (AssertionError, KeyError, ValueError, WebhookVerificationError) as fault:
            self.faults.append(fault)
            return 400
        self._add(self.attempts, message)
        answer = self.react(message)
        head = b"HTTP/1.1 %d \r\n\r\n" % answer if isinstance(answer, int) else answer
        if isinstance(head, bytes) and head.startswith(b"HTTP/1.1 2") and b"\r\n\r\n" in head:
            self._add(self.accepted, message)
        return answer

    def _add(self, to: list[Message], message: Message) -> None:
        with self.changed:
            to.append(message)
            self.changed.notify_all()


@contextmanager
def receive(port: int = 0) -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(http_servers.Handler):
        def do_POST(self) -> None:
            body = self.read_body()
            answer = receiver.take(body, {k.lower(): v for k, v in self.headers.items()})
            if isinstance(answer, int):
                self.respond(answer)
                return
            self.close_connection = True
            if isinstance(answer, bytes):
                self.wfile.write(answer)
            elif answer == "silent":
                receiver.ended.wait()
            elif answer == "drip":
                with suppress(OSError):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
                    while not receiver.ended.wait(0.05):
                        self.wfile.write(b"x")

    with http_servers.serve(Handler, port) as url:
        receiver.url = f"{url}/hook"
        try:
            yield receiver
        finally:
            receiver.ended.set()
            while webhook_posts.posters:
                webhook_posts.posters.popitem()[1].stop()
    assert not receiver.faults


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receive() as made:
        yield made
