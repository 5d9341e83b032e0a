"""Walks through the page: drawn actions in a real browser, and what must hold after each of them.

A walk begins as one of several users at one of their views. Most of its actions are drawn from the
controls that the page shows, so that a new control is explored without a change here. By hand,
these commands take walks on a stack of their own; each failing walk is printed in its shortest
form:

    python -m tests.support.page_walks 100-2000
    python -m tests.support.page_walks '[{"user": …}, ["click", …], …]'
"""

import contextlib
import functools
import itertools
import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page

from progress.demo import classes, loading
from progress.importers import review_log, word_lists
from progress.query.http import static_page
from tests.support import browser
from tests.support.browser import DEMO
from tests.support.local_stack import Envelope, Stack

Step = list[Any]
Start = dict[str, Any]

STEPS = 8
LEARNERS = 2  # of the demo's class
_SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
_SECTIONS = [*json.loads((static_page.FOLDER / "en.json").read_text(encoding="utf-8"))]
CLASS, _OTHER = classes.groups(classes.SIZE + 1)
_GROUP = f"#/group/{CLASS}"
LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
LONG_ITEM = LONG * 2
LONG_LIST = f"{LONG_ITEM}en"
_PAST = ("2024-09-20", "2024-08-01", "2019-03-31", "2024-02-29")
_ZOOMED = ((1440, 900), (960, 600), (720, 450))  # at 100, 150 and 200 %, in the pixels of the page
_ZONES = ("UTC", "Europe/Berlin", "America/Los_Angeles", "Pacific/Kiritimati")
_TEXTS = ("", " ", "a", "7", "-1", "1e9", "Lena", "class", "東京", "<b>%_'", "W" * 200)
_KEYS = ("Escape", "Tab", "Enter", "ArrowDown", "ArrowRight", "PageUp", "Home", "End")
# What would take the numbers from other tests on the same stack.
_HARMFUL = ", ".join(
    f"[data-action={name}]"
    for name in ("rebuild", "batch", "replay", "replay-group", "discard", "discard-group", "erase")
)
_OF_DEMO = "[data-command], [data-export]"  # other tests count what the demo's learner does
# Who begins, where, and with which groups in the token.
_USERS: tuple[tuple[str, str, list[str], list[str]], ...] = (
    (DEMO, "learner", ["#/", "#/items", "#/knowledge", "#/?on=2024-09-20"], []),
    (classes.FIRST, "learner", ["#/", "#/?at=how-far", "#/items?filter=due", "#/lists"], []),
    ("tess", "teacher", ["", _GROUP, f"{_GROUP}/task/n5", f"#/lists/{classes.FIRST}"], [CLASS]),
    ("tom", "teacher", ["", "#/group"], [CLASS, _OTHER]),
    ("sue", "support", ["#/group", f"#/learner/{DEMO}", "#/find/learner"], []),
    ("ada", "admin", ["", "#/administration", f"#/events/{classes.FIRST}"], []),
    ("nobody-yet", "learner", ["#/", "#/items", "#/knowledge", "#/nowhere"], []),
    ("", "", [""], []),
    (classes.FIRST, "learner", ["#/text"], []),
    ("tess", "teacher", [f"{_GROUP}?text=1"], [CLASS]),
)
STARTS = [(user, role, at, groups) for user, role, views, groups in _USERS for at in views]
# The views that show a past day.
_TEACHER, _LEARNER = ("tess", "teacher", [CLASS]), (classes.FIRST, "learner", list[str]())
DATED = [
    (*_TEACHER, _GROUP),
    *((*_LEARNER, at) for at in ("#/", "#/items", "#/knowledge", "#/list/n5")),
    (*_TEACHER, f"#/learner/{classes.FIRST}?group={CLASS}"),
]
# The first learner's own words. The API has names of them for this learner only.
_OWN = ("own-1", "own-2")
_EQUAL_S = 20  # so soon, the page is as a new one, also on a busy machine
_NEWS_S = 15  # so long after new events: the page asks for its news every 10 s
_SHRINKING_S = 60
_OFFLINE = ("Failed to load resource: net::", "WebSocket connection to")


@dataclass
class Failure(Exception):
    """What did not hold after these steps."""

    start: Start
    steps: list[Step]
    found: list[str]

    def __str__(self) -> str:
        walk = json.dumps([self.start, *self.steps], ensure_ascii=False)
        lines = [f"  {json.dumps(step, ensure_ascii=False)}" for step in (self.start, *self.steps)]
        again = f"python -m tests.support.page_walks '{walk.replace(chr(39), chr(92) + 'u0027')}'"
        return "\n".join([*self.found[:5], "after", *lines, again])

    @property
    def kinds(self) -> set[str]:
        return {text.partition(":")[0] for text in self.found}


class Explorer:
    """Takes walks on a stack that has the demo's data and its class."""

    def __init__(
        self, stack: Stack, chromium: Browser, *, inject: str = "", is_shared: bool = True
    ) -> None:
        """`inject` is a script of each document, with which a test plants a fault.

        If other tests share the stack, the walks do not use what would disturb these.
        """
        self.stack, self.chromium, self.inject = stack, chromium, inject
        self._contexts: dict[str, BrowserContext] = {}  # by locale
        self._harmful = [_HARMFUL] if is_shared else []
        self.known: set[str] = set()  # the ids for which the API has published a name
        self.published_at = -math.inf
        self.drawn: set[str] = set()  # the kinds of elements for which axe has checked every rule

    def explore(self, seed: int) -> None:
        """Take a drawn walk; as many seeds in a row as there are starts begin at each of them."""
        try:
            self._draw(STARTS[seed % len(STARTS)], Random(seed))
        except Failure as failure:
            raise self._shrink(failure) from None

    def repeat(self, start: Start, steps: list[Step]) -> None:
        with self._begin(start) as walk:
            for step in steps:
                walk.take(step)
            walk.end()

    def disturb(self, seed: int, choices: int) -> None:
        """Choose days in a row while requests are late or fail; a seed begins at one of DATED."""
        user, role, groups, at = DATED[seed % len(DATED)]
        start = {"user": user, "role": role, "groups": groups, "at": at, "locale": "en-GB"}
        chance, today = Random(seed), datetime.now(UTC).date()
        days = ["", *(f"{today - timedelta(days=ago)}" for ago in chance.sample(range(5, 60), 2))]
        steps: list[Step] = [step for day in days for step in (["date", day], ["learn"])]
        chosen = [[chance.choice(days), chance.randint(0, 900)] for _ in range(choices)]
        steps += [["hurry", seed + 1, chosen], ["date", ""], ["date", days[1]], ["learn"]]
        self.repeat(start | {"width": 1280, "color_scheme": "light"}, steps)

    def _draw(self, begin: tuple[str, str, str, list[str]], chance: Random) -> None:
        user, role, at, groups = begin
        start = {
            "user": user, "role": role, "groups": groups, "at": at,
            "locale": chance.choice(("en-GB", "ja-JP")), "width": chance.randint(360, 1440),
            "color_scheme": chance.choice(("light", "dark")),
        }  # fmt: skip
        with self._begin(start) as walk:
            for _ in range(STEPS):
                walk.take(walk.draw(chance))
            walk.end()

    def _shrink(self, failure: Failure) -> Failure:
        """Leave out as many steps as possible, as long as time permits."""
        size, end = len(failure.steps), time.monotonic() + _SHRINKING_S
        while size and time.monotonic() < end:
            for at in range(0, len(failure.steps), size):
                try:
                    self.repeat(failure.start, failure.steps[:at] + failure.steps[at + size :])
                except Failure as shorter:
                    if shorter.kinds & failure.kinds:
                        failure = shorter
                        break
            else:
                size //= 2
            size = min(size, len(failure.steps))
        return failure

    @contextmanager
    def _begin(self, start: Start) -> Iterator["Walk"]:
        """Begin a walk in new tabs; the context keeps the files of the page for the next walk."""
        locale = start["locale"]
        if locale not in self._contexts:
            self._contexts[locale] = self.chromium.new_context(
                locale=locale, reduced_motion="reduce"
            )
        context = self._contexts[locale]
        context.clear_cookies()
        context.set_offline(False)
        user, role, groups = start["user"], start["role"], start["groups"]
        foreign = _OWN if user != classes.FIRST else ()
        harmful = [*self._harmful, *([_OF_DEMO] if user == DEMO else [])]
        constants = {
            "token": user and self.stack.token(user, role, groups),
            "sections": _SECTIONS,
            "known": sorted(self.known.difference(foreign)),
            "harmful": ", ".join(harmful) or ":not(*)",
        }
        script = f"const WALK = {json.dumps(constants)};\n{_SCRIPT}\n{self.inject}"
        try:
            yield Walk(self, start, context, script)
        finally:
            for page in context.pages:
                with contextlib.suppress(Error):
                    page.evaluate("localStorage.clear()")
                page.close()


class Walk:
    """One walk: its tabs, the steps that it has taken, and what the page shows now."""

    def __init__(
        self, explorer: Explorer, start: Start, context: BrowserContext, script: str
    ) -> None:
        self._explorer, self._start, self._context = explorer, start, context
        self._script, self._is_offline = script, False
        self._steps, self._console = list[Step](), list[str]()
        self._tabs = [self._open(f"{explorer.stack.page}{start['at']}")]
        self._look()

    @property
    def _page(self) -> Page:
        return self._tabs[-1]

    def _open(self, address: str, kept: str = "{}") -> Page:
        """Open a tab; `kept` is what it keeps of another tab, as a reload does."""
        page = self._context.new_page()
        stored = f"if (location.host) Object.assign(sessionStorage, {kept});"
        page.add_init_script(f"{stored}\n{self._script}")
        page.set_viewport_size({"width": self._start["width"], "height": 800})
        page.emulate_media(color_scheme=self._start["color_scheme"])
        page.on("console", self._note)
        page.goto(address)
        return page

    def _note(self, message: ConsoleMessage) -> None:
        # A browser may report a request that failed offline only after it is online again.
        is_offline = self._is_offline or "net::ERR_INTERNET_DISCONNECTED" in message.text
        if message.type == "error" and not (is_offline and message.text.startswith(_OFFLINE)):
            if "status of 401" in message.text and ["type"] in [step[:1] for step in self._steps]:
                return  # a token that the walk has typed
            self._console.append(f"console error: {message.text} {message.location.get('url')}")

    def draw(self, chance: Random) -> Step:
        others: list[Step] = [
            ["size", chance.randint(360, 1440), 800], ["size", *chance.choice(_ZOOMED)],
            ["dark", chance.choice((True, False))], ["back"], ["reload"],
            ["online" if self._is_offline else "offline"], ["tab"],
            ["press", chance.choice(_KEYS)], ["press", chance.choice(_KEYS)],
            ["events", chance.randint(1, 3)], ["events", chance.randint(1, 3)],
            ["date", chance.choice(_PAST)], ["date", chance.choice(_PAST)], ["now"],
        ]  # fmt: skip
        if chance.random() < 0.4 or not self._controls:
            return chance.choice(others)
        control = chance.choice(chance.choice(self._controls))
        key, kind = control["key"], control["type"]
        if control["values"]:
            return ["type", key, chance.choice(control["values"])]
        if kind == "date":
            return ["type", key, chance.choice(_PAST)]
        if kind in ("text", "textarea", "search", "number"):
            return ["type", key, chance.choice(_TEXTS)]
        return ["click", key]

    def take(self, step: Step) -> None:
        self._steps.append(step)
        name, *values = step
        if own := getattr(self, f"_{name}", None):
            own(*values)
        else:
            self._ask("([name, values]) => walk[name](...values)", [name, values])
        self._look()

    def end(self) -> None:
        """Go online and back to now, which must be as a new page is; then check with axe."""
        if self._is_offline:
            self.take(["online"])
        self.take(["now"])
        self._ask("() => walk.save()")
        self._ask(f"() => {{ {browser.AXE} }}")
        self._look()  # the page may have begun to load meanwhile
        found = self._ask(
            "([rules, drawn]) => walk.audit(rules, drawn)",
            [browser.STANDARDS, sorted(self._explorer.drawn)],
        )
        self._fail_on(found["found"])
        self._explorer.drawn.update(found["drawn"])

    def _click(self, key: str) -> None:
        if point := self._ask("key => walk.point(key)", key):
            self._page.mouse.click(*point)

    def _now(self) -> None:
        """Go back to now, if the page shows a past day; it must then be as a new page is."""
        if not self._is_offline and self._ask("() => walk.leavePast()"):
            self._look()
            self._compare()

    def _press(self, key: str) -> None:
        self._page.keyboard.press(key)

    def _size(self, width: int, height: int) -> None:
        self._page.set_viewport_size({"width": width, "height": height})

    def _dark(self, is_dark: bool) -> None:
        self._page.emulate_media(color_scheme="dark" if is_dark else "light")

    def _reload(self) -> None:
        if not self._is_offline:
            self._page.reload()

    def _offline(self) -> None:
        self._is_offline = True
        self._context.set_offline(True)

    def _online(self) -> None:
        self._context.set_offline(False)
        self._look()
        self._is_offline = False

    def _tab(self) -> None:
        """Look at the other of two tabs; at first, open it with the address of this one."""
        if self._is_offline:
            return
        self._ask("() => walk.hide(true)")
        if len(self._tabs) == 1:
            self._tabs.append(self._open(self._page.url))
        else:
            self._tabs.reverse()
            self._ask("() => walk.hide(false)")

    def _events(self, right: int) -> None:
        user = self._start["user"]
        learner = user if user == "nobody-yet" else classes.FIRST
        items = itertools.islice(itertools.cycle(_read_items()), right, right + 4)
        self._explorer.published_at = time.monotonic()
        self._explorer.stack.post_events(
            list(
                itertools.chain.from_iterable(
                    browser.lesson(learner, right, 1, ago=timedelta(minutes=n), item=item)
                    for n, item in enumerate(items)
                )
            )
        )

    def _ask(self, function: str, *values: Any) -> Any:
        """Return the function's result, also if the page is left or reloads itself meanwhile."""
        problem: Error | None = None
        for _ in range(20):
            try:
                return self._page.evaluate(function, *values)
            except Error as error:
                problem = error
                self._page.wait_for_load_state()
        self._fail_on([f"the page is lost: {self._page.url} {problem}"])
        return None

    def _look(self) -> None:
        seen = self._ask("() => walk.look()")
        self._controls = seen["controls"]
        self._explorer.known.update(seen["names"])
        self._fail_on(seen["found"])

    def _compare(self) -> None:
        kept = self._ask("() => JSON.stringify(sessionStorage)")
        page, other = self._page, self._open(self._page.url, kept)
        other.set_viewport_size(page.viewport_size or {"width": 1280, "height": 800})
        end = max(time.monotonic() + _EQUAL_S, self._explorer.published_at + _NEWS_S)
        while True:
            shown, fresh = (each.evaluate("walk.snapshot()") for each in (page, other))
            if shown == fresh:
                break
            if time.monotonic() > end:
                pairs = itertools.zip_longest(shown, fresh)
                differing = [pair for pair in pairs if pair[0] != pair[1]]
                self._fail_on([f"not as a new page after back to now: {differing[:3]}"])
            page.wait_for_timeout(500)
        other.close()

    def _fail_on(self, found: Iterator[str] | list[str]) -> None:
        found = [*found, *self._console]
        self._console.clear()
        if found:
            raise Failure(self._start, [*self._steps], found)


@functools.cache
def _read_items() -> list[str]:
    return sorted(loading.deal(word_lists.read(), loading.cards(review_log.read(loading.LOG))))[:40]


def main(argument: str) -> None:
    with browser.stack("--as-recorded") as stack, browser.browser() as chromium:
        explorer = Explorer(load(stack), chromium, is_shared=False)
        if argument.startswith("["):
            start, *steps = json.loads(argument)
            explorer.repeat(start, steps)
            return
        first, _, last = argument.partition("-")
        for seed in range(int(first), int(last or first) + 1):
            try:
                explorer.explore(seed)
            except Failure as failure:
                sys.stdout.write(f"seed {seed}: {failure}\n")


def load(stack: Stack) -> Stack:
    """Load learners of the demo's class, of whom the first has new events during the walks.

    Two learners of another group have long names or ids, as have this group, their item and its
    list. The first of the class has a list and words of the own; other lists are levels.
    """
    stack.progress("demo", "--class", "--learners", f"{LEARNERS}", "--port", f"{stack.port}")
    now = datetime.now(UTC)

    def told(kind: str, **data: object) -> Envelope:
        return browser.envelope(kind, now - timedelta(days=9), **data)

    item = {"item_id": LONG_ITEM, "domains": ["R", "W"], "cefr_level": "C2", "headword": LONG}
    events = [
        told("ItemPublished", **item),
        told("UserPreferencesChanged", user_id="long-1", display_name=LONG),
    ]
    for user in ("long-1", LONG):
        events += [
            told("LearnerJoinedGroup", user_id=user, group_id="long-1", group_name=LONG),
            told("GoalSet", user_id=user, answers_per_day=3),
            browser.envelope("RestDayTaken", now, user_id=user, date=f"{now.date()}"),
            *browser.lesson(user, 2, 9, ago=timedelta(days=2), item=LONG_ITEM),
        ]
    for name, rank in (("N5", 1), ("N4", 2)):
        level = {"list_id": name.lower(), "name": name, "scale": "JLPT", "rank": rank}
        events.append(told("ListPublished", **level))
    listed = [("n5", item) for item in _read_items()] + [("n4", LONG_ITEM), (LONG_LIST, LONG_ITEM)]
    events += [told("ItemListed", list_id=to, item_id=item) for to, item in listed]
    for one, group in (("n5", CLASS), (LONG_LIST, "long-1")):
        events.append(told("ListAssigned", list_id=one, group_id=group, due_on="2099-01-01"))
    own = {"user_id": classes.FIRST, "list_id": "deck-1"}
    events.append(told("ListPublished", name=LONG, **own))
    for one, word in zip((*_OWN, LONG_ITEM), ("snowdrop", LONG, ""), strict=True):
        events.append(told("ItemListed", item_id=one, headword=word, **own))
    events += browser.lesson(classes.FIRST, 1, 1, item=_OWN[0])
    stack.publish(*events)
    stack.run_batch()
    return stack


def draw_learner(chance: Random, user: str) -> list[Envelope]:
    """Return the events of a learner: settings, items of the catalogue, and days of answers."""
    now, days = datetime.now(UTC), chance.choice((0, 1, 2, 9, 40))
    zone = {"timezone": chance.choice(_ZONES), "day_start_hour": chance.choice((0, 4))}
    name = {"display_name": chance.choice(("Lena", "東京", "   ", LONG))}
    then = now - timedelta(days=days + 1)
    events = [browser.envelope("UserCreated", then, user_id=user, **zone, **name)]
    if chance.random() < 0.5:
        per_day = chance.choice((1, 20, 300))
        events.append(browser.envelope("GoalSet", then, user_id=user, answers_per_day=per_day))
    items = [f"{user}-{number}" for number in range(chance.choice((1, 4, 30)))]
    for item in items:
        word = {"headword": chance.choice(("Haus", "  ", "家", LONG)), "item_id": item}
        if kind := chance.choice(("", "reading", "typing")):
            word["kind"] = kind
        if level := chance.choice(("", "A1", "B2")):
            word |= {"cefr_level": level, "language": chance.choice(("de", "ja"))}
        if chance.random() < 0.8:
            events.append(browser.envelope("ItemPublished", then, domains=["R"], **word))
    for day in chance.sample(range(days + 1), chance.randint(0, days + 1)):
        at = now - timedelta(days=day, hours=chance.randint(0, 5))
        for item in chance.sample(items, chance.randint(1, len(items))):
            answer = {"user_id": user, "item_id": item, "duration_ms": chance.randint(0, 90_000)}
            rating, interval = chance.choice((1, 3, 4)), chance.choice((0.01, 1, 8, 60))
            answer |= {"rating": rating, "interval_days": interval}
            events.append(browser.envelope("CardReviewed", at, **answer))
        if chance.random() < 0.2:
            date = f"{(now - timedelta(days=day)).date()}"
            events.append(browser.envelope("RestDayTaken", at, user_id=user, date=date))
    return events


if __name__ == "__main__":
    main(sys.argv[1])
