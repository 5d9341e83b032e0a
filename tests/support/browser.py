"""The learner's page in a real Chromium, over a real local stack that has the demo's record."""

import json
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import axe_playwright_python
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

from progress import settings
from progress.demo import loading
from progress.local import data_folder, development_key, ports
from tests.support import folders, programs

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
DEMO = loading.LEARNER.user_id

Envelope = dict[str, Any]

_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
_STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Who comes back from the sign-in has begun it in this tab.
STATE = "f" * 32
_BEGUN = f"""
if (location.search === '?state={STATE}') sessionStorage.setItem('progress.state', '{STATE}');
"""
_LISTENERS = """
window.violations = [];
addEventListener('securitypolicyviolation', (event) =>
  violations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`));
window.shifts = [];
new PerformanceObserver((list) => shifts.push(...list.getEntries()
  .filter((entry) => !entry.hadRecentInput)
  .map((entry) => [entry.value, ...entry.sources.map((each) => each.node?.className ?? '')])))
  .observe({ type: 'layout-shift', buffered: true });
"""


@dataclass(frozen=True)
class Stack:
    """A local stack, driven by the commands."""

    folder: Path
    port: int

    @property
    def page(self) -> str:
        return f"http://{ports.HOST}:{self.port}/"

    def progress(self, *command: str, text: str = "") -> str:
        """What the command prints; it must succeed."""
        environment = settings.inherited(
            PROGRESS_DATA_DIR=str(self.folder), RATE_LIMIT_PER_MINUTE="100000"
        )
        return programs.run(
            [sys.executable, "-m", "progress.cli", *command], environment, text=text
        )

    def publish(self, *envelopes: Envelope) -> None:
        lines = [json.dumps(each, ensure_ascii=False) for each in envelopes]
        self.progress("publish", "-", text="\n".join(lines))

    def token(self, user: str, role: str = "learner") -> str:
        """One that `progress token` would print."""
        return development_key.token(data_folder.at(str(self.folder)).key, user, [role])


@contextmanager
def stack() -> Iterator[Stack]:
    """A stack with the demo's learner, for as long as the block lasts."""
    with folders.create("page") as folder:
        made = Stack(folder, ports.reserve())
        try:
            made.progress("demo", "--port", str(made.port))
            yield made
        finally:
            made.progress("down")


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium, for as long as the block lasts. No event loop of asyncio's runs beside it."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=PROGRAM, args=_OPTIONS)
        yield started
        started.close()


@dataclass
class Visit:
    """A page that is looked at, and what it did that nobody would see."""

    stack: Stack
    context: BrowserContext
    page: Page = field(init=False)
    requests: list[Request] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.add_init_script(_LISTENERS)
        self.context.add_init_script(_BEGUN)
        self.page = self.context.new_page()
        # Not the list's own method: playwright leaves a mark on what it calls.
        self.page.on("request", lambda request: self.requests.append(request))  # noqa: PLW0108
        self.page.on("pageerror", lambda error: self.faults.append(f"{error}"))

    def open(self, user: str = DEMO, role: str = "learner", at: str = "") -> Page:
        """The page with its numbers, by a learner who has come back from the sign-in."""
        self.page.goto(self.back(self.stack.token(user, role)))
        self.settle()
        if at:
            self.page.evaluate("at => { location.hash = at }", at)
            self.settle()
        return self.page

    def back(self, token: str) -> str:
        """The address to which the sign-in sends whoever has this token."""
        return f"{self.stack.page}?state={STATE}#token={token}"

    def settle(self) -> None:
        """Until what was asked for is there."""
        self.page.wait_for_selector("main[aria-busy=false]:not(:has(.skeleton))")

    def questions(self) -> list[Request]:
        """The requests to the API, streams apart."""
        return [each for each in self.requests if urlsplit(each.url).path == "/graphql"]

    def check(self) -> None:
        """That nothing failed unseen, nothing broke the policy and nobody else was asked."""
        assert self.faults == []
        assert self.page.evaluate("window.violations ?? []") == []
        own = (self.stack.page, "data:")
        assert [each.url for each in self.requests if not each.url.startswith(own)] == []

    def offences(self) -> list[str]:
        """What axe finds wrong with what is shown now."""
        self.page.evaluate(_AXE)
        found = self.page.evaluate(
            "tags => axe.run({ runOnly: tags, resultTypes: ['violations'] })", _STANDARDS
        )
        return [
            f"{fault['id']}: {node['html'][:200]} {node['failureSummary']}"
            for fault in found["violations"]
            for node in fault["nodes"]
        ]


def envelope(kind: str, at: datetime, **data: object) -> Envelope:
    """An event that happened at `at`."""
    moment = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    identity = str(uuid.uuid4())
    return {"event_id": identity, "event_type": kind, "occurred_at": moment, "data": data}


def lesson(
    user: str, right: int, wrong: int = 0, *, back: timedelta = timedelta(0), item: str = "i"
) -> list[Envelope]:
    """A finished session with so many answers, as long ago as `back`."""
    at = datetime.now(UTC) - back
    session, answers = str(uuid.uuid4()), right + wrong
    named = {"session_id": session}
    given = ["CorrectAnswerGiven"] * right + ["IncorrectAnswerGiven"] * wrong
    return [
        envelope("SessionStarted", at, user_id=user, item_count=answers, **named),
        *(envelope(kind, at, item_id=item, response_time_ms=900, **named) for kind in given),
        envelope("SessionCompleted", at, user_id=user, score=80, duration_seconds=600, **named),
    ]
