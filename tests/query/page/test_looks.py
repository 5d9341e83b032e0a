"""How the page stands on screens of all kinds, and for readers of all kinds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import Stack, Visit

pytestmark = pytest.mark.timeout(180)

ROOT = Path(__file__).parents[3]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
SMALLEST = {"viewport": {"width": 320, "height": 640}}  # also 1,280 pixels at 400 %
WIDE = {"viewport": {"width": 1280, "height": 800}}

ADMINISTRATION = "#/administration"

_FOCUSED = """(() => {
  const now = document.activeElement;
  const name = now.dataset.day || now.ariaLabel || now.placeholder || now.textContent.trim();
  return [name, getComputedStyle(now).outlineStyle];
})()"""


Visits = Callable[..., Visit]


@pytest.fixture(scope="module", autouse=True)
def _something_to_administer(chromium: Browser, demo: Stack) -> None:
    demo.publish({"event_id": "no id", "event_type": "SessionStarted", "data": {}})


@pytest.mark.parametrize(
    ("screen", "scheme"),
    [(WIDE, "light"), (WIDE, "dark"), (PHONE, "light"), (PHONE, "dark"), (SMALLEST, "light")],
    ids=["wide", "wide-dark", "phone", "phone-dark", "smallest"],
)
@pytest.mark.parametrize(
    ("role", "at"), [("learner", ""), ("admin", ""), ("admin", ADMINISTRATION)]
)
def test_nothing_is_in_the_way_of_anybody(
    visit: Visits, screen: dict[str, Any], scheme: str, role: str, at: str
) -> None:
    looking = visit(**screen, color_scheme=scheme)
    page = looking.open(role=role, at=at)
    for summary in page.locator("summary").all()[:3]:
        summary.click()
    assert looking.offences() == []
    assert fits(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nor_where_there_are_no_numbers(visit: Visits, demo: Stack, scheme: str) -> None:
    looking = visit(**PHONE, color_scheme=scheme)
    looking.open("a stranger")
    assert looking.offences() == []
    looking.page.get_by_role("button", name="Sign out").click()
    assert looking.offences() == []
    looking.page.goto(looking.back("bad"))
    expect(looking.page.get_by_role("heading", name="Your sign-in has ended")).to_be_visible()
    assert looking.offences() == []
    assert fits(looking.page)


def fits(page: Page) -> bool:
    """Whether nothing goes beyond the sides; what is wide scrolls in a frame of its own."""
    return bool(
        page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
    )


def test_a_scheme_is_the_readers(visit: Visits) -> None:
    shades = []
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme).open()
        shades.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert shades == ["rgb(245, 246, 244)", "rgb(15, 19, 18)"]


def test_nothing_moves_for_those_who_want_none_of_it(visit: Visits) -> None:
    page = visit(reduced_motion="reduce").open()
    assert page.evaluate("document.getAnimations().length") == 0
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.bar rect')).transitionDuration")
        == "0s"
    )


@pytest.mark.parametrize("screen", [WIDE, PHONE], ids=["wide", "phone"])
def test_nothing_jumps_when_the_numbers_come(visit: Visits, screen: dict[str, Any]) -> None:
    page = visit(**screen).open()
    page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)))")
    shifts = page.evaluate("window.shifts")
    assert sum(each[0] for each in shifts) < 0.02, shifts


def test_what_is_pressed_is_large_enough(visit: Visits) -> None:
    page = visit(**PHONE).open(role="admin")
    small = """() => [...document.querySelectorAll('a, button, input, select, summary')]
        .filter((each) => each.checkVisibility() && !each.classList.contains('skip'))
        .filter((each) => Math.min(each.offsetWidth, each.offsetHeight) < 44)
        .map((each) => each.outerHTML)"""
    assert page.evaluate(small) == []
    page.evaluate("at => { location.hash = at }", ADMINISTRATION)
    page.get_by_role("region", name="Dead letters").wait_for()
    ticks = "[...document.querySelectorAll('.tick')].every((each) => each.offsetHeight >= 44)"
    assert page.evaluate(ticks)
    assert [each for each in page.evaluate(small) if "checkbox" not in each] == []


def test_everything_is_reached_by_keys(visit: Visits) -> None:
    page = visit().open(role="admin")
    page.evaluate("document.body.focus()")
    wanted = page.evaluate(
        """[...document.querySelectorAll('a, button, input, summary, [tabindex="0"]')]
           .filter((each) => each.checkVisibility()).length"""
    )
    reached = []
    for _ in range(wanted):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(_FOCUSED))
    names = [name for name, _ in reached]
    for name in ("Skip to the numbers", "Administration", "A learner’s id", "Year before",
                 "2024-10-06", "Day after", "The weeks as a table"):  # fmt: skip
        assert name in names
    assert len(set(names)) == wanted
    assert {outline for _, outline in reached} == {"solid"}


def test_the_way_to_the_numbers_is_short(visit: Visits) -> None:
    page = visit().open()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the numbers")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()


@pytest.mark.parametrize(
    ("name", "screen", "scheme"),
    [("page-light", WIDE, "light"), ("page-dark", WIDE, "dark"), ("page-phone", PHONE, "light")],
)
def test_pictures_are_small_enough_to_show(
    visit: Visits, pictures: Path, name: str, screen: dict[str, Any], scheme: str
) -> None:
    page = visit(**screen, color_scheme=scheme).open()
    file = pictures / f"{name}.png"
    page.screenshot(path=file, full_page=screen is WIDE)
    assert file.stat().st_size < 300_000


@pytest.fixture
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where to leave the documentation's pictures: in docs/, if they are wanted anew."""
    return ROOT / "docs" if request.config.getoption("--pictures") else tmp_path
