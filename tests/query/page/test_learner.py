"""The learner's view of the page, in a real browser with a running local stack."""

import itertools
import math
import random
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support import browser
from tests.support.browser import Stack, Visit

pytestmark = pytest.mark.timeout(180)

HIDE = """hidden => {
  Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""
Visits = Callable[..., Visit]
LAST_DAY = "2024-10-06"  # the last day with events in the demo's data


def section(page: Page, name: str) -> str:
    """Return the text of the section with this heading."""
    return page.get_by_role("region", name=name).inner_text()


def selected_day(page: Page) -> str:
    """Return the only day in the grid that Tab reaches."""
    (day,) = page.eval_on_selector_all(
        "[data-day][tabindex='0']", "cells => cells.map(cell => cell.dataset.day)"
    )
    return str(day)


def create_learner(demo: Stack) -> str:
    """Create a learner who finished a session ten minutes ago; return their id."""
    user = f"page-{uuid.uuid4()}"
    demo.publish(*browser.lesson(user, 3, 1, ago=timedelta(minutes=10)))
    return user


def test_the_page_shows_the_demo_learner_s_numbers(visit: Visits) -> None:
    page = visit().open()
    today = section(page, "Today")
    assert re.search(r"Streak\s+0\s+days", today)
    assert "Last study day: 6 October 2024" in today
    assert "Longest: 24 days, 13 September – 6 October 2024" in today
    assert re.search(r"1,205\s+due", today)
    year = section(page, "The year")
    assert "61 study days, 12,580 answers." in year
    assert "The most recent study day was 6 October 2024." in year
    assert re.search(r"October\s+6\s+[\d,]+\s+\d\d%", year)
    assert "The longest run was 24 days: 13 September – 6 October 2024." in year
    how_far = section(page, "How far")
    assert re.search(r"A1\s+469 of 1,06\d \(44%\)", how_far)
    assert all(level in how_far for level in ("A2", "B1", "B2", "C1", "C2"))
    assert re.search(r"Reading\s+800 of 6,92\d", how_far)
    assert re.search(r"Items learned\s+1,203", how_far)
    assert re.search(r"action\s+A1\s+29%\s+4 of 14", section(page, "Items"))
    assert "1,205 items are due today" in section(page, "When")


def test_the_year_is_a_grid_with_a_label_for_each_day(visit: Visits) -> None:
    page = visit().open()
    grid = page.get_by_role("grid", name="Study days of 2024")
    assert grid.get_by_role("gridcell", name=re.compile("2024")).count() == 366
    assert grid.get_by_role("columnheader").count() == 12
    assert grid.get_by_role("rowheader").count() == 7
    cell = grid.get_by_role("gridcell", name=re.compile("^Sunday, 6 October 2024"))
    assert cell.get_attribute("aria-label") == (
        "Sunday, 6 October 2024: 350 answers, 83% right, 1 session of 1h 24m, 17 newly learned"
    )
    assert selected_day(page) == LAST_DAY
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
        assert selected_day(page) == day, key
        assert page.evaluate("document.activeElement.dataset.day") == day
    expect(page.locator("#chosen-day")).to_contain_text("Tuesday, 2 January 2024")


def test_the_pointer_selects_days_and_years(visit: Visits) -> None:
    page = visit().open()
    page.get_by_role("button", name="Day before").click()
    assert selected_day(page) == "2024-10-05"
    page.locator("[data-day='2024-07-17']").click()
    expect(page.locator("#chosen-day")).to_contain_text("165 answers")
    page.locator("[data-day='2024-07-16']").hover()
    expect(page.locator("#chosen-day")).to_contain_text("240 answers")
    page.get_by_role("button", name="Year before").click()
    expect(page.get_by_role("grid")).to_have_accessible_name("Study days of 2023")
    assert "No study days in 2023." in section(page, "The year")
    page.get_by_role("button", name="Year after").click()
    assert selected_day(page) == LAST_DAY


def answer_together(page: Page, last_year: int) -> None:
    """Hold the responses for earlier years until the page has requested the last of these years."""
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
    user = create_learner(demo)
    long_ago = datetime.now(UTC).replace(month=6, day=15, year=datetime.now(UTC).year - 6)
    rest = browser.envelope("RestDayTaken", long_ago, user_id=user, date=f"{long_ago.year}-06-14")
    ages = [datetime.now(UTC) - long_ago + timedelta(days=days) for days in (0, 2)]
    demo.publish(rest, *(event for ago in ages for event in browser.lesson(user, 7, ago=ago)))
    visitor = visit()
    page = visitor.open(user)
    # All lessons are folded, so that no later update changes the page.
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


def test_the_chart_of_weeks_is_also_available_as_a_table(visit: Visits, demo: Stack) -> None:
    page = visit().open(create_learner(demo))
    table = page.get_by_role("table").filter(has_text="Week of")
    page.get_by_text("The weeks as a table").click(timeout=20_000)
    expect(table.get_by_role("row")).to_have_count(27)
    expect(table.get_by_role("row").nth(1)).to_contain_text("475%", timeout=20_000)


def test_a_new_learner_is_welcomed_and_then_sees_their_first_session(
    visit: Visits, demo: Stack
) -> None:
    user = f"page-{uuid.uuid4()}"
    page = visit().open(user)
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    expect(page.get_by_role("main").get_by_role("listitem")).to_have_count(3)  # how to begin
    expect(page.get_by_role("link", name="Open the app")).to_have_attribute("href", browser.APP)
    expect(page.locator("#live")).to_have_text("Live")
    demo.publish(*browser.lesson(user, 3, 1))
    tiles = page.get_by_role("region", name="Today")
    expect(tiles).to_contain_text("1 day", timeout=20_000)
    expect(tiles).to_contain_text("Studied today")
    expect(tiles).to_contain_text("75% right")


def test_the_page_marks_a_streak_at_risk(visit: Visits, demo: Stack) -> None:
    user = f"page-{uuid.uuid4()}"
    demo.publish(*browser.lesson(user, 3, ago=timedelta(days=1)))
    page = visit().open(user)
    expect(page.get_by_role("region", name="Today")).to_contain_text(
        "At risk: finish a session today", timeout=20_000
    )


def test_the_page_shows_the_goal_and_that_a_rest_day_keeps_the_streak(
    visit: Visits, demo: Stack
) -> None:
    user, now = f"page-{uuid.uuid4()}", datetime.now(UTC)
    yesterday = now - timedelta(days=1)
    rest = browser.envelope("RestDayTaken", yesterday, user_id=user, date=f"{now:%Y-%m-%d}")
    goal = browser.envelope("GoalSet", yesterday, user_id=user, answers_per_day=3)
    demo.publish(*browser.lesson(user, 3, ago=timedelta(days=1)), rest, goal)
    today = visit().open(user).get_by_role("region", name="Today")
    expect(today).to_contain_text("Rest day: your streak is safe", timeout=20_000)
    expect(today).to_contain_text("3 more to your goal of 3", timeout=20_000)
    expect(today).to_contain_text("Met on 1 of the last 7 days")
    expect(today.get_by_role("listitem")).to_have_count(7)


def test_the_page_shows_how_much_was_remembered(visit: Visits, demo: Stack) -> None:
    user, before = f"page-{uuid.uuid4()}", timedelta(days=3)
    reviewed_at = datetime.now(UTC) - before + timedelta(minutes=1)
    review = browser.envelope(
        "ReviewProcessed", reviewed_at, user_id=user, item_id="i",
        easiness_factor=2.5, new_interval=1,
    )  # fmt: skip
    demo.publish(*browser.lesson(user, 1, ago=before), review)
    demo.publish(*browser.lesson(user, 1, ago=timedelta(days=1)))
    improving = visit().open(user).get_by_role("region", name="Am I improving?")
    expect(improving).to_contain_text(re.compile(r"Last 7 days\s*100%\s*of 1"), timeout=20_000)


def test_a_live_update_keeps_the_focus_the_scroll_position_and_the_open_details(
    visit: Visits, demo: Stack
) -> None:
    user = create_learner(demo)
    page = visit(viewport={"width": 390, "height": 700}).open(user)
    expect(page.locator("#live")).to_have_text("Live")
    tiles = page.get_by_role("region", name="Today")
    expect(tiles).to_contain_text("75% right", timeout=20_000)
    page.get_by_text("The weeks as a table").click()
    day = selected_day(page)
    page.locator(f"[data-day='{day}']").focus()
    page.keyboard.press("ArrowUp")
    before = page.evaluate("[document.activeElement.dataset.day, scrollY]")
    page.evaluate("document.activeElement.known = document.querySelector('details').known = true")
    demo.publish(*browser.lesson(user, 4))
    expect(tiles).to_contain_text("88% right", timeout=20_000)
    assert page.evaluate("[document.activeElement.dataset.day, scrollY]") == before
    assert page.evaluate("document.activeElement.known && document.querySelector('details').known")
    assert page.evaluate("document.querySelector('details').open")
    announcement = (
        "Updated: 8 answers today, a streak of 1 day."  # other announcements may come first
    )
    expect(page.get_by_role("status")).to_have_text(announcement, timeout=30_000)


def test_a_hidden_page_closes_its_stream(visit: Visits, demo: Stack) -> None:
    user = create_learner(demo)
    visitor = visit()
    page = visitor.open(user)
    expect(page.locator("#live")).to_have_text("Live")
    with page.expect_event("requestfailed", lambda request: "stream" in request.url):
        page.evaluate(HIDE, True)
    queries = len(visitor.queries())
    demo.publish(*browser.lesson(user, 4))
    assert len(visitor.queries()) == queries
    page.evaluate(HIDE, False)
    expect(page.get_by_role("region", name="Today")).to_contain_text("88% right", timeout=20_000)


def test_japanese_headwords_have_a_lang_attribute(visit: Visits, demo: Stack) -> None:
    user, item = create_learner(demo), str(uuid.uuid4())
    at = datetime.now(UTC) - timedelta(days=1)
    item_data = {"item_id": item, "headword": "食べる", "domains": ["R"], "cefr_level": "A1"}
    demo.publish(
        browser.envelope("ItemPublished", at, **item_data), *browser.lesson(user, 1, 4, item=item)
    )
    page = visit().open(user)
    word = page.get_by_role("region", name="Items").get_by_text("食べる")
    expect(word).to_have_attribute("lang", "ja", timeout=20_000)


def test_a_support_user_can_open_another_learner(visit: Visits) -> None:
    page = visit().open("sam", "support")
    expect(page.get_by_role("link", name="Administration")).to_have_count(0)
    page.get_by_label("A learner’s id").fill(browser.DEMO)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"Progress of {browser.DEMO}")).to_be_visible()
    expect(page.get_by_role("region", name="The year")).to_contain_text("61 study days")
    expect(page).to_have_title(f"{browser.DEMO} · Progress")


def test_a_malformed_url_hash_still_shows_a_view(visit: Visits) -> None:
    page = visit().open("sam", "support")
    for at, title in (("#/learner/%", "% · Progress"), ("#/nowhere", "Progress")):
        page.evaluate("at => { location.hash = at }", at)
        expect(page).to_have_title(title)
        expect(page.get_by_role("heading", name=re.compile("Nothing|Welcome"))).to_be_visible()


def test_a_learner_has_no_access_to_the_views_of_other_roles(visit: Visits) -> None:
    page = visit().open()
    views = page.get_by_role("navigation", name="Views").get_by_role("link")
    expect(views).to_have_text(["My progress", "All items"])
    for at in ("#/learner/somebody", "#/administration"):
        page.evaluate("at => { location.hash = at }", at)
        expect(page.get_by_role("heading", name="You may not see this")).to_be_visible()
    page.get_by_role("link", name="To your own progress").click()
    expect(page.get_by_role("region", name="Today")).to_be_visible()


def test_the_page_does_not_bypass_the_cache(visit: Visits) -> None:
    visitor = visit()
    visitor.open()
    assert visitor.queries()
    for query in visitor.queries():  # fetch with `cache: "no-store"` would send no-cache
        assert "cache-control" not in query.all_headers()


def test_a_button_leads_to_each_section(visit: Visits) -> None:
    page = visit().open()
    buttons = page.get_by_role("navigation", name="Sections").get_by_role("button")
    headings = [heading.inner_text() for heading in page.get_by_role("heading", level=2).all()]
    assert buttons.count() == len(headings)
    for number, heading in enumerate(headings):
        buttons.nth(number).click()
        assert page.evaluate("document.activeElement.innerText") == heading


def test_the_page_says_within_a_second_that_it_is_offline(visit: Visits) -> None:
    visitor = visit()
    page = visitor.open()
    visitor.context.set_offline(True)
    expect(page.locator("#live")).to_have_text("Offline", timeout=1_000)
    visitor.context.set_offline(False)
    expect(page.locator("#live")).to_have_text(re.compile("Connecting|Live"), timeout=1_000)


def test_equal_days_have_the_darkest_shade_and_no_shade_is_skipped(visit: Visits) -> None:
    """The rules hold for years with random numbers of answers."""
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


def test_levels_are_marked_until_the_batch_job_has_counted_them(visit: Visits, demo: Stack) -> None:
    user = create_learner(demo)
    page = visit().open(user)
    levels = page.get_by_role("region", name="How far")
    expect(levels).to_contain_text("Being counted", timeout=20_000)
    demo.progress("batch")
    page.reload()
    expect(levels).not_to_contain_text("Being counted", timeout=20_000)


def test_the_next_step_leads_to_the_app(visit: Visits) -> None:
    page = visit().open()
    today = section(page, "Today")
    assert "0 from today, 1,205 overdue" in today
    link = page.get_by_role("link", name="Start now")
    expect(link).to_have_attribute("href", browser.APP)


def test_the_switch_changes_the_language_until_it_is_used_again(visit: Visits) -> None:
    page = visit().open()
    page.get_by_label("Language").select_option("ja")
    expect(page.get_by_role("region", name="今日")).to_be_visible()
    page.reload()
    expect(page.get_by_role("region", name="今日")).to_contain_text(
        "最後に学習した日：2024年10月6日"
    )
    page.get_by_label("言語").select_option("en")
    expect(page.get_by_role("region", name="Today")).to_be_visible()


def test_a_learner_shares_the_year_as_a_text(visit: Visits) -> None:
    page = visit().open()
    page.evaluate("() => { navigator.share = async ({ text }) => { window.shared = text } }")
    page.get_by_role("button", name="Share my year").click()
    lines = page.evaluate("window.shared").split("\n")
    assert lines[:3] == ["My 2024", "study days: 61", "answers: 12,580"]
    assert "The longest run was 24 days: 13 September – 6 October 2024." in lines
