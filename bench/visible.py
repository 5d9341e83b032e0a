"""The time from publishing an answer until an open page shows it, in Chromium."""

import random
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from playwright.sync_api import Page

from bench.lines import Line, limit_p95
from bench.server import Server
from tests.support import browser
from tests.support.browser import Visit
from tests.support.local_stack import Stack

_MEMBERS, _LESSONS, _PROBES, _WARM_UP = 30, 10, 60, 5
_GAPS = (1.2, 2.0)  # seconds between two probes: the page reads its numbers at most once a second
_LIMIT = 1_000  # milliseconds
_GROUP = "bench-class"
# The text of the only element in which the number of answers grows.
_OF_LEARNER = "document.querySelector('.tile:has([data-command=goal]) .figure strong')?.textContent"
_OF_CLASS = "document.querySelector('[data-key=standing]')?.textContent"


def measure_visible(_server: Server) -> Iterator[Line]:
    """Measure the page of a learner and that of a class, each with the other one open."""
    with browser.stack() as stack, browser.browser() as chromium:
        members = [f"{_GROUP}-{n}" for n in range(_MEMBERS)]
        for user in members:
            join = browser.envelope(
                "LearnerJoinedGroup", datetime.now(UTC), user_id=user, group_id=_GROUP
            )
            lessons = (browser.lesson(user, 15, 5, ago=timedelta(days=n)) for n in range(_LESSONS))
            stack.publish(join, *(event for lesson in lessons for event in lesson))
        own = Visit(stack, chromium.new_context()).open(members[0])
        of_class = Visit(stack, chromium.new_context()).open("tess", "teacher", groups=[_GROUP])
        pages = (("learner", own, _OF_LEARNER), (f"class of {_MEMBERS}", of_class, _OF_CLASS))
        for name, page, text in pages:
            page.bring_to_front()
            milliseconds = list(_measure(stack, page, members[0], text))[_WARM_UP:]
            what = f"answer published → visible on the open page of a {name}"
            yield limit_p95(what, milliseconds, _LIMIT)


def _measure(stack: Stack, page: Page, user: str, text: str) -> Iterator[float]:
    source = random.Random(1)
    page.wait_for_function(text)
    for _ in range(_PROBES + _WARM_UP):
        time.sleep(source.uniform(*_GAPS))
        before = page.evaluate(text)
        session = str(uuid.uuid4())
        answer = browser.envelope(
            "CorrectAnswerGiven", datetime.now(UTC), user_id=user, session_id=session,
            item_id="i", response_time_ms=900,
        )  # fmt: skip
        begin = time.monotonic()
        stack.publish(answer)
        page.wait_for_function(f"before => {text} !== before", arg=before)
        yield 1_000 * (time.monotonic() - begin)
