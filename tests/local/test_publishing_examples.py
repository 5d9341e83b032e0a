"""The examples in docs/publishing.md publish valid events over REST, to the local Pub/Sub."""

import contextlib
import http.client
import re
import shutil
import subprocess
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from progress import settings
from progress.event_store import envelope
from progress.event_store.envelope import Message, ParsedEvent
from tests.support.pubsub_servers import Pubsub

DOCUMENT = Path(__file__).parents[2] / "docs" / "publishing.md"
EXAMPLES: dict[str, str] = dict(
    re.findall(r"(?ms)^```(\w+)\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"))
)
COMMANDS = {"sh": ["bash", "-e"], "go": ["go", "run"]}
FILES = {"sh": "publish.sh", "go": "publish.go"}


@pytest.mark.parametrize("language", ["sh", "go"])
def test_each_example_publishes_a_valid_event(
    pubsub: Pubsub, tmp_path: Path, language: str
) -> None:
    if not shutil.which(COMMANDS[language][0]):
        pytest.skip(f"needs {COMMANDS[language][0]}")
    project = f"docs-{uuid.uuid4()}"
    topic = f"projects/{project}/topics/learning-events"
    pubsub.publisher.create_topic(name=topic)
    subscription = pubsub.subscribe(topic)
    (tmp_path / FILES[language]).write_text(EXAMPLES[language], encoding="utf-8")
    printed = subprocess.run(
        [*COMMANDS[language], FILES[language]],
        cwd=tmp_path,
        env=settings.child_env(PUBSUB_URL=pubsub.rest_url, PROJECT=project),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert printed.returncode == 0, printed.stderr
    assert "messageIds" in printed.stdout
    [received] = pubsub.pull(subscription, 1)
    check_event(received.message.data)


def test_the_event_of_the_go_example_is_valid() -> None:
    [event] = re.findall(r"= `(\{.*?\})`", EXAMPLES["go"], re.DOTALL)
    check_event(event.encode())


def check_event(data: bytes) -> None:
    entries = envelope.decode(data, Message())
    assert [type(entry) for entry in entries] == [ParsedEvent]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("projects/p/topics/missing:publish", '{"messages": [{"data": "e30="}]}', 404),
        ("projects/p/topics/missing", "{}", 404),
        ("projects/p/topics/t:publish", '{"messages": [{"data": "e30=", "colour": 1}]}', 400),
        ("projects/p/topics/t:publish", '{"messages": [{}]}', 400),
        ("projects/p/topics/t:publish", "garbage", 400),
    ],
)
def test_the_stand_in_and_the_emulator_reject_an_invalid_request_with_the_same_status(
    pubsub: Pubsub, path: str, body: str, status: int
) -> None:
    connection = http.client.HTTPConnection(urlsplit(pubsub.rest_url).netloc)
    with contextlib.closing(connection):
        connection.request("POST", f"/v1/{path}", body, {"Content-Type": "application/json"})
        assert connection.getresponse().status == status
