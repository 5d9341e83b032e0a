"""Drawn walks through the page find no fault, and would find those that a test plants."""

import itertools
from random import Random
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser

from progress.demo import classes
from tests.support import browser, page_walks
from tests.support.local_stack import Stack
from tests.support.page_walks import Explorer, Failure, Step

GATE, WALKS, DRAWN = range(0, len(page_walks.STARTS), 3), 60, 200
LOCALES = ("en-GB", "ja-JP")
WIDTHS = (320, 390, 640, 768, 1024, 1280)
LEARNER = {
    "user": browser.DEMO, "role": "learner", "groups": [], "at": "#/", "locale": "en-GB",
    "width": 360, "color_scheme": "light",
}  # fmt: skip
# A script that plants a fault once the page shows numbers.
_PLANTED = "addEventListener('click', () => {{ {} }}, {{ once: true }});"

_STALE = """setInterval(() => {
  const day = document.querySelector('#today small');
  if (day && !location.hash.includes('on=')) day.textContent = 'stale';
}, 20)"""


@pytest.fixture(scope="module")
def explorer(chromium: Browser, demo: Stack) -> Explorer:
    return Explorer(page_walks.load(demo), chromium)


# The first view takes as long as six steps. The gate therefore takes one walk from each third
# start, which are of all users.
@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(seed, marks=() if seed in GATE else pytest.mark.exhaustive)
        for seed in range(WALKS)
    ],
)
def test_a_drawn_walk_finds_no_fault(explorer: Explorer, seed: int) -> None:
    explorer.explore(seed)


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(seed, marks=() if seed < 1 else pytest.mark.exhaustive)
        for seed in range(6 * len(page_walks.DATED))
    ],
)
def test_no_number_of_another_day_stands_under_the_heading_of_a_day(
    explorer: Explorer, seed: int
) -> None:
    explorer.disturb(seed, 12)


@pytest.fixture(scope="module")
def drawn_learners(explorer: Explorer) -> list[str]:
    users = [f"drawn-{number}" for number in range(DRAWN)]
    events = (page_walks.draw_learner(Random(user), user) for user in users)
    explorer.stack.publish(*itertools.chain.from_iterable(events))
    explorer.stack.run_batch()
    return users


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(DRAWN))
def test_the_page_of_a_drawn_learner_has_no_fault(
    explorer: Explorer, drawn_learners: list[str], number: int
) -> None:
    chance, user = Random(number), drawn_learners[number]
    start = {"user": user, "width": chance.choice(WIDTHS), "locale": chance.choice(LOCALES)}
    views = [["go", "#/items"], ["go", "#/knowledge"], ["go", "#/"], ["date", "2024-09-20"]]
    explorer.repeat(LEARNER | start, chance.sample(views, len(views)))


@pytest.mark.exhaustive
def test_the_id_of_a_learners_own_word_is_no_fault_for_a_teacher(explorer: Explorer) -> None:
    explorer.repeat(LEARNER | {"user": classes.FIRST, "at": "#/items"}, [])
    assert "own-1" in explorer.known
    staff = {"user": "tess", "role": "teacher", "groups": [page_walks.CLASS]}
    explorer.repeat(LEARNER | staff | {"at": f"#/items/{classes.FIRST}"}, [])


OFFLINE = ["offline"]
# The shortest walks that have found a fault of the page, each with another cause.
FOUND: dict[str, list[Any]] = {
    "a language chosen offline": [OFFLINE, ["type", "select Language", "ja"]],
    "an item followed offline": [["click", "a All words"], OFFLINE, ["click", "a action"]],
    "a group after a reload": [["click", "a snow"], ["click", "a Aiko Weber"], ["reload"]],
    "a dialog opened offline": [OFFLINE, ["click", "button Erase a learner …"]],
    "a day before the name": [["date", "2019-03-31"]],
    "a learner found, offline": [OFFLINE, ["go", f"#/learner/{classes.FIRST}"]],
    "a group listed, offline": [
        *(["go", at] for at in ("#/group/long-1", "#/group")),
        OFFLINE,
        ["go", f"#/group/{page_walks.CLASS}"],
    ],
    "the way after a past day": [["click", "a Aiko Weber"], ["date", "2024-09-20"], ["now"]],
    "a past day of a learner, offline": [
        OFFLINE,
        ["go", f"#/learner/{classes.FIRST}?group={page_walks.CLASS}"],
        ["date", "2024-02-29"],
    ],
    "an id of any length": [["type", "input A learner’s name or id", "W" * 200]],
    "a wrong token on a past day": [["type", "input Sign in with a token (development only)", "7"]],
}
USERS = {
    "a group after a reload": ("tess", "teacher", [page_walks.CLASS], ""),
    "a dialog opened offline": ("ada", "admin", [], "#/administration"),
    "an id of any length": ("ada", "admin", [], "#/administration"),
    "a wrong token on a past day": ("", "", [], "#/knowledge?on=2024-09-20"),
    "a day before the name": ("sue", "support", [], "#/learner/learner-001"),
    "a learner found, offline": ("sue", "support", [], "#/find/learner"),
    "a group listed, offline": ("tom", "teacher", [page_walks.CLASS, "long-1"], "#/group"),
    "the way after a past day": ("tess", "teacher", [page_walks.CLASS], ""),
    "a past day of a learner, offline": (
        *("tess", "teacher", [page_walks.CLASS]),
        f"#/learner/learner-002?group={page_walks.CLASS}",
    ),
}


# These take longest, because they load several views or leave a past day.
_LONGEST = {
    *("the way after a past day", "a day before the name", "a language chosen offline"),
    *("a group after a reload", "a learner found, offline"),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.exhaustive if name in _LONGEST else ())
        for name in FOUND
    ],
)
def test_a_walk_that_has_found_a_fault_finds_none(explorer: Explorer, name: str) -> None:
    user, role, groups, at = USERS.get(name, (browser.DEMO, "learner", [], "#/"))
    taker = explorer
    if OFFLINE in FOUND[name]:
        # A new context has no file in its cache: a fault may be that one is missing offline.
        taker = Explorer(explorer.stack, explorer.chromium, is_shared=False)
        taker.drawn = explorer.drawn
    taker.repeat(LEARNER | {"user": user, "role": role, "groups": groups, "at": at}, FOUND[name])


ITEM = f"#/item/{quote(page_walks.LONG_ITEM)}"
TASK = f"#/group/long-1/task/{quote(page_walks.LONG_LIST)}"


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    ("user", "role", "views"),
    [
        ("tess", "teacher", ["#/group", "#/group/long-1", TASK]),
        ("long-1", "learner", ["#/", "#/items", "#/knowledge", ITEM]),
        (page_walks.LONG, "learner", ["#/", "#/items"]),
        ("ada", "admin", ["#/administration"]),
    ],
)
def test_no_long_word_name_or_id_widens_the_page(
    explorer: Explorer, user: str, role: str, views: list[str]
) -> None:
    start = {"user": user, "role": role, "groups": ["long-1", "other"], "width": 320}
    steps: list[Step] = []
    for view in views:
        steps += [["go", view], *(["size", width, 800] for width in WIDTHS)]
    explorer.repeat(LEARNER | start, steps)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("console error", "console.error('planted')"),
        ("uncaught error", "setTimeout(() => { throw new Error('planted'); })"),
        ("unhandled rejection", "Promise.reject(new Error('planted'))"),
        (
            "CSP report",
            "document.body.append(Object.assign(new Image(), { src: 'https://a.example' }))",
        ),
        ("wider than the viewport", "document.querySelector('h2').style.width = '361px'"),
        ("nonsense on screen", "document.querySelector('.note').ariaLabel = `${{}.planted} days`"),
        ("raw key on screen", "document.querySelector('.note').textContent = 'streak.planted'"),
        ("control without a name", "document.querySelector('#main button').textContent = ''"),
        ("numbers that disagree", "document.querySelector('[data-same$=due]').textContent = '0'"),
        ("axe", "document.querySelector('h2').style.color = '#fefefe'"),
        ("id where a name was published", "document.title = 'card-planted'"),
        ("not as a new page after back to now", _STALE),
    ],
)
def test_a_walk_finds_a_planted_fault(explorer: Explorer, kind: str, fault: str) -> None:
    planted = Explorer(explorer.stack, explorer.chromium, inject=_PLANTED.format(fault))
    planted.known.add("card-planted")
    back = [["date", "2024-09-20"], ["now"]] if fault == _STALE else []
    with pytest.raises(Failure) as raised:
        planted.repeat(LEARNER, [["click", "button The year"], *back])
    assert kind in raised.value.kinds
