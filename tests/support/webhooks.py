"""A receiver of what leaves the system by WEBHOOK_URL, which checks each signature."""

import secrets
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.support import http_servers


def make_secret() -> str:
    return "whsec_" + b64encode(secrets.token_bytes(24)).decode()


class Message(NamedTuple):
    """One attempt to deliver a CloudEvent."""

    id: str
    event: dict[str, Any]
    headers: dict[str, str]  # with lower-case names
    body: bytes


Reaction = int | str | bytes


class Receiver:
    """What arrives. `react` returns the status of an answer, or what happens instead of one.

    That is "cut" (the connection ends), "silent" (no answer while the test runs) or the answer's
    bytes. A `react` that raises ConnectionError cuts, too.
    """

    def __init__(self) -> None:
        self.secret, self.url = make_secret(), ""
        self.attempts: list[Message] = []
        self.accepted: list[Message] = []  # in the order of their answers, with repetitions
        self.faults: list[Exception] = []
        self.react: Callable[[Message], Reaction] = lambda _: 204
        self.changed = threading.Condition()
        self.ended = threading.Event()

    @property
    def settings(self) -> dict[str, str]:
        """The environment variables of a system that posts here."""
        return {"WEBHOOK_URL": self.url, "WEBHOOK_SECRET": self.secret}

    @property
    def ids(self) -> list[str]:
        """The ids of the accepted messages, without repetitions."""
        return list(dict.fromkeys(message.id for message in self.accepted))

    def wait(self, is_done: Callable[[], object], seconds: float = 60) -> None:
        """Wait for messages until `is_done`."""
        with self.changed:
            assert self.changed.wait_for(is_done, seconds), [*self.attempts]

    def take(self, body: bytes, headers: dict[str, str]) -> Reaction:
        try:
            message = self._check(body, headers)
        except (AssertionError, KeyError, ValueError, WebhookVerificationError) as fault:
            self.faults.append(fault)
            return 400
        with self.changed:
            self.attempts.append(message)
            self.changed.notify_all()
        try:
            answer = self.react(message)
        except ConnectionError:
            answer = "cut"
        head = b"HTTP/1.1 %d \r\n\r\n" % answer if isinstance(answer, int) else answer
        if isinstance(head, bytes) and head.startswith(b"HTTP/1.1 2") and b"\r\n\r\n" in head:
            with self.changed:
                self.accepted.append(message)
                self.changed.notify_all()
        return answer

    def _check(self, body: bytes, headers: dict[str, str]) -> Message:
        event = Webhook(self.secret.split()[0]).verify(body, headers)
        message = Message(headers["webhook-id"], event, headers, body)
        assert (event["specversion"], event["id"]) == ("1.0", message.id)
        assert headers["content-type"] == "application/cloudevents+json"
        return message


@contextmanager
def receive(port: int = 0) -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(http_servers.Handler):
        def do_POST(self) -> None:  # noqa: N802 - its name in the library
            body = self.read_body()
            answer = receiver.take(body, {k.lower(): v for k, v in self.headers.items()})
            self.close_connection |= not isinstance(answer, int)
            if isinstance(answer, int):
                self.respond(answer)
            elif isinstance(answer, bytes):
                self.wfile.write(answer)
            elif answer == "silent":
                receiver.ended.wait()

    with http_servers.serve(Handler, port) as url:
        receiver.url = f"{url}/hook"
        try:
            yield receiver
        finally:
            receiver.ended.set()
    assert not receiver.faults


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receive() as made:
        yield made
