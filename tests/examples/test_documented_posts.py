"""The documents' programs post valid events; Google's client and emulator reach ingest, too."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from progress import files, settings
from progress.adapters.postgres.database import Connection
from progress.projections.projector import Projector
from progress.serve import ports, processes, readiness
from tests.conftest import skip_without
from tests.support import cli, local_stack, model_rows, programs, stage
from tests.support.envelopes import answer, session_started
from tests.support.fake_publisher import FakePublisher
from tests.support.posts import NotedIngest

DOCS = files.ROOT / "docs"
WRONG = "4a7d1c9e-0b7f-4b43-9d2c-6f1e8a5b3c22"  # the answer that events.md retracts
COMMANDS = {"sh": ["bash", "-e"], "go": ["go", "run"], "python": [sys.executable]}


def list_blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", text)


@pytest.mark.parametrize(
    ("page", "language", "kinds"),
    [
        ("publishing.md", "sh", ["SessionStarted"]),
        ("publishing.md", "go", ["SessionCompleted"]),
        ("events.md", "sh", ["EventRetracted", "CorrectAnswerGiven"]),
        ("events.md", "python", ["EventRetracted", "CorrectAnswerGiven"]),
    ],
)
def test_each_program_posts_valid_events(
    noted_ingest: NotedIngest,
    connection: Connection,
    tmp_path: Path,
    *,
    page: str,
    language: str,
    kinds: list[str],
) -> None:
    text, *_ = list_blocks(page, language)
    stage.append(connection, [session_started("s-1", "u-1"), answer("s-1", event_id=WRONG)])
    if language == "go" and not shutil.which("go"):
        [event] = re.findall(r"= `(\{.*?\})`", text, re.DOTALL)
        done = cli.progress("", "publish", "--check", "-", text=event)
        assert cli.expect_success(done) == "no fault in 1 event\n"
        return
    (tmp_path / f"program.{language}").write_text(text, encoding="utf-8")
    command = [*COMMANDS[language], f"program.{language}"]
    environment = settings.child_env(**noted_ingest.environment)
    told = json.loads(programs.run(command, environment, folder=tmp_path))
    assert told["dead_letters"] == []
    assert [event["event_type"] for event in noted_ingest.events] == kinds
    Projector(connection).catch_up_all()
    assert model_rows.find_mistakes(connection) == []


def test_google_s_client_publishes_a_lesson_to_its_topic(fake_publisher: FakePublisher) -> None:
    environment = settings.child_env(PUBSUB_EMULATOR_HOST=fake_publisher.address, PROJECT="p")
    command = [sys.executable, "examples/publish.py", "ann"]
    assert "published 4 events of ann" in programs.run(command, environment, folder=files.ROOT)
    (message,) = fake_publisher.messages("learning-events")
    done = cli.progress("", "publish", "--check", "--strict", "-", text=message.data.decode())
    assert cli.expect_success(done) == "no fault in 4 events\n"


@pytest.mark.exhaustive
def test_google_s_emulator_pushes_to_the_local_stack(request: pytest.FixtureRequest) -> None:
    gcloud, java = (shutil.which(name) for name in ("gcloud", "java"))
    sdk = Path(gcloud).resolve().parent.parent if gcloud and java else Path("/nowhere")
    if not (jars := [*sdk.glob("platform/pubsub-emulator/lib/cloud-pubsub-emulator-*.jar")]):
        skip_without(request, "pubsub-emulator")
    port = ports.reserve()
    command = [java or "", "-jar", str(jars[0]), f"--port={port}", f"--host={ports.HOST}"]
    subscribe = list_blocks("publishing.md", "sh")[1]
    with local_stack.create() as stack:
        emulator = processes.start(
            command, output=subprocess.DEVNULL, environment=settings.child_env()
        )
        try:
            stack.up()
            readiness.wait(lambda: ports.is_listening(port), "the emulator", seconds=120)
            environment = settings.child_env(
                PUBSUB_EMULATOR_HOST=f"{ports.HOST}:{port}",
                PROJECT="local",
                PROGRESS_DATA_DIR=str(stack.folder.path),
            )
            text = subscribe.replace(".venv/bin/progress", " ".join(cli.COMMAND))
            lesson = [sys.executable, "examples/publish.py", "ann"]
            for each in (["bash", "-euc", text], lesson):
                programs.run(each, environment, folder=files.ROOT)
            query = "{ userProgress { totalSessionsCompleted } }"
            readiness.wait(
                lambda: stack.ask("ann", query) == {"userProgress": {"totalSessionsCompleted": 1}},
                "the lesson",
                seconds=60,
            )
        finally:
            processes.end(emulator, by=signal.SIGTERM, seconds=10)
