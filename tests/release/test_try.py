"""`infra/try`: a learner's day in an environment for development, here a local stack."""

import json
import re
import runpy
import signal
import sys
import uuid
import webbrowser
from collections.abc import Callable, Sequence

import day
import gcloud
import pytest

from progress.serve import development_key
from tests.support import local_stack
from tests.support.local_stack import Stack
from tests.support.terraform import REPOSITORY

pytestmark = pytest.mark.exhaustive

Try = Callable[..., tuple[int, list[str]]]


stack = pytest.fixture(local_stack.started, scope="module", name="stack")


@pytest.fixture
def learner() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def published(stack: Stack, learner: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let gcloud reach the stack; return the topic of each message that it publishes."""
    topics: list[str] = []

    def run_gcloud(words: Sequence[str], _seconds: float) -> str:
        if words[0] == "pubsub":
            topics.append(words[3])
            (message,) = (word for word in words if word.startswith("--message="))
            stack.push_raw(message.removeprefix("--message=").encode())
            return ""
        if words[0] == "auth":
            return development_key.token(stack.folder.key, learner, []) + "\n"
        return json.dumps({"status": {"url": f"http://127.0.0.1:{stack.port}"}})

    monkeypatch.setattr(gcloud, "run", run_gcloud)
    monkeypatch.setattr(day, "_INTERVAL_S", 0.05)
    return topics


@pytest.fixture
def run_try(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Try:
    """Run infra/try; return its exit code and its lines, of which the last is what it opens."""
    monkeypatch.setattr(webbrowser, "open", print)

    def run(*arguments: str) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["infra/try", *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(REPOSITORY / "infra" / "try"), run_name="__main__")
        output = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, (output.out + output.err).splitlines()

    return run


def test_a_learners_day_goes_from_pubsub_to_the_page(
    run_try: Try, stack: Stack, learner: str, published: list[str]
) -> None:
    page = f"http://127.0.0.1:{stack.port}/"
    for _ in range(2):  # the second day is another session on the same day
        code, lines = run_try("dev")
        assert code == 0, lines
        assert lines[0] == f"a day of the learner {learner} is published: 6 events"
        assert lines[-3:] == ["streak: 1 day", f"page: {page} (sign in there with the token)", page]
    assert published == ["learning-events"] * 2


def test_a_token_that_is_given_is_the_learners(
    run_try: Try, stack: Stack, published: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = development_key.token(stack.folder.key, "ann", [])
    monkeypatch.setenv("TOKEN", f"{token[:-9]}AAAAAAAAA")
    _, (line,) = run_try("dev")
    assert re.fullmatch(r"try: http://\S+ rejected the token: .* its signature is wrong", line)
    assert published == []


def test_a_message_that_is_not_recorded_says_where_to_look(
    run_try: Try, published: list[str], stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "push_raw", lambda *_args, **_more: None)
    monkeypatch.setattr(day, "_ANSWERED_S", 0.5)
    code, lines = run_try("dev")
    assert code == 1
    assert "the published event was not recorded: look at the logs of progress-ingest" in lines[-1]


def test_a_message_that_is_not_folded_says_where_to_look(
    run_try: Try, published: list[str], stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(day, "_ANSWERED_S", 8)  # until then, a busy machine has recorded it
    with stack.pause_supervisor():
        stack.signal("project", signal.SIGSTOP)
        try:
            code, lines = run_try("dev")
        finally:
            stack.signal("project", signal.SIGCONT)
    assert code == 1
    assert "recorded, but not folded: look at the logs of progress-project" in lines[-1]


def test_without_gcloud_one_line_says_what_to_do(
    run_try: Try, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nothing")
    assert run_try("dev") == (1, [f"try: {gcloud.MISSING}"])


@pytest.mark.parametrize("arguments", [(), ("prod",), ("staging",), ("dev", "dev")])
def test_only_an_environment_for_development_gets_a_learners_day(
    run_try: Try, published: list[str], arguments: tuple[str, ...]
) -> None:
    assert run_try(*arguments) == (2, ["usage: infra/try dev"])
    assert published == []
