"""The learner's page: its sections, its year, the list of items, and an item's page."""

import itertools
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from progress.serve import readiness
from tests.support import browser
from tests.support.browser import Visit, Visits
from tests.support.local_stack import Envelope, Stack


def test_the_page_shows_the_demo_learner_s_numbers_and_leads_to_the_app(visitor: Visit) -> None:
    page = visitor.open()
    page.locator("[data-key=states]").scroll_into_view_if_needed()
    expect(page.locator("[data-key=states] .chart")).to_be_visible()
    assert visitor.mute_charts() == []
    today = browser.section(page, "Today")
    assert re.search(r"Streak\s+0\s+days", today)
    assert "Last study day: 6 October 2024" in today
    assert "Longest: 24 days, 13 September – 6 October 2024" in today
    assert re.search(r"1,205\s+due today", today)
    year = page.get_by_role("region", name="The year")
    expect(year).to_contain_text("61 study days, 12,580 answers.")
    page.locator("[data-key=reviewed] > summary").click()
    expect(page.locator("[data-key=review]")).to_be_visible()
    expect(year).to_contain_text("The most recent study day was 6 October 2024.")
    assert re.search(r"Oct\s+6\s+[\d,]+\s+\d\d%", year.inner_text())
    expect(year).to_contain_text("The longest run was 24 days: 13 September – 6 October 2024.")
    how_far = browser.section(page, "How far")
    # The totals vary, because other tests add items to the catalogue.
    assert re.search(r"A1\s+471 of 1,\d{3} \(\d\d%\)", how_far)
    assert all(level in how_far for level in ("A2", "B1", "B2", "C1", "C2"))
    assert re.search(r"action\s+A1\s+29%\s+4 of 14", browser.section(page, "Words"))
    when = browser.section(page, "When")
    assert "1,205 words are due today" in when
    assert "in the following 13 days" in when
    expect(page.locator("[data-key=due] .bars g")).to_have_count(14)
    doors = page.locator("[data-key=due] [data-href]")
    expect(doors).to_have_attribute("data-href", "#/items?filter=due")  # only that of today
    expect(page.locator("[data-key=due] .bars title").first).to_contain_text("1,205")
    weak = page.get_by_role("link", name=re.compile(r"See all \d+ weak words"))
    expect(weak).to_have_attribute("href", "#/items?filter=struggling")
    link = page.get_by_role("link", name="Start now")
    expect(link).to_have_attribute("href", re.compile(f"{browser.APP}\\?filter=DUE&"))


def test_the_chart_of_weeks_is_also_available_as_a_table(visit: Visits, demo: Stack) -> None:
    user = browser.create_learner(demo)
    demo.publish(*browser.lesson(user, 1, ago=timedelta(days=14)))
    page = visit().open(user)
    table = page.get_by_role("table").filter(has_text="From").filter(has_text="Study days")
    page.locator("[data-key=weeks] summary").click()
    expect(table.get_by_role("row")).to_have_count(4)  # no week before the first answer
    expect(table.get_by_role("row").nth(1)).to_contain_text("475%")
    week = table.get_by_role("rowheader").get_by_role("link").first
    # the words are not as many as answers
    expect(week).to_have_attribute("href", re.compile("filter=answered"))
    expect(table.get_by_role("cell").get_by_role("link")).to_have_count(0)


def test_nothing_is_celebrated_if_the_device_asks_for_less_motion(visitor: Visit) -> None:
    page = visitor.page
    page.goto(visitor.stack.page)
    module: str = page.evaluate("document.querySelector('link[href$=\"year.js\"]').href")
    motions: dict[Literal["no-preference", "reduce"], int] = {"no-preference": 1, "reduce": 0}
    for motion, rays in motions.items():
        page.emulate_media(reduced_motion=motion)
        found = page.evaluate(
            """async (module) => {
                const frame = document.createElement('p');
                (await import(module)).cheer(frame);
                return frame.childElementCount;
            }""",
            module.replace("year.js", "celebration.js"),
        )
        assert found == rays


@pytest.mark.exhaustive
def test_the_section_bar_marks_the_section_that_is_read_and_a_view_opens_at_its_heading(
    visitor: Visit,
) -> None:
    page = visitor.open()
    height = "[data-key=mastered]", "card => card.offsetHeight"
    before = page.eval_on_selector(*height)
    page.locator("[data-key=weeks] summary").click()
    assert page.eval_on_selector(*height) <= before, "an open table stretches no card beside it"
    page.get_by_role("button", name="When", exact=True).click()
    current = page.locator(".jumps [aria-current]")
    expect(current).to_have_text("When")
    expect(page).to_have_url(re.compile("at=when$"))
    page.reload()
    expect(page.get_by_role("heading", name="When", exact=True)).to_be_in_viewport()
    expect(current).to_have_text("When")
    page.evaluate("scrollTo(0, 0)")
    expect(current).to_have_text("Today")
    expect(page).not_to_have_url(re.compile("at="))
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("document.querySelector('#items').scrollIntoView()")
    expect(current).to_have_text("Words")
    expect(current).to_be_in_viewport(ratio=1)
    page.locator("[data-key=reviewed] > summary").click()
    months = page.locator("[data-key=months]")
    expect(months.locator("thead")).to_have_css("position", "absolute")  # each cell has its label
    assert months.evaluate("card => card.scrollWidth <= card.clientWidth")
    page.set_viewport_size({"width": 1280, "height": 800})
    assert months.evaluate("card => card.clientWidth") > 400  # half of the page
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.get_by_role("link", name="All words", exact=True).click()
    visitor.settle()
    assert page.evaluate("scrollY") == 0
    expect(page.get_by_role("heading", level=1)).to_be_focused()


# On a slow machine, an event may come late; the page gets no event of the type `window.late`.
_LATE = """
  const listen = window.addEventListener;
  window.addEventListener = (type, hear, options) => {
    listen.call(window, type, (event) => type === window.late || hear(event), options);
  };
"""
_LEAVE = """() => new Promise((hasDrawn) => {
  window.late = 'hashchange';
  location.hash = '#/items';
  document.querySelector('#when').scrollIntoView();
  requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(hasDrawn)));
})"""


@pytest.mark.exhaustive
def test_a_section_that_passes_while_the_learner_leaves_is_not_added_to_the_next_address(
    visitor: Visit,
) -> None:
    visitor.page.add_init_script(_LATE)
    page = visitor.open()
    page.evaluate(_LEAVE)
    assert page.evaluate("location.hash") == "#/items"
    assert page.locator("#when").count() == 1


def test_a_met_goal_closes_the_ring_and_is_celebrated_a_second(visit: Visits, demo: Stack) -> None:
    user = browser.move_to_noon(demo, f"page-{uuid.uuid4()}")
    demo.publish(browser.envelope("GoalSet", user_id=user, answers_per_day=4))
    demo.publish(*browser.lesson(user, 2))
    visitor = visit(reduced_motion="no-preference")
    page = visitor.open(user)
    part = page.locator(".ring .part")
    expect(part).to_have_attribute("stroke-dasharray", "50 100")
    page.evaluate(
        """() => new MutationObserver((changes) => {
          const added = changes.flatMap(({ addedNodes }) => [...addedNodes]);
          if (added.some((node) => node.matches?.('.rays'))) document.title = 'rays';
        }).observe(document.body, { childList: true, subtree: true })"""
    )
    demo.publish(*browser.lesson(user, 2))
    expect(part).to_have_attribute("stroke-dasharray", "100 100")
    expect(page).to_have_title("rays")
    expect(page.locator(".rays")).to_have_count(0)


@pytest.mark.exhaustive
def test_a_late_module_is_waited_for_and_then_reported(visitor: Visit) -> None:
    page = visitor.open()
    page.clock.install()
    page.route("**/item_list.js", lambda _: None)  # never answered
    page.get_by_role("link", name="All words", exact=True).click()
    page.clock.run_for(4_500)
    waiting = page.locator(".pills")  # above the page, so that it moves nothing
    expect(waiting).to_contain_text("The server has not answered yet.")
    page.clock.run_for(6_000)
    expect(page.get_by_role("alert")).to_contain_text("The server does not respond")
    page.unroute_all()


@pytest.mark.exhaustive
def test_a_view_that_cannot_be_loaded_leaves_the_page_until_the_server_answers(
    visitor: Visit,
) -> None:
    page = visitor.open()
    page.clock.install()
    page.route("**/item_list.js", lambda route: route.abort())
    page.route("**/health", lambda route: route.abort())
    page.get_by_role("link", name="All words", exact=True).click()
    page.clock.run_for(11_000)
    alert = page.get_by_role("alert")
    expect(alert).to_be_visible()
    page.evaluate("window.isSame = true")
    page.route("**/knowledge.js", lambda route: route.abort())
    page.get_by_role("link", name="What I know", exact=True).click()
    page.clock.run_for(11_000)
    expect(alert).to_have_count(1)
    page.get_by_role("link", name="All words", exact=True).click()
    page.clock.run_for(11_000)
    with page.expect_request("**/health"):
        alert.get_by_role("button").click()
    expect(alert).to_be_visible()
    assert page.evaluate("window.isSame")
    page.unroute_all(behavior="wait")
    alert.get_by_role("button").click()
    expect(page.locator(".item-list")).to_be_visible()
    visitor.errors.clear()


def test_a_tapped_column_shows_its_newest_value_and_the_current_week_is_unfinished(
    visit: Visits, demo: Stack
) -> None:
    user = browser.create_learner(demo)
    demo.publish(*browser.lesson(user, 2, ago=timedelta(days=70)))
    page = visit().open(user)
    weeks = page.locator("[data-key=weeks]")
    expect(weeks.locator(".legend")).to_contain_text("not over yet")
    plot = weeks.locator(".plot")

    weeks.locator(".bars g").last.click()
    shown = "data-value"
    expect(plot).to_have_attribute(shown, re.compile(": 4 answers, 75% right$"))
    for name in ("right", "wrong"):
        expect(weeks.locator(f".bars .{name}.unfinished")).to_have_css("fill", re.compile(name))
    demo.publish(*browser.lesson(user, 16))
    newest = re.compile(": 20 answers, 95% right$")
    expect(plot).to_have_attribute(shown, newest)
    month, year = (page.locator(f"[data-range={name}]") for name in ("month", "year"))
    month.click()  # the column moves to another place
    expect(weeks.locator(".bars g")).to_have_count(5)
    expect(plot).to_have_attribute(shown, newest)
    year.click()
    weeks.locator(".bars g").first.click()
    expect(plot).to_have_attribute(shown, re.compile(": 2 answers, 100% right$"))
    month.click()  # without the column
    expect(weeks.locator(".bars g")).to_have_count(5)
    expect(plot).not_to_have_attribute(shown, re.compile("."))


def test_a_new_learner_is_welcomed_and_sees_their_first_session(visit: Visits, demo: Stack) -> None:
    user = f"page-{uuid.uuid4()}"
    created = {"timezone": "UTC", "day_start_hour": 0, "display_name": "Mia"}
    demo.publish(browser.envelope("UserCreated", user_id=user, **created))
    page = visit(**browser.PHONE).open(user)
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    expect(page.get_by_role("main").get_by_role("listitem")).to_have_count(3)  # instructions
    app = page.get_by_role("link", name="Open the app")
    expect(app).to_have_attribute("href", re.compile(f"{browser.APP}\\?filter=&"))
    expect(page.get_by_text("An example of what you will see")).to_be_visible()
    expect(page.locator("#live")).to_have_text("Live")
    page.get_by_role("button", name="Set a goal").click()
    page.get_by_label("Answers per day").fill("4")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("button", name="Change the goal")).to_be_visible()
    demo.publish(*browser.lesson(user, 3, 1))
    tiles = page.get_by_role("region", name="Today")
    expect(tiles).to_contain_text("1 day")
    expect(tiles).to_contain_text("Studied today")
    expect(tiles).to_contain_text("75% right")
    expect(page.locator("#own-name")).to_have_text("Mia")
    expect(page.locator("[data-key=later]")).to_contain_text("How far from 5 words, Improving")
    expect(page.locator(".jumps button")).to_have_text(["Today", "The year", "My data"])
    assert page.evaluate("document.documentElement.scrollHeight") <= 2_200


def test_the_page_marks_a_streak_at_risk_and_shows_how_much_was_remembered(
    visit: Visits, demo: Stack
) -> None:
    user, before = browser.move_to_noon(demo, f"page-{uuid.uuid4()}"), timedelta(days=3)
    reviewed_at = datetime.now(UTC) - before + timedelta(minutes=1)
    review = {"item_id": "i", "easiness_factor": 2.5, "new_interval": 1}
    demo.publish(
        *browser.lesson(user, 1, ago=before),
        browser.envelope("ReviewProcessed", reviewed_at, user_id=user, **review),
        *browser.lesson(user, 3, ago=timedelta(days=1)),
    )
    page = visit().open(user)
    kept = re.compile(r"(One answer makes it 2 days|\d+ hours? left today)2 days to 3")
    expect(page.get_by_role("region", name="Today")).to_contain_text(kept)
    improving = page.get_by_role("region", name="Am I improving?")
    expect(improving).to_contain_text(re.compile(r"Last 7 days\s*100%\s*of 1"))


def test_the_page_shows_the_goal_and_that_rest_keeps_the_streak(visit: Visits, demo: Stack) -> None:
    user, now = browser.move_to_noon(demo, f"page-{uuid.uuid4()}"), datetime.now(UTC)
    yesterday = now - timedelta(days=1)
    rest = browser.envelope("RestDayTaken", yesterday, user_id=user, date=f"{now:%Y-%m-%d}")
    goal = browser.envelope("GoalSet", yesterday, user_id=user, answers_per_day=3)
    demo.publish(*browser.lesson(user, 3, ago=timedelta(days=1)), rest, goal)
    page = visit(viewport={"width": 700, "height": 800}).open(user)
    today = page.get_by_role("region", name="Today")
    expect(today).to_contain_text("Rest day: your streak is safe")
    expect(today).to_contain_text("3 more to your goal of 3")
    expect(today).to_contain_text("Met on 1 of the 6 days before today")  # which is still open
    expect(today.get_by_text("still open")).to_have_count(1)
    dots = today.get_by_role("listitem")
    expect(dots).to_have_count(7)
    ends = [dots.last.bounding_box(), page.locator(".tile:has(.week)").bounding_box()]
    inner, outer = (box and box["x"] + box["width"] for box in ends)
    assert inner
    assert outer
    assert inner <= outer - 16, "the dots stay in their card"


def test_the_page_celebrates_a_milestone_when_it_is_reached_and_lists_it(
    visit: Visits, demo: Stack
) -> None:
    user = browser.move_to_noon(demo, f"page-{uuid.uuid4()}")
    lessons = (browser.lesson(user, 1, item=f"milestone-{item}") for item in range(9))
    demo.publish(*itertools.chain.from_iterable(lessons))
    page = visit().open(user)
    expect(page.locator("#live")).to_have_text("Live")
    expect(page.get_by_role("region", name="How far")).to_be_visible()
    expect(page.get_by_text("10 words learned")).to_have_count(0)
    demo.publish(*browser.lesson(user, 1, item="milestone-9"))
    cheer = page.locator(".cheer")
    expect(cheer).to_have_text("Reached: 10 words learned")
    card = page.locator("[data-key=milestones]")
    expect(card).to_contain_text("10 words learned")
    assert str(datetime.now(UTC).year) in card.inner_text()


LAST_DAY = "2024-10-06"  # the last day with events in the demo's data


@pytest.mark.first_in_gate
@pytest.mark.parametrize("year", [2016, 2045])
def test_the_year_is_a_grid_with_a_label_for_each_day_also_if_the_browser_s_clock_is_wrong(
    visitor: Visit, year: int
) -> None:
    visitor.page.clock.set_fixed_time(f"{year}-06-01T12:00:00Z")
    page = visitor.open()
    expect(page.get_by_role("region", name="The year")).to_contain_text("61 study days")
    grid = page.get_by_role("grid", name="Study days: 2024")
    assert grid.get_by_role("gridcell", name=re.compile("2024")).count() == 366
    assert grid.get_by_role("columnheader").count() == 12
    assert grid.get_by_role("rowheader").count() == 7
    cell = grid.get_by_role("gridcell", name=re.compile("^Sunday, 6 October 2024"))
    expect(cell).to_have_accessible_name(  # once the page has loaded the year
        "Sunday, 6 October 2024: 350 answers, 83% right, 1 session in 1h 18m, "
        "17 right for the first time"
    )
    assert browser.selected_day(page) == LAST_DAY
    cell = grid.get_by_role("gridcell", name=re.compile(", 7 October"))
    expect(cell).to_have_accessible_name("Monday, 7 October 2024: no study")
    buttons = page.get_by_role("navigation", name="Sections").get_by_role("button")
    headings = [heading.inner_text() for heading in page.get_by_role("heading", level=2).all()]
    assert buttons.count() == len(headings)
    for number, heading in enumerate(headings):
        buttons.nth(number).click()
        assert page.evaluate("document.activeElement.innerText") == heading


def test_the_keyboard_moves_through_the_grid_of_days(visitor: Visit) -> None:
    page, release = visitor.page, visitor.hold("/graphql$", "Earlier")
    page.goto(visitor.return_url(visitor.stack.token(browser.DEMO)))
    page.locator(f"[data-day='{LAST_DAY}']").focus()
    page.keyboard.press("ArrowUp")
    release()
    # The days of 2024 arrive later than the key, and do not move the selection.
    expect(page.get_by_role("region", name="The year")).to_contain_text("61 study days")
    assert browser.selected_day(page) == "2024-10-05"
    page.keyboard.press("ArrowDown")
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


@pytest.mark.exhaustive
def test_the_pointer_selects_days_and_years_and_shares_the_year_as_text(visit: Visits) -> None:
    page = visit().open()
    page.get_by_role("button", name="Day before").click()
    assert browser.selected_day(page) == "2024-10-05"
    page.locator("[data-day='2024-07-17']").click()
    expect(page.locator("#chosen-day")).to_contain_text("165 answers")
    page.locator("[data-day='2024-07-16']").hover()
    expect(page.locator("#chosen-day")).to_contain_text("240 answers")
    page.set_viewport_size({"width": 700, "height": 900})
    text = "text => { document.querySelector('#chosen-day span').textContent = text }"
    page.evaluate(text, "672 answers, " * 12)  # a long text moves the step, but not over the key
    step = page.get_by_role("button", name="Day after").bounding_box()
    key = page.locator(".beneath .scale").first.bounding_box()
    assert step
    assert key
    assert step["x"] + step["width"] <= key["x"]
    page.set_viewport_size({"width": 1280, "height": 720})
    page.get_by_role("button", name="Year before").click()
    expect(page.get_by_role("grid")).to_have_accessible_name("Study days: 2023")
    year = page.get_by_role("region", name="The year")
    expect(year).to_contain_text("No study days in 2023.")
    page.get_by_role("button", name="Year after").click()
    assert browser.selected_day(page) == LAST_DAY
    page.evaluate("() => { navigator.share = async ({ text }) => { window.shared = text } }")
    page.locator("[data-key=reviewed] > summary").click()
    page.get_by_role("button", name="Share my year").click()
    lines = page.wait_for_function("() => window.shared").evaluate("text => text").split("\n")
    assert lines[:3] == ["My 2024", "study days: 61", "answers: 12,580"]
    assert "The longest run was 24 days: 13 September – 6 October 2024." in lines
    page.evaluate("navigator.share = null; navigator.clipboard.writeText = async () => {}; 0")
    page.get_by_role("button", name="Share my year").click()
    expect(page.locator("[data-key=review]")).to_contain_text("Copied")


def answer_together(page: Page, last_year: int) -> None:
    """Hold all responses for earlier years until the page requests `last_year`, the oldest."""
    held: list[Route] = []

    def answer(route: Route) -> None:
        if "Earlier" not in str(route.request.post_data):
            route.continue_()
            return
        held.append(route)
        if f"{last_year}-01-01" in str(route.request.post_data):
            while held:
                earlier = held.pop()
                earlier.fulfill(response=earlier.fetch())

    page.route(re.compile("/graphql$"), answer)


@pytest.mark.exhaustive
def test_an_earlier_year_is_loaded_on_demand(visitor: Visit, demo: Stack) -> None:
    user = browser.create_learner(demo)
    long_ago = datetime.now(UTC).replace(month=6, day=15, year=datetime.now(UTC).year - 6)
    rest = browser.envelope("RestDayTaken", long_ago, user_id=user, date=f"{long_ago.year}-06-14")
    ages = [datetime.now(UTC) - long_ago + timedelta(days=days) for days in (0, 2)]
    uncompleted = browser.lesson(user, 5, ago=ages[0] + timedelta(days=9))[:-1]
    lessons = (event for ago in ages for event in browser.lesson(user, 7, ago=ago))
    demo.publish(rest, *uncompleted, *lessons)
    page = visitor.open(user)
    first_day = f"{long_ago.year}-01-01"
    assert not [query for query in visitor.queries() if first_day in str(query.post_data)]
    answer_together(page, last_year=long_ago.year)
    grid, before = page.get_by_role("grid"), page.get_by_role("button", name="Year before")
    expect(grid).to_have_accessible_name("Study days: Last 12 months")
    expect(grid.get_by_role("row").nth(1).locator("td")).to_have_count(53)
    before.click()
    expect(grid).to_have_accessible_name(f"Study days: {datetime.now(UTC).year}")
    after = page.get_by_role("button", name="Year after")
    after.click()
    expect(after).to_have_attribute("aria-disabled", "true")
    for _ in range(7):  # before the last twelve months comes the current year
        before.click()
    expect(page.locator("#chosen-day")).to_contain_text(f"15 June {long_ago.year}")
    expect(page.locator("#chosen-day")).to_contain_text("7 answers")
    page.locator("[data-key=reviewed] > summary").click()
    run = re.compile(r"longest run was 2 days: 13\s–\s15 June")  # 14 June is a rest day
    expect(page.get_by_role("region", name="The year")).to_contain_text(run)
    expect(page.get_by_role("region", name="The year")).to_contain_text("3 study days, 19 answers.")
    page.get_by_role("button", name="All", exact=True).click()
    weeks = page.locator("[data-key=weeks]")
    expect(weeks).to_contain_text("Answers by month")
    expect(weeks).to_contain_text("23 answers since")


def test_days_before_the_page_s_own_range_change_neither_today_s_numbers_nor_the_selected_day(
    visitor: Visit, demo: Stack
) -> None:
    user = browser.create_learner(demo, ago=timedelta(days=1))
    # At New Year, the twelve months of the grid begin before the last calendar year.
    visitor.page.clock.set_fixed_time(f"{datetime.now(UTC).year + 1}-01-01T12:00:00Z")
    page = visitor.open(user)
    expect(page.get_by_role("region", name="The year")).to_contain_text("1 study day, 4 answers.")
    expect(page.locator("#live")).to_have_text("Live")
    demo.publish(*browser.lesson(user, 5))
    expect(page.locator("#chosen-day")).to_contain_text("5 answers")
    visitor.hear("Updated: 5 answers today, a streak of 2 days.")


ITEMS = "#/items"


def rows(page: Page) -> Locator:
    return page.locator(".item-list tbody tr")


def words(page: Page) -> list[str]:
    return rows(page).locator(".word").all_inner_texts()


def search(page: Page) -> Locator:
    return page.get_by_role("searchbox", name="Search by headword")


def at(page: Page) -> str:
    return urlsplit(page.url).fragment


def learn_words(visitor: Visit) -> str:
    """Publish a new learner's answers to 60 Japanese words, and one review; return the user id.

    Return once all of this is counted: the list of items does not change while it is shown.
    """
    user, day_ago = f"page-{uuid.uuid4()}", datetime.now(UTC) - timedelta(days=1)
    items = [f"{user}-{number:02}" for number in range(60)]
    events: list[Envelope] = [
        browser.envelope(
            "ItemPublished", day_ago, item_id=item, headword=f"食べる{number}", domains=["R"],
            cefr_level="A1", language="ja",
        )
        for number, item in enumerate(items)
    ]  # fmt: skip
    publish = visitor.stack.publish
    publish(*events, *browser.lesson(user, 1, 1, item=items[0]))
    publish(*(event for item in items[1:] for event in browser.lesson(user, 1, item=item)))
    review = {"item_id": items[0], "new_interval": 10, "easiness_factor": 2.5}
    publish(browser.envelope("ReviewProcessed", day_ago, user_id=user, **review))
    query = "{ itemStats(first: 60, orderBy: DUE) { edges { node { headword dueAt } } } }"

    def is_counted() -> bool:
        edges = visitor.ask(query, user, "learner")["itemStats"]["edges"]
        nodes = [edge["node"] for edge in edges]
        counted = [node for node in nodes if node["headword"]]
        return len(counted) == len(items) and any(node["dueAt"] for node in counted)

    readiness.wait(is_counted, "the answers", seconds=60)
    return user


def test_filters_and_order_are_in_the_url_and_the_back_button_restores_them(visit: Visits) -> None:
    page = visit().open(at=f"{ITEMS}?filter=leech")
    expect(page.get_by_label("Show")).to_have_value("LEECH")
    expect(page.get_by_label("Order")).to_have_value("LAPSES")
    page.get_by_label("Show").select_option("Weak")
    expect(page.get_by_label("Order")).to_have_value("ACCURACY")
    expect(rows(page).first).to_contain_text("action")
    assert at(page) == "/items?filter=struggling"
    page.get_by_label("Level").select_option("B1")
    expect(rows(page).first.locator(".tag")).to_have_text("B1")
    page.get_by_label("Skill").select_option("Reading")
    expect(page).to_have_url(re.compile("filter=struggling&level=B1&skill=R$"))
    page.go_back()
    page.go_back()
    expect(page.get_by_label("Level")).to_have_value("")
    expect(rows(page).first).to_contain_text("action")
    page.go_back()
    expect(page.get_by_label("Show")).to_have_value("LEECH")
    page.get_by_label("Order").select_option("Latest first")
    page.get_by_label("Show").select_option("Weak")
    expect(page.get_by_label("Order")).to_have_value("ACCURACY")
    page.get_by_label("Show").select_option("DUE")
    expect(rows(page).first).to_contain_text(re.compile(r"[\d,]+ days overdue"))


def test_arrow_keys_move_from_the_search_which_finds_headwords_with_its_text(
    visitor: Visit,
) -> None:
    page = visitor.open(at=ITEMS)
    expect(rows(page)).to_have_count(50)
    search(page).focus()
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    expect(rows(page).nth(1).get_by_role("link")).to_be_focused()
    for _ in range(2):
        page.keyboard.press("ArrowUp")
    expect(search(page)).to_be_focused()
    search(page).press_sequentially("Act")
    expect(rows(page).filter(has_not_text=re.compile("act", re.IGNORECASE))).to_have_count(0)
    shown = words(page)
    assert "action" in shown
    # All rows that contain "act" are loaded, so a longer search needs no request.
    queries = len(visitor.queries())
    search(page).press_sequentially("ion")
    expect(rows(page).filter(has_not_text=re.compile("action", re.IGNORECASE))).to_have_count(0)
    assert words(page) == [word for word in shown if "action" in word.lower()]
    assert len(visitor.queries()) == queries
    assert at(page) == "/items?search=Action"
    search(page).fill("no such word %")
    expect(page.get_by_text("No word matches.")).to_be_visible()


def test_an_item_s_page_shows_an_estimate_and_the_history(visitor: Visit) -> None:
    user = learn_words(visitor)
    visitor.page.add_init_script(_LATE)
    page = visitor.open(user, at=f"{ITEMS}?order=accuracy")
    expect(page.get_by_text("60 words")).to_be_visible()
    page.get_by_role("button", name="Show more").click()
    expect(rows(page)).to_have_count(60)
    first = rows(page).first.get_by_role("link", name="食べる0")
    expect(first.locator(".word")).to_have_attribute("lang", "ja")
    first.evaluate("link => { window.late = 'scroll'; scrollTo(0, 400); link.click(); }")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_contain_text("食べる0")
    expect(heading.locator("[lang=ja]")).to_have_count(1)
    expect(page).to_have_title("食べる0 · Progress")
    expect(page.locator("main")).to_contain_text(re.compile(r"Estimated recall\s*\d+%"))
    expect(page.locator("main")).to_contain_text(re.compile(r"Stability\s*90%"))
    difficulty = re.compile(r"Difficulty\s*(medium|hard) \(\d\.\d of 10\)")
    expect(page.locator("main")).to_contain_text(difficulty)
    expect(page.locator("main")).to_contain_text(re.compile(r"Answered right\s*1 of 2"))
    page.get_by_text("History as a table").click()
    expect(page.get_by_role("row", name=re.compile("due again after 10 days"))).to_be_visible()
    assert visitor.find_violations() == []
    page.go_back()
    expect(rows(page)).to_have_count(60)
    assert page.evaluate("scrollY") == 400


def test_numbers_lead_to_words_and_a_session_to_its_answers(visit: Visits, demo: Stack) -> None:
    user = browser.create_learner(demo, ago=timedelta(days=1))
    demo.publish(*browser.lesson(user, 20, ago=timedelta(days=20)))
    visitor = visit(**browser.PHONE)
    page = visitor.open(user)
    page.get_by_role("link", name="Yesterday’s mistakes").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Yesterday’s mistakes")
    link = page.get_by_role("link", name="Start now")
    expect(link).to_have_attribute("href", re.compile(r"\?filter=MISSED&from=([\d-]+)&to=\1&"))
    expect(rows(page)).to_have_count(1)
    visitor.move("#/")
    page.get_by_role("button", name="Day before").click()
    page.get_by_role("link", name="See the words").click()
    expect(page.get_by_text("1 word")).to_be_visible()
    visitor.move("#/")
    weeks = page.locator("[data-key=weeks]")
    weeks.locator(".bars g").filter(has_text="4 answers").click()  # on a Monday, the week before
    link = weeks.get_by_role("link", name="See the words")
    expect(link).to_have_attribute("href", re.compile("filter=answered&from="))
    sessions = page.locator("[data-key=sessions]")
    sessions.scroll_into_view_if_needed()
    sessions.get_by_role("link").first.click()
    expect(page.locator("[data-key=given] tbody tr")).to_have_count(4)
    expect(page.locator("[data-key=missed] a")).to_have_count(1)
    assert visitor.find_violations() == []
    visitor.move(f"{ITEMS}?filter=leech")
    page.get_by_role("link", name="See weak words instead").click()
    expect(page).to_have_url(re.compile("filter=struggling$"))


def learn_languages(visitor: Visit) -> str:
    """Publish a new learner's answers to German and French words, which are weak; return the id.

    The German ones are cards for reading and for typing. The batch job has counted the answers.
    """
    user, day_ago = f"page-{uuid.uuid4()}", datetime.now(UTC) - timedelta(days=1)
    words = {"maison": ("fr", "A2", "typing")}
    for number in range(6):
        words[f"Haus {number}"] = ("de", "A1", "typing" if number % 2 else "reading")
    for word, (language, level, kind) in words.items():
        item = f"{user}-{word}"
        visitor.stack.publish(
            browser.envelope(
                "ItemPublished", day_ago, item_id=item, headword=word, domains=["R"],
                cefr_level=level, language=language, kind=kind,
            ),
            *browser.lesson(user, 0, 3, item=item),
        )  # fmt: skip
    query = "{ languages { language } weak: itemStats(filter: STRUGGLING) { totalCount } }"
    languages = [{"language": language} for language in ("de", "fr")]
    counted = {"languages": languages, "weak": {"totalCount": len(words)}}
    visitor.wait_for(query, counted, user, "learner")
    visitor.stack.run_batch()
    return user


def test_a_learner_of_two_languages_selects_one_and_the_address_keeps_it(visitor: Visit) -> None:
    page = visitor.open(learn_languages(visitor))
    how_far = page.get_by_role("region", name="How far")
    # The German items are of two kinds.
    buttons = how_far.get_by_role("group", name="Language of the cards").get_by_role("button")
    expect(buttons).to_have_text(["All languages", "German", "French"])
    levels = how_far.locator("[data-key=levels] tbody th")
    expect(levels.filter(has_text=re.compile("A[12]"))).to_have_text(["A1", "A2"])
    buttons.filter(has_text="French").click()
    expect(page.locator("[data-key=weakest] .word")).to_have_text(["maison"])
    expect(levels).to_have_text(["A2"])
    expect(page).to_have_url(re.compile("[?&]language=fr"))
    expect(page.locator("[data-key=known] .figure")).to_contain_text("of 1 card")
    expect(page.get_by_role("region", name="Today")).to_contain_text("All languages")
    expect(page.locator("#chosen-day span a:not([href*=language])")).to_have_count(2)  # of all, too
    page.reload()
    visitor.settle()
    expect(buttons.filter(has_text="French")).to_have_attribute("aria-pressed", "true")
    assert visitor.find_violations("[data-key=how-far]") == []

    page.get_by_role("link", name="Levels and exam").click()
    visitor.settle()
    assert at(page) == "/knowledge?language=fr"
    figure = page.locator("[data-key=now] .figure")
    expect(figure).to_contain_text("of 1 card")
    for key in ("recalls", "intervals", "trust"):
        expect(page.locator(f"[data-key={key}]")).to_contain_text("All languages")
    page.get_by_role("button", name="German").click()
    expect(figure).to_contain_text("of 6 cards")
    assert at(page) == "/knowledge?language=de"

    page.get_by_role("link", name="All cards", exact=True).click()
    visitor.settle()
    expect(rows(page)).to_have_count(6)
    page.get_by_label("Language of the cards").select_option("French")
    expect(rows(page)).to_have_count(1)
    assert words(page) == ["maison"]
    page.get_by_label("Language of the cards").select_option("All languages")
    expect(rows(page)).to_have_count(7)
    assert at(page) == "/items"
    page.go_back()
    expect(rows(page)).to_have_count(1)
