"""clients/conformance.mjs passes a client in Python, and finds each fault that is planted in it."""

import base64
import contextlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.client_in_python import ms, named
from tests.conftest import skip_without
from tests.support import http_servers
from tests.support.learner_client import VECTORS

CLIENT = Path(__file__).with_name("client_in_python.py").read_text(encoding="utf-8")
FAULTS = {
    "the newest first": ('entry["wall"], entry["tick"]))', '-entry["wall"], -entry["tick"]))'),
    "batches of 501": ("False, 500, None", "False, 501, None"),
    "batches of 900,000 bytes": ("800_000", "900_000"),
    "a clock that is a minute wrong": ("MINUTE, UUID = 60_000", "MINUTE, UUID = 50_000"),
    "another id at each call": ('uuid.uuid5(uuid.NAMESPACE_OID, "learner")', "uuid.uuid4()"),
    "a token of somebody else": ("and named(self.bearer) in (None, self.learner)", ""),
    "a proxy's verdict": ('headers.get("progress-error") == "1"', "True"),
    "a 202 that does not add up": ("and is_whole ", ""),
    "no pause": ("and asked >= self.not_before[kind_of(entry)]", ""),
    "a pause of both kinds": ("{kind_of(batch[0])} if is_of_kind else ", ""),
    "lists before answers": ("(kind_of(entry), entry", "(len(kind_of(entry)), entry"),
    "events in one instant": ("self.times.get(subject, 0) + 2", "0"),
    "a run that is cut": ('moves.get(event["event_id"], difference', "(difference"),
    "a run that ends in the next": ("first - 1)", "inf)"),
    "times that are not on disk": ("self.device.save(settled)", ""),
}


class Killed(BaseException):
    """The program has ended here."""


class Device:
    """The device and the server that a vector's steps describe, and a client on the device."""

    def __init__(self, vector: dict[str, Any], make: Any) -> None:
        self.make, self.learner, self.fresh = make, vector.get("learner"), vector.get("fresh")
        self.sub = self.killed_before = ""
        self.wall, self.tick = 0, 0
        self.answers: list[Any] = []
        self.requests: list[Any] = []
        self.outbox: dict[str, str] = {}
        self.start()
        for step in vector["steps"]:
            try:
                self.perform(*next(iter(step.items())))
            except Killed:
                self.start()

    def start(self) -> None:
        self.tokens = ["first", "second"]
        self.client = self.make(self, self.learner)

    def perform(self, step: str, value: Any) -> None:
        match step:
            case "clocks":
                self.wall, self.tick = ms(value["wall"]), value["tick"]
            case "pass":
                self.wall, self.tick = self.wall + value, self.tick + value
            case "answers":
                self.answers += value
            case "signIn":
                self.sub = value
            case "killBefore":
                self.killed_before = value
            case "kill":
                vars(self).update({} if value is True else value)
                self.start()
            case "discard":
                del self.outbox[value]
            case "record" | "reviewed":
                self.record(value)
            case "flush" | "closeInToken":
                self.closes_in_token = step == "closeInToken"
                with contextlib.suppress(ConnectionError):
                    self.client.flush()

    def record(self, given: Any) -> None:
        review = {name: part for name, part in given.get("review", {}).items() if name != "id"}
        fields = {re.sub("(?=[A-Z])", "_", name).lower(): part for name, part in review.items()}
        data = given.get("data", fields)
        if "pad" in given:
            data = {**data, "pad": "é" * given["pad"]}
        first, many = [*(given["ids"] or ["0" * 36]), 1][:2]
        for number in range(int(first[24:]), int(first[24:]) + many):
            own = {"id": f"{first[:24]}{number:012}", "at": None} | given.get("options", {})
            self.client.record(given.get("type", "CardReviewed"), data, own["id"], own["at"])
            self.tick += 1

    def clocks(self) -> tuple[float, float]:
        return self.wall, self.tick

    def token(self, fresh: bool) -> str:
        if self.closes_in_token:
            self.client.is_closed, self.sub = True, "ben"
        self.tokens = self.tokens[fresh:]
        sub = (fresh and self.fresh) or self.sub
        claims = base64.urlsafe_b64encode(json.dumps({"sub": sub}).encode()).decode()
        return f"e30.{claims.rstrip('=')}." if sub else self.tokens[0]

    def ask(self, method: str, path: str, bearer: str = "", body: str = "") -> Any:
        request: Any = {"method": method, "path": path}
        if body:
            request |= {"token": named(bearer) or bearer, "events": json.loads(body)}
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else {"lost": True}
        self.perform("pass", answer.get("tookMs", 0))
        self.client.is_closed |= answer.get("close", False)
        if "record" in answer:
            self.record(answer["record"])
        if "kill" in answer:
            raise Killed
        if "lost" in answer:
            raise ConnectionError
        told = {"now": answer["now"]} if "now" in answer else answer.get("body", {})
        return answer.get("status", 200), answer.get("headers", {}), told

    def describe(self) -> dict[str, Any]:
        entries = sorted(self.load(), key=lambda entry: (entry["wall"], entry["tick"]))
        names = ("event", "sub", "moved", "reason")
        kept = [{n: each[n] for n in names if each.get(n) is not None} for each in entries]
        return {"requests": self.requests, "outbox": kept}

    def load(self) -> list[Any]:
        return [json.loads(text) for text in self.outbox.values()]

    def save(self, entries: list[Any], call: str = "save") -> None:
        if entries and self.killed_before == call:
            self.killed_before = ""
            raise Killed
        self.outbox |= {entry["event"]["event_id"]: json.dumps(entry) for entry in entries}

    def remove(self, entries: list[Any]) -> None:
        self.save(entries, "remove")
        for entry in entries:
            del self.outbox[entry["event"]["event_id"]]


def conform(request: pytest.FixtureRequest, text: str) -> tuple[int, str]:
    if not shutil.which("node"):
        skip_without(request, "node")
    module: dict[str, Any] = {}
    exec(text, module)  # noqa: S102 - a client of this folder

    class Handler(http_servers.Handler):
        def do_POST(self) -> None:
            given = json.loads(self.read_body())
            found = {} if "part" in given else Device(given, module["Client"]).describe()
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
