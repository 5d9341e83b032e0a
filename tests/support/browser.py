"""The learner's page in Chromium, on a local stack with the demo's data."""

import csv
import io
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import axe_playwright_python
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Request,
    Route,
    WebSocket,
    expect,
    sync_playwright,
)

from progress import settings
from progress.demo import loading
from progress.serve import readiness
from tests.support import folders, http_client, local_stack, recent_events
from tests.support.local_stack import Envelope, Stack

# The headless shell comes first: it has no window, and takes half as much CPU time as Chromium.
_PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser")
PROGRAM = next(filter(None, map(shutil.which, _PROGRAMS)), None)
APP = "https://app.example/learn"
_WORDS = "&".join(f"{name}={{{name}}}" for name in settings.APP_PLACEHOLDERS)
DEMO = loading.LEARNER.user_id
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
}

expect.set_options(timeout=60_000)  # ms; a page takes seconds on a busy machine

OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    "--disable-software-rasterizer",  # an emulated GPU takes more CPU time than no GPU
    # Fewer processes take less CPU time. Not one for all pages: they would go online together, but
    # Playwright lets each page go online alone.
    *("--in-process-gpu", "--enable-features=NetworkServiceInProcess2"),
    "--js-flags=--no-opt",  # most pages are closed before optimised code is worth it
]
_IGNORED = ["--enable-unsafe-swiftshader"]
if folders.has_memory():
    _IGNORED.append("--disable-dev-shm-usage")  # it would share memory through files on a disk
AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_OF_COLOURS = ["color-contrast", "link-in-text-block"]
# The days of a year have one template. axe takes seconds for all 366, so it checks four weeks.
_ALIKE = ["table.year td:nth-child(n+6)"]
# Follows a link of the page, and resolves once the page has begun to show the view.
_MOVE = """at => location.hash === at || new Promise((resolve) => {
  addEventListener('hashchange', () => resolve(), { once: true });
  const link = document.body.appendChild(Object.assign(document.createElement('a'), { href: at }));
  link.click();
  link.remove();
})"""
# True once each part of the view has arrived, also those that are loaded when they are seen: an
# observer that begins now is told no earlier than those of the page. To be called in each frame.
_HAS_SETTLED = """() => {
  const view = ':root:not([data-arriving]) main[aria-busy=false]:not(:has(.skeleton))';
  if (!document.querySelector(view)) window.settling = null;
  else if (!window.settling) window.settling = { frames: 0 };
  else if (window.settling.frames > 1) return !(window.settling = null);
  else if (!window.settling.observer) {
    const settling = window.settling;
    settling.observer = new IntersectionObserver(() => {
      settling.observer.disconnect();
      Object.assign(settling, { frames: settling.frames + 1, observer: null });
    });
    settling.observer.observe(document.body);
  }
  return false;
}"""
# The page accepts a token only in a tab that stored this state when the sign-in started.
STATE = "f" * 32
_STATE_SCRIPT = f"""
if (location.search === '?state={STATE}') sessionStorage.setItem('progress.state', '{STATE}');
"""
# A browser with a window has loaded the icon, too; the headless shell loads it only now.
_TRANSFERRED = """async () => {
  await (await fetch(document.querySelector('link[rel=icon]').href)).text();
  return performance.getEntries()
    .filter((entry) => entry.entryType === 'navigation' || entry.name.includes('/page/'))
    .map((entry) => entry.transferSize);
}"""
# The labels of the charts that have values for a screen reader neither in the label nor in a table.
_MUTE = """() => [...document.querySelectorAll('main svg[role=img]')].filter((chart) => {
  const label = chart.getAttribute('aria-label');
  const weeks = /table of the weeks/.test(label) && document.querySelector('[data-key=weeks]');
  const place = weeks || chart.closest('.card');
  return !(/table/.test(label) ? place.querySelector('table') : /\\d/.test(label));
}).map((chart) => chart.getAttribute('aria-label'))"""
_LISTENERS = """
window.violations = [];
addEventListener('securitypolicyviolation', (event) =>
  violations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`));
window.announced = [];
addEventListener('DOMContentLoaded', () => new MutationObserver((changes) =>
  announced.push(...changes.flatMap(({ addedNodes }) => [...addedNodes].map((node) => node.data))))
  .observe(document.getElementById('status') ?? document, { childList: true }));
window.shifts = [];
new PerformanceObserver((list) => shifts.push(...list.getEntries()
  .filter((entry) => !entry.hadRecentInput)
  .map((entry) => [entry.value, ...entry.sources.map((source) => source.node?.className ?? '')])))
  .observe({ type: 'layout-shift', buffered: true });
"""


@contextmanager
def stack(*options: str) -> Iterator[Stack]:
    with local_stack.run(APP_URL=f"{APP}?{_WORDS}") as running:
        running.progress("demo", *options, "--port", str(running.port))
        yield running


@contextmanager
def browser() -> Iterator[Browser]:
    """Run Chromium during the block. No asyncio event loop may run in the same thread."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=PROGRAM, args=OPTIONS, ignore_default_args=_IGNORED
        )
        yield chromium
        chromium.close()


@dataclass
class Visit:
    stack: Stack
    context: BrowserContext
    page: Page = field(init=False)
    requests: list[Request] = field(default_factory=list)
    sockets: list[WebSocket] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.add_init_script(_LISTENERS)
        self.context.add_init_script(_STATE_SCRIPT)
        self.page = self.context.new_page()
        # Playwright sets attributes on handlers. A lambda allows that, a built-in method does not.
        self.page.on("request", lambda request: self.requests.append(request))  # noqa: PLW0108
        self.page.on("websocket", lambda socket: self.sockets.append(socket))  # noqa: PLW0108
        self.page.on("pageerror", lambda error: self.errors.append(f"{error.stack or error}"))

    def open(
        self, user: str = DEMO, role: str = "learner", at: str = "", groups: Sequence[str] = ()
    ) -> Page:
        """Open the page, signed in as `user`, and wait until the page shows the data.

        Without `at`, the user returns from the sign-in. With `at`, the tab has the token already,
        as after a reload, so that the page loads only this view.
        """
        token = self.stack.token(user, role, groups)
        if at:
            self.page.goto(f"{self.stack.page}health")
            self.page.evaluate("token => sessionStorage.setItem('progress.token', token)", token)
        self.page.goto(f"{self.stack.page}{at}" if at else self.return_url(token))
        self.settle()
        return self.page

    def move(self, at: str) -> None:
        self.page.evaluate(_MOVE, at)
        self.settle()

    def return_url(self, token: str) -> str:
        return f"{self.stack.page}?state={STATE}#token={token}"

    def pause_after(self, minutes: int) -> None:
        # Chromium opens no socket for a page whose document the test has made.
        self.context.add_init_script(f"""document.addEventListener('readystatechange', () => {{
  document.querySelector('meta[name=pause]').content = '{minutes}';
}});""")

    def settle(self) -> None:
        """Wait until each part of the view that is shown has arrived."""
        self.page.wait_for_function(_HAS_SETTLED)

    def ask(self, query: str, user: str = "sam", role: str = "support") -> Any:
        fresh = {"cache-control": "no-cache"}
        headers = http_client.headers(self.stack.token(user, role), **fresh)
        return http_client.ask(self.stack.port, headers, query)

    def hold(self, address: str, text: str = "") -> Callable[[], None]:
        """Hold the requests whose body has a text; return the function that lets them go."""
        held, is_over = list[Route](), False

        def hold(route: Route) -> None:  # not if it comes later than the release
            is_held = not is_over and text in str(route.request.post_data)
            held.append(route) if is_held else route.continue_()

        def release() -> None:
            nonlocal is_over
            is_over = True
            for route in held:
                route.continue_()

        self.page.route(re.compile(address), hold)
        return release

    def wait_for(self, query: str, data: object, *caller: str) -> None:
        readiness.wait(lambda: self.ask(query, *caller) == data, query, seconds=60)

    def hear(self, text: str) -> None:
        """Wait until the page has announced a text, which another one may have replaced."""
        self.page.wait_for_function("text => window.announced.includes(text)", arg=text)

    def shifts(self) -> list[list[Any]]:
        shifts: list[list[Any]] = self.page.evaluate("window.shifts")
        return shifts

    def transferred(self) -> list[int]:
        """Return the compressed bytes of the page, then of its files; 0 comes from the cache."""
        transferred: list[int] = self.page.evaluate(_TRANSFERRED)
        return transferred

    def mute_charts(self) -> list[str]:
        """Return the labels of the charts whose values a screen reader cannot read."""
        labels: list[str] = self.page.evaluate(_MUTE)
        return labels

    def queries(self) -> list[Request]:
        return [request for request in self.requests if urlsplit(request.url).path == "/graphql"]

    def check(self) -> None:
        """Assert: no uncaught errors, no security-policy violations, no requests to other hosts."""
        assert not self.errors, self.errors
        assert self.page.evaluate("window.violations ?? []") == []
        own = (self.stack.page, "data:")
        assert [request.url for request in self.requests if not request.url.startswith(own)] == []

    def find_violations(self, within: str = "html") -> list[str]:
        """Run axe in light mode, and only axe's colour rules in dark mode; return the findings.

        `within` is a selector of what the test has opened, if another test checks the whole view.
        """
        self.page.evaluate("scrollTo(0, 0)")  # at the top, no control is behind the navigation
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE)
        self.page.emulate_media(color_scheme="light")
        light = self._run_axe(within, STANDARDS)
        self.page.emulate_media(color_scheme="dark")
        return light + [f"dark: {violation}" for violation in self._run_axe(within, _OF_COLOURS)]

    def _run_axe(self, within: str, rules: list[str]) -> list[str]:
        violations = self.page.evaluate(
            """([context, rules]) => axe.run(
                context, { runOnly: rules, resultTypes: ['violations'] })""",
            [{"include": [within], "exclude": _ALIKE}, rules],
        )
        return [
            f"{violation['id']}: {node['html'][:200]} {node['failureSummary']}"
            for violation in violations["violations"]
            for node in violation["nodes"]
        ]


Visits = Callable[..., Visit]  # the type of the fixture `visit`


def section(page: Page, name: str) -> str:
    return page.get_by_role("region", name=name).inner_text()


def save_csv(page: Page) -> tuple[str, list[dict[str, str]]]:
    """Save what the view shows; return the name of the file, and its rows."""
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").click()
    text = Path(saved.value.path()).read_text(encoding="utf-8-sig")
    return saved.value.suggested_filename, [*csv.DictReader(io.StringIO(text))]


def selected_day(page: Page) -> str:
    """Return the day that the Tab key reaches; the grid has exactly one such day."""
    (day,) = page.eval_on_selector_all(
        "[data-day][tabindex='0']", "cells => cells.map(cell => cell.dataset.day)"
    )
    return str(day)


def create_learner(stack: Stack, *, ago: timedelta = timedelta(minutes=10)) -> str:
    """Create a learner who finished a session `ago` before now, and for whom it is about noon.

    Return the learner's id.
    """
    user = move_to_noon(stack, f"page-{uuid.uuid4()}")
    stack.publish(*lesson(user, 3, 1, ago=ago))
    return user


def move_to_noon(stack: Stack, user: str) -> str:
    """Move a learner to where it is about noon, so that no day ends in the test; return the id."""
    zone, long_ago = recent_events.noon_zone(), datetime.now(UTC) - timedelta(days=999)
    stack.publish(envelope("UserPreferencesChanged", long_ago, user_id=user, timezone=zone))
    return user


def earlier_today() -> timedelta:
    """Return ten minutes, or less if the UTC day began less than ten minutes ago."""
    now = datetime.now(UTC)
    return min(timedelta(minutes=10), now - now.replace(hour=0, minute=0, second=0, microsecond=0))


def envelope(kind: str, at: datetime | None = None, /, **data: object) -> Envelope:
    """Return an event of this time, or of now."""
    moment = (at or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    identity = str(uuid.uuid4())
    return {"event_id": identity, "event_type": kind, "occurred_at": moment, "data": data}


def lesson(
    user: str, right: int, wrong: int = 0, *, ago: timedelta = timedelta(0), item: str = "i"
) -> list[Envelope]:
    at = datetime.now(UTC) - ago
    session, answers = str(uuid.uuid4()), right + wrong
    ids = {"session_id": session}
    kinds = ["CorrectAnswerGiven"] * right + ["IncorrectAnswerGiven"] * wrong
    return [
        envelope("SessionStarted", at, user_id=user, item_count=answers, **ids),
        *(envelope(kind, at, item_id=item, response_time_ms=900, **ids) for kind in kinds),
        envelope("SessionCompleted", at, user_id=user, score=80, duration_seconds=600, **ids),
    ]
