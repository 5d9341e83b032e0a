"""Log lines are valid JSON for any text, and contain no email address, token or password."""

import io
import json
import sys
import time
import timeit
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from progress import settings
from progress.adapters.telemetry import lines, logs, tracing
from tests.support import programs

Capture = pytest.CaptureFixture[str]

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_OPAQUE = st.text(_LETTERS + "-_", min_size=12, max_size=40)
_PASSWORD = st.text(_LETTERS + "!$%&()*+,-.;<=>[]^_{|}~@:/#?", min_size=8, max_size=30)
_TEXT = st.text(max_size=40)
_WORDS = st.sampled_from(["", "no answer from ", "x", "(", "'", '"', "\n", "é", "://", "a@b.c "])

# A text and the secret in the text.
Secret = tuple[str, str]


def _named(name: str, parting: str, secret: str) -> Secret:
    return f"{name}{parting}{secret}", secret


_NAMES = ("password", "PASSWORD", "passwd", "Passphrase", "pwd", "client_secret", "api_key",
          "access_token", "refresh_token", "apikey", "X-Api-Key", "PGPASSWORD")  # fmt: skip

_SECRETS = st.one_of(
    st.builds(
        lambda head, body, sign: (f"eyJ{head}.eyJ{body}.{sign}", f"{body}.{sign}"),
        _OPAQUE, _OPAQUE, _OPAQUE,
    ),
    st.builds(_named, st.sampled_from(["Bearer ", "bearer ", "BEARER  ", "Bearer%20"]),
              st.just(""), _OPAQUE),
    st.builds(_named, st.sampled_from(["Authorization: Basic ", "'authorization': 'Basic ",
                                       "b'authorization', b'Bearer "]), st.just(""), _OPAQUE),
    st.builds(_named, st.sampled_from(_NAMES), st.sampled_from(["=", ": ", " = "]), _OPAQUE),
    st.builds(
        lambda name, quote, secret: (f"{name}={quote}{secret} {secret}{quote}", secret),
        st.sampled_from(_NAMES), st.sampled_from("'\""), _OPAQUE,
    ),
    st.builds(lambda name, secret: (json.dumps({name: secret}), secret),
              st.sampled_from(_NAMES), _OPAQUE),
    st.builds(lambda secret: (f"#token={secret}", secret), _OPAQUE),
    st.builds(
        lambda user, password, host: (f"postgresql://{user}:{password}@{host}/db", password),
        _OPAQUE, _PASSWORD, st.sampled_from(["db.example", "127.0.0.1:5432", "[::1]"]),
    ),
    st.builds(lambda local: (f"{local}@example.com", local[1:]), _OPAQUE),
    st.builds(lambda local: (f"{local}%40example.com", local), _OPAQUE),
    st.builds(lambda local: (json.dumps(f"{local}@x.y").replace("@", "\\u0040"), local[1:]),
              _OPAQUE),
)  # fmt: skip


@given(secret=_SECRETS, before=_TEXT | _WORDS, after=_WORDS)
@example(("password='it''s hush-hush-hush'", "hush-hush-hush"), "", "")
@example(('{\\"password\\":\\"hush-hush-hush\\"}', "hush-hush-hush"), "", "")
@example(("redis://:hush-hush-hush@cache:6379/0", "hush-hush-hush"), "", "")
@example(("password=hush-hush-hush", "hush-hush-hush"), "password=", "")
@example(("ALTER ROLE progress_query PASSWORD 'hush-hush-hush'", "hush-hush-hush"), "", "")
@example(("-----BEGIN PRIVATE KEY-----\nhush-hush\n-----END PRIVATE KEY-----", "hush"), "", "")
@example(("-----BEGIN RSA PRIVATE KEY-----\\nhush-hush", "hush"), "x", "")
@example(("ya29.a0hush-hush_hush.hush", "hush"), "refreshed: ", "")
@example(('Failing row contains (7, {"said": "hush\\n hush)."}).', "hush"), "DETAIL:  ", "x")
@example(("{'D': 'Failing row contains (7, hush-hu', 'n': 'said'", "hush"), "", "x")
def test_a_secret_is_masked_anywhere_in_a_line(secret: Secret, before: str, after: str) -> None:
    visible, hidden = secret
    text = f"{before}{visible} {after}"
    line = _line("ERROR", text, stack_trace=f'File "x", line 1\n  {text}\nOSError: {text}')
    if hidden not in before + after:
        assert hidden not in json.dumps(line, ensure_ascii=False)
    assert line["severity"] == "ERROR"


@given(st.lists(_TEXT | st.just("")), st.text())
def test_any_text_is_logged_on_one_line_and_masking_is_idempotent(
    words: list[str], more: str
) -> None:
    text = " ".join([*words, more])
    line = _line("INFO", text)
    once = lines.mask_secrets(text)
    assert line["message"] == once
    assert lines.mask_secrets(once) == once


@pytest.mark.parametrize(
    "text",
    ["password authentication failed for user \"progress_query\"",
     "expected an integer - at $.data.score",
     "Key (stream_id, stream_version)=(learner-u, 3) already exists.",
     "no connection to Address(host='/run/postgresql', port=5432): [Errno 2]",
     "the token is expired", "shard 3: a window of 500 failed: secret agents pass by"],
)  # fmt: skip
def test_text_that_operators_need_is_not_masked(text: str) -> None:
    assert lines.mask_secrets(text) == text


def test_masking_takes_linear_time() -> None:
    """Masking a text that is 16 times as long takes about 16 times as long, not 256 times."""
    for piece in ["a@", "://", "password=", "eyJ", "Bearer ", "%40", "'", "\\u0040"]:
        short, long = (_work(piece * count) for count in (1_000, 16_000))
        assert long < 64 * short


def _work(text: str) -> float:
    """Return the CPU time of masking the text, in seconds: the minimum of five runs."""
    return min(
        timeit.repeat(lambda: lines.mask_secrets(text), number=3, repeat=5, timer=time.process_time)
    )


def test_secrets_in_values_of_any_type_are_masked_numbers_are_kept_and_none_is_omitted() -> None:
    class Odd:
        def __str__(self) -> str:
            return "password=hush-hush"

    assert "hush" not in json.dumps(_line("INFO", "x", shard=Odd(), learners=["ann@example.com"]))
    line = _line("INFO", "ann@example.com", shard=3, latency_ms=1.5, event_delay_ms=None)
    assert datetime.now(UTC) - datetime.fromisoformat(line["time"]) < timedelta(minutes=1)
    del line["time"]
    assert line == {
        "severity": "INFO", "message": "a***@example.com", "shard": 3, "latency_ms": 1.5
    }  # fmt: skip


_SCRIPT = """
import logging, sys, threading, warnings
from gunicorn.config import Config
from gunicorn.glogging import Logger
from progress.adapters.telemetry import logs

logs.configure("query")
server = Logger(Config())  # with its own handler, as in the framework
logging.getLogger("uvicorn.error").handlers = server.error_log.handlers
server.info("token=hush-hush")

class EmptyOSError(OSError):
    __len__ = lambda _: 0  # it is false

def fail():
    raise EmptyOSError("password=hush-hush from ann@example.com")

try:
    fail()
except OSError:
    server.exception("Error handling request /?token=hush-hush")
    logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    logging.getLogger("somebody").exception("of a library, to ann@example.com")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
warnings.warn("password=hush-hush", stacklevel=1)
type("Broken", (), {"__del__": lambda _: fail()})()
raise ExceptionGroup("of tasks", [EmptyOSError("password=hush-hush from ann@example.com")])
"""


def test_messages_of_libraries_warnings_and_errors_are_logged_as_masked_lines() -> None:
    ran = programs.try_run([sys.executable, "-c", _SCRIPT])
    assert (ran.returncode, ran.stderr) == (1, "")
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    severities = ["INFO", *["ERROR"] * 3, "CRITICAL", "WARNING", "WARNING", "CRITICAL"]
    assert [line["severity"] for line in lines] == severities
    assert "UserWarning" in lines.pop(5)["message"]
    assert lines[-1]["message"].startswith("not caught: password=***")
    assert all("EmptyOSError: password=***" in line["stack_trace"] for line in lines[1:])
    assert "hush" not in ran.stdout
    assert "ann@" not in ran.stdout


def test_a_log_line_with_a_lone_surrogate_is_written(capsys: Capture) -> None:
    logs.write("ERROR", "what is \ud800?")
    assert json.loads(capsys.readouterr().out)["message"] == "what is \ud800?"


@pytest.mark.parametrize("project", ["effect-local", "learners"])
def test_a_trace_belongs_to_a_project_only_on_google_cloud(
    monkeypatch: pytest.MonkeyPatch, project: str
) -> None:
    monkeypatch.setenv("PUBSUB_PROJECT_ID", project)
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    with tracing.use_trace(f"00-{trace_id}-b7ad6b7169203331-01"):
        trace = _line("INFO", "x")["logging.googleapis.com/trace"]
    prefix = "" if project == settings.LOCAL_PROJECT else f"projects/{project}/traces/"
    assert trace == prefix + trace_id


def _line(severity: logs.Severity, message: str, **fields: object) -> dict[str, Any]:
    before, sys.stdout = sys.stdout, io.StringIO()
    try:
        logs.write(severity, message, **fields)
        written: dict[str, Any] = json.loads(sys.stdout.getvalue())
    finally:
        sys.stdout = before
    return written
