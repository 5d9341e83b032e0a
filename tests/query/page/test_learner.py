"""The sections of the learner's page: what they show of the learner's record."""

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from tests.support import browser
from tests.support.browser import Stack, Visit

pytestmark = pytest.mark.timeout(180)

Visits = Callable[..., Visit]


def test_the_page_shows_the_demo_learner_s_numbers(visit: Visits) -> None:
    page = visit().open()
    today = browser.section(page, "Today")
    assert re.search(r"Streak\s+0\s+days", today)
    assert "Last study day: 6 October 2024" in today
    assert "Longest: 24 days, 13 September – 6 October 2024" in today
    assert re.search(r"1,205\s+due", today)
    year = browser.section(page, "The year")
    assert "61 study days, 12,580 answers." in year
    assert "The most recent study day was 6 October 2024." in year
    assert re.search(r"Oct\s+6\s+[\d,]+\s+\d\d%", year)
    assert "The longest run was 24 days: 13 September – 6 October 2024." in year
    how_far = browser.section(page, "How far")
    # The totals vary, because other tests add items to the catalogue.
    assert re.search(r"A1\s+469 of 1,\d{3} \(\d\d%\)", how_far)
    assert all(level in how_far for level in ("A2", "B1", "B2", "C1", "C2"))
    assert re.search(r"Reading\s+800 of \d,\d{3}", how_far)
    assert re.search(r"Items learned\s+1,203", how_far)
    assert re.search(r"action\s+A1\s+29%\s+4 of 14", browser.section(page, "Items"))
    assert "1,205 items are due today" in browser.section(page, "When")
    weak = page.get_by_role("link", name=re.compile(r"See all \d+ weak items"))
    expect(weak).to_have_attribute("href", "#/items?filter=struggling")


def test_the_next_step_leads_to_the_app(visit: Visits) -> None:
    page = visit().open()
    today = browser.section(page, "Today")
    assert "0 newly due, 1,205 overdue" in today
    link = page.get_by_role("link", name="Start now")
    expect(link).to_have_attribute("href", browser.APP)


def test_the_chart_of_weeks_is_also_available_as_a_table(visit: Visits, demo: Stack) -> None:
    page = visit().open(browser.create_learner(demo))
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
    expect(page.get_by_role("main").get_by_role("listitem")).to_have_count(3)  # instructions
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


def test_levels_and_skills_are_shown_as_being_counted_until_the_batch_job_has_run(
    visit: Visits, demo: Stack
) -> None:
    user = browser.create_learner(demo)
    page = visit().open(user)
    marks = page.get_by_role("region", name="How far").get_by_text("Being counted")
    expect(marks).to_have_count(2, timeout=20_000)
    demo.progress("batch")
    page.reload()
    expect(marks).to_have_count(0, timeout=20_000)


def test_japanese_headwords_have_a_lang_attribute(visit: Visits, demo: Stack) -> None:
    user, item = browser.create_learner(demo), str(uuid.uuid4())
    at = datetime.now(UTC) - timedelta(days=1)
    item_data = {"item_id": item, "headword": "食べる", "domains": ["R"], "cefr_level": "A1"}
    demo.publish(
        browser.envelope("ItemPublished", at, **item_data), *browser.lesson(user, 1, 4, item=item)
    )
    page = visit().open(user)
    word = page.get_by_role("region", name="Items").get_by_text("食べる")
    expect(word).to_have_attribute("lang", "ja", timeout=20_000)


def test_a_button_leads_to_each_section(visit: Visits) -> None:
    page = visit().open()
    buttons = page.get_by_role("navigation", name="Sections").get_by_role("button")
    headings = [heading.inner_text() for heading in page.get_by_role("heading", level=2).all()]
    assert buttons.count() == len(headings)
    for number, heading in enumerate(headings):
        buttons.nth(number).click()
        assert page.evaluate("document.activeElement.innerText") == heading
