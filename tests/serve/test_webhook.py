"""What leaves `progress serve` by WEBHOOK_URL, also if processes die and the receiver fails."""

import contextlib
import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from progress.serve import ports, readiness
from tests.support import http_servers, published, recent_events, sample_events, served, webhooks
from tests.support.served import Served
from tests.support.webhooks import Reaction

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "milestones.py"
LEARNERS = [f"learner {n}" for n in range(6)]


@pytest.fixture(scope="module")
def port() -> int:
    return ports.reserve()


@pytest.fixture(scope="module")
def hook(port: int) -> dict[str, str]:
    url = f"http://127.0.0.1:{port}/hook"
    return {"WEBHOOK_URL": url, "WEBHOOK_SECRET": webhooks.make_secret(), "PUBLISH_EVENTS": "all"}


@pytest.fixture(scope="module")
def system(hook: dict[str, str]) -> Iterator[Served]:
    with served.run(**hook) as made:
        yield made


def test_nothing_is_lost_while_project_is_killed_and_the_receiver_fails(
    system: Served, port: int, hook: dict[str, str]
) -> None:
    chance = random.Random(7)
    reactions: list[Reaction] = [204, 204, 204, 500, "cut", b"HTTP/1.1 301 Moved\r\n\r\n"]

    with webhooks.receive(port) as receiver:
        receiver.secret = hook["WEBHOOK_SECRET"]
        receiver.react = lambda _: chance.choice(reactions)
        for number in range(1, 9):
            system.post_events(*(sample_events.lesson(each, number) for each in LEARNERS[:3]))
            if number % 3 == 0:
                system.signal("project", signal.SIGKILL)
        receiver.react = lambda _: "silent"
        system.post_events(*(sample_events.lesson(each, 1) for each in LEARNERS[3:]))
        system.await_projection()  # the receiver is silent, and the page is not behind
        receiver.react = lambda _: 204
        receiver.ended.set()
        assert system.run("batch").returncode == 0  # it wakes shards that a killed process has left
        with contextlib.closing(system.connect()) as connection:
            due = {str(event.event_id) for event in published.read_log(connection)}
            receiver.wait(lambda: due <= {*receiver.ids})
            published.check(connection, receiver.pubsub(), "all")


def test_the_receiver_of_the_document_tells_a_chat_who_reached_a_milestone(
    system: Served, port: int, hook: dict[str, str]
) -> None:
    code = EXAMPLE.read_text(encoding="utf-8").partition("\n\n")[2].rstrip()
    assert f"```python\n{code}\n```" in (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    told: list[Any] = []

    class Chat(http_servers.Handler):
        def do_POST(self) -> None:
            told.append(json.loads(self.read_body())["text"])
            self.respond(200, b"ok")

    with http_servers.serve(Chat) as chat:
        environment = {**hook, "CHAT_URL": chat}
        command = [sys.executable, str(EXAMPLE), str(port)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as example:
            try:
                readiness.wait(lambda: ports.is_listening(port), "the receiver")
                days = [event for ago in range(7) for event in recent_events.study("deb", ago)]
                system.post_events(days)
                readiness.wait(
                    lambda: "deb: a streak of 7 days" in told, "the milestone", seconds=60
                )
            finally:
                example.terminate()
