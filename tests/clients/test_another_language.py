"""clients/conformance.mjs passes a client in Python, and finds each fault that is planted in it."""

import base64
import contextlib
import json
import shutil
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import skip_without
from tests.support import http_servers
from tests.support.learner_client import VECTORS

CLIENT = Path(__file__).with_name("client_in_python.py").read_text(encoding="utf-8")
DATA = {"itemId": "item_id", "rating": "rating", "due": "due", "intervalDays": "interval_days"}
DATA |= {"durationMs": "duration_ms", "sessionId": "session_id"}
FAULTS = {
    "the newest first": ('entry["wall"], entry["tick"]', '-entry["wall"], -entry["tick"]'),
    "batches of 501": ("False, 500, 0.0", "False, 501, 0.0"),
    "batches of 900,000 bytes": ("800_000", "900_000"),
    "a clock that is a minute wrong": ("MINUTE, UUID = 60_000", "MINUTE, UUID = 50_000"),
    "another id at each call": ('uuid.uuid5(uuid.NAMESPACE_OID, "learner")', "uuid.uuid4()"),
    "a token of somebody else": ("and whose <= {", "or whose <= {"),
    "a proxy's verdict": ('headers.get("progress-error") == "1" and', ""),
    "a 202 that does not add up": (
        'and answer.get("accepted", 0) + len(refused) == len(batch)',
        "",
    ),
    "no pause": ("or asked < self.not_before", ""),
    "times that are not on disk": ("self.outbox.save(settled)", ""),
}


class Killed(BaseException):
    """The program has ended here."""


class World:
    """The device and the server that a vector's steps describe, and a client on the device."""

    def __init__(self, given: dict[str, Any], make: Any) -> None:
        self.given, self.make, self.wall, self.tick = given, make, 0.0, 0.0
        self.sub, self.fatal, self.closes_in_token = "", "", False
        self.answers: list[Any] = []
        self.requests: list[Any] = []
        self.texts: dict[str, str] = {}
        self.start(given.get("learner"))

    def start(self, learner: str | None) -> None:
        self.learner, self.tokens = learner, ["first", "second", "third"]
        clocks = lambda: (self.wall, self.tick)  # noqa: E731 - a line
        self.client = self.make(self.ask, self.token, self, clocks, learner)

    def run(self) -> dict[str, Any]:
        for step in self.given["steps"]:
            try:
                self.perform(*next(iter(step.items())))
            except Killed:
                self.start(self.learner)
        names = ("event", "sub", "moved", "reason")
        entries = sorted(self.load(), key=lambda entry: (entry["wall"], entry["tick"]))
        kept = [{name: e[name] for name in names if e.get(name) is not None} for e in entries]
        return {"requests": self.requests, "outbox": kept}

    def perform(self, step: str, value: Any) -> None:  # noqa: C901 - a case for each step
        match step:
            case "clocks":
                wall = datetime.fromisoformat(value["wall"])
                self.wall, self.tick = wall.timestamp() * 1_000, value["tick"]
            case "pass":
                self.wall, self.tick = self.wall + value, self.tick + value
            case "answers":
                self.answers += value
            case "signIn":
                self.sub = value
            case "kill":
                given = value if isinstance(value, dict) else {}
                self.tick = given.get("tick", self.tick)
                self.start(given.get("learner", self.learner))
            case "killBefore":
                self.fatal = value
            case "discard":
                del self.texts[value]
            case "record":
                first, many = value["ids"] if len(value["ids"]) > 1 else (value["ids"][0], 1)
                for number in range(int(first[24:]), int(first[24:]) + many):
                    pad = {"pad": "é" * value["pad"]} if "pad" in value else {}
                    self.record(
                        value, value["type"], value["data"] | pad, f"{first[:24]}{number:012}"
                    )
            case "reviewed":
                data = {DATA[name]: part for name, part in value["review"].items() if name in DATA}
                self.record(value, "CardReviewed", data, *value["ids"])
            case "flush" | "closeInToken":
                self.closes_in_token = step == "closeInToken"
                with contextlib.suppress(ConnectionError):
                    self.client.flush()

    def record(self, given: Any, kind: str, data: Any, drawn: str = "") -> None:
        options = given.get("options", {})
        self.client.record(kind, data, options.get("id", drawn), options.get("at"))
        self.tick += 1

    def token(self, fresh: bool) -> str:
        if self.closes_in_token:
            self.client.is_closed, self.sub = True, "ben"
        self.tokens = self.tokens[fresh:]
        claims = {"sub": (fresh and self.given.get("fresh")) or self.sub}
        token = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        return f"e30.{token}." if self.sub else self.tokens[0]

    def ask(self, method: str, path: str, bearer: str = "", body: bytes = b"") -> Any:
        request: Any = {"method": method, "path": path}
        if body:
            _, _, claims = bearer.rstrip(".").partition(".")
            sub = claims and json.loads(base64.urlsafe_b64decode(claims + "=="))["sub"]
            request |= {"token": sub or bearer, "events": json.loads(body)}
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else {"lost": True}
        self.perform("pass", answer.get("tookMs", 0))
        self.client.is_closed |= answer.get("close", False)
        if "kill" in answer:
            raise Killed
        if "lost" in answer:
            raise ConnectionError
        told = {"now": answer["now"]} if "now" in answer else answer.get("body", {})
        return answer.get("status", 200), answer.get("headers", {}), told

    def load(self) -> list[Any]:
        return [json.loads(text) for text in self.texts.values()]

    def save(self, entries: list[Any]) -> None:
        self.die("save")
        self.texts |= {entry["event"]["event_id"]: json.dumps(entry) for entry in entries}

    def remove(self, entries: list[Any]) -> None:
        self.die("remove") if entries else None
        for entry in entries:
            del self.texts[entry["event"]["event_id"]]

    def die(self, call: str) -> None:
        if self.fatal == call:
            self.fatal = ""
            raise Killed


def conform(request: pytest.FixtureRequest, text: str) -> tuple[int, str]:
    """Return the exit code and the output of the command for the client with this text."""
    if not shutil.which("node"):
        skip_without(request, "node")
    module: dict[str, Any] = {}
    exec(text, module)  # noqa: S102 - a client of this folder

    class Handler(http_servers.Handler):
        def do_POST(self) -> None:  # noqa: N802 - the name in http.server
            given = json.loads(self.read_body())
            found = {} if "part" in given else World(given, module["Client"]).run()
            self.respond(200 if found else 501, json.dumps(found).encode())

    with http_servers.serve(Handler) as url:
        command = ["node", str(VECTORS.with_name("conformance.mjs")), url]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_client_in_python_does_what_the_vectors_say(request: pytest.FixtureRequest) -> None:
    code, told = conform(request, CLIENT)
    assert code == 0, told


@pytest.mark.exhaustive
@pytest.mark.parametrize("fault", FAULTS)
def test_each_planted_fault_is_found(request: pytest.FixtureRequest, fault: str) -> None:
    sound, broken = FAULTS[fault]
    assert CLIENT.count(sound) == 1
    code, told = conform(request, CLIENT.replace(sound, broken))
    assert code == 1, told
