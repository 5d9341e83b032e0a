"""The year on the learner's page: the grid of days, its shades, other years, and sharing."""

import itertools
import math
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support import browser
from tests.support.browser import Stack, Visit

pytestmark = pytest.mark.timeout(180)

Visits = Callable[..., Visit]
LAST_DAY = "2024-10-06"  # the last day with events in the demo's data


def test_the_year_is_a_grid_with_a_label_for_each_day(visit: Visits) -> None:
    page = visit().open()
    grid = page.get_by_role("grid", name="Study days of 2024")
    assert grid.get_by_role("gridcell", name=re.compile("2024")).count() == 366
    assert grid.get_by_role("columnheader").count() == 12
    assert grid.get_by_role("rowheader").count() == 7
    cell = grid.get_by_role("gridcell", name=re.compile("^Sunday, 6 October 2024"))
    assert cell.get_attribute("aria-label") == (
        "Sunday, 6 October 2024: 350 answers, 83% right, 1 session in 1h 24m, 17 newly learned"
    )
    assert browser.selected_day(page) == LAST_DAY
    expect(grid.get_by_role("gridcell", name=re.compile(", 7 October"))).to_have_accessible_name(
        "Monday, 7 October 2024: no study"
    )


def test_the_keyboard_moves_through_the_grid_of_days(visit: Visits) -> None:
    page = visit().open()
    page.locator(f"[data-day='{LAST_DAY}']").focus()
    for key, day in [
        ("ArrowUp", "2024-10-05"), ("ArrowLeft", "2024-09-28"), ("ArrowRight", "2024-10-05"),
        ("ArrowDown", "2024-10-06"), ("ArrowDown", "2024-10-07"), ("PageUp", "2024-09-09"),
        ("PageDown", "2024-10-07"), ("Control+Home", "2024-01-01"), ("ArrowUp", "2024-01-01"),
        ("Control+End", "2024-12-31"), ("ArrowRight", "2024-12-31"), ("Home", "2024-01-02"),
    ]:  # fmt: skip
        page.keyboard.press(key)
        assert browser.selected_day(page) == day, key
        assert page.evaluate("document.activeElement.dataset.day") == day
    expect(page.locator("#chosen-day")).to_contain_text("Tuesday, 2 January 2024")


def test_the_pointer_selects_days_and_years(visit: Visits) -> None:
    page = visit().open()
    page.get_by_role("button", name="Day before").click()
    assert browser.selected_day(page) == "2024-10-05"
    page.locator("[data-day='2024-07-17']").click()
    expect(page.locator("#chosen-day")).to_contain_text("165 answers")
    page.locator("[data-day='2024-07-16']").hover()
    expect(page.locator("#chosen-day")).to_contain_text("240 answers")
    page.get_by_role("button", name="Year before").click()
    expect(page.get_by_role("grid")).to_have_accessible_name("Study days of 2023")
    year = page.get_by_role("region", name="The year")
    expect(year).to_contain_text("No study days in 2023.")
    page.get_by_role("button", name="Year after").click()
    assert browser.selected_day(page) == LAST_DAY


def answer_together(page: Page, last_year: int) -> None:
    """Hold all responses for earlier years until the page requests `last_year`, the oldest."""
    held: list[Route] = []

    def answer(route: Route) -> None:
        query = str(route.request.post_data)
        if "Earlier" not in query:
            route.continue_()
            return
        held.append(route)
        if f"{last_year}-01-01" in query:
            for earlier in held:
                earlier.fulfill(response=earlier.fetch())

    page.route(re.compile("/graphql$"), answer)


def test_an_earlier_year_is_loaded_on_demand(visit: Visits, demo: Stack) -> None:
    user = browser.create_learner(demo)
    long_ago = datetime.now(UTC).replace(month=6, day=15, year=datetime.now(UTC).year - 6)
    rest = browser.envelope("RestDayTaken", long_ago, user_id=user, date=f"{long_ago.year}-06-14")
    ages = [datetime.now(UTC) - long_ago + timedelta(days=days) for days in (0, 2)]
    demo.publish(rest, *(event for ago in ages for event in browser.lesson(user, 7, ago=ago)))
    visitor = visit()
    page = visitor.open(user)
    # Wait until all lessons are folded, so that no later update changes the page.
    totals = page.get_by_role("region", name="How far")
    expect(totals).to_contain_text(re.compile(r"Sessions\s*3"), timeout=20_000)
    assert not [query for query in visitor.queries() if "Earlier" in str(query.post_data)]
    answer_together(page, last_year=long_ago.year)
    for _ in range(6):
        page.get_by_role("button", name="Year before").click()
    expect(page.locator("#chosen-day")).to_contain_text(f"15 June {long_ago.year}")
    expect(page.locator("#chosen-day")).to_contain_text("7 answers")
    run = re.compile(r"longest run was 2 days: 13\s–\s15 June")  # 14 June is a rest day
    expect(page.get_by_role("region", name="The year")).to_contain_text(run)


@pytest.mark.parametrize("year", [2016, 2045])
def test_a_wrong_browser_clock_does_not_hide_study_days(visit: Visits, year: int) -> None:
    visitor = visit()
    visitor.page.clock.set_fixed_time(f"{year}-06-01T12:00:00Z")
    expect(visitor.open().get_by_role("region", name="The year")).to_contain_text("61 study days")


def test_days_with_many_answers_have_the_darkest_shade_and_no_shade_is_skipped(
    visit: Visits,
) -> None:
    """In a tested year, all days have the same number of answers, or each has a random number."""
    page = visit().open()
    module = page.evaluate("document.querySelector('link[href$=\"year.js\"]').href")
    years = [[number] * 88 for number in (1, 3, 4, 20, 500)]
    source = random.Random(13)
    years += [
        [min(2_000, int(source.lognormvariate(3, spread))) for _ in range(source.randint(1, 366))]
        for spread in (0.1, 0.5, 1, 2, 3)
        for _ in range(40)
    ]
    shades = page.evaluate(
        """async ([module, years]) => {
            const { scaleOf, shade } = await import(module);
            return years.map((answers) => {
                const scale = scaleOf(answers);
                return Array.from({ length: Math.max(...answers) + 2 }, (_, n) => shade(n, scale));
            });
        }""",
        [module, years],
    )
    for answers, of_number in zip(years, shades, strict=True):
        steps = {later - earlier for earlier, later in itertools.pairwise(of_number)}
        assert of_number[0] == 0
        assert all(of_number[1:])
        assert steps <= {0, 1}
        ranking = sorted(filter(None, answers))
        if ranking and (most := ranking[math.ceil(0.9 * len(ranking)) - 1]) >= 4:
            assert of_number[most] == 4
            assert of_number[most // 4] == 1


def test_a_learner_shares_the_year_as_text(visit: Visits) -> None:
    page = visit().open()
    page.evaluate("() => { navigator.share = async ({ text }) => { window.shared = text } }")
    page.get_by_role("button", name="Share my year").click()
    lines = page.evaluate("window.shared").split("\n")
    assert lines[:3] == ["My 2024", "study days: 61", "answers: 12,580"]
    assert "The longest run was 24 days: 13 September – 6 October 2024." in lines
    page.evaluate(
        "() => { navigator.share = null; navigator.clipboard.writeText = async () => {} }"
    )
    page.get_by_role("button", name="Share my year").click()
    expect(page.locator("[data-key=review]")).to_contain_text("Copied")
