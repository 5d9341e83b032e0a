"""Stories that the page answers alone, to learners and to support: why a number is what it is."""

import json
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, expect

from tests.support import browser, http_client, recent_events
from tests.support.browser import Visits, envelope
from tests.support.local_stack import Envelope, Stack

DAY = timedelta(days=1)


class Learner:
    """A learner for whom it is about noon, and whose days begin at 4:00."""

    def __init__(self, demo: Stack, visit: Visits) -> None:
        self.demo, self.visit = demo, visit
        self.user = browser.create_learner(demo)
        self.zone = recent_events.noon_zone()
        self.today = datetime.now(ZoneInfo(self.zone)).date()
        long_ago = datetime.now(UTC) - 998 * DAY
        demo.publish(envelope("UserPreferencesChanged", long_ago, **self.about(day_start_hour=4)))

    def about(self, **data: object) -> dict[str, object]:
        return {"user_id": self.user, **data}

    def at(self, days_ago: int, hour: int, minute: int = 0) -> datetime:
        """Return a time by the learner's clock."""
        clock = time(hour, minute)
        return datetime.combine(self.today - days_ago * DAY, clock, ZoneInfo(self.zone))

    def card(self, at: datetime, item: str = "i1") -> Envelope:
        data = self.about(item_id=item, rating=3, interval_days=1)
        return envelope("CardReviewed", at, **data)

    def open(self, view: str, role: str) -> Page:
        """Open a view about the learner as the learner, or as somebody with a role."""
        of_other = "" if role == "learner" else f"/{self.user}"
        visitor = self.visit(timezone_id=self.zone)
        who = (self.user, "learner") if role == "learner" else ("sue", role)
        page = visitor.open(*who, f"#/{view}{of_other}", ["class-1"])
        assert visitor.find_violations() == []
        page.set_viewport_size({"width": 320, "height": 640})
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        return page


@pytest.fixture
def learner(demo: Stack, visit: Visits) -> Learner:
    return Learner(demo, visit)


def test_a_lost_streak_is_explained_by_the_day_s_start(learner: Learner) -> None:
    days = [learner.at(5, 12), learner.at(4, 12), learner.at(2, 4, 20), learner.at(1, 12)]
    learner.demo.publish(*map(learner.card, days))
    ended = learner.today - 3 * DAY
    for role in ("learner", "support"):
        page = learner.open("streak", role)
        reason = page.locator("[data-key=reason]")
        expect(reason).to_contain_text("20m too late")
        expect(reason).to_contain_text("your answer" if role == "learner" else "the answer")
        missed = page.get_by_role("row").filter(has_text="ended a streak of 2 days")
        expect(missed.get_by_role("link")).to_have_count(1)
        expect(page.get_by_role("row").filter(has_text="studied")).to_have_count(4)
        missed.get_by_role("link").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(f"{ended.day}")
        expect(page.get_by_text("Nothing is recorded on this day.")).to_be_visible()


def test_an_answer_that_the_device_and_the_app_sent_is_told_to_count_twice(
    learner: Learner,
) -> None:
    at = learner.at(1, 12)
    learner.demo.publish(learner.card(at, "twice"), learner.card(at, "once"))
    own = learner.card(at + timedelta(seconds=1), "twice")
    body = json.dumps(own).encode()
    token = learner.demo.token(learner.user)
    headers = http_client.headers(token, **{"content-type": "application/json"})
    assert http_client.fetch(learner.demo.port, "POST", "/events", body, headers)[0] == 202
    learner.demo.await_projection()
    for role in ("learner", "support"):
        page = learner.open(f"day/{learner.today - DAY}", role)
        expect(page.get_by_text("it counts twice")).to_be_visible()
        rows = page.get_by_role("row").filter(has_text="twice")
        expect(rows.filter(has_text="own device")).to_have_count(1)
        expect(rows.filter(has_text="the app’s server")).to_have_count(1)
        expect(page.get_by_text("CardReviewed")).to_have_count(0 if role == "learner" else 3)


def test_a_retracted_day_says_that_its_answers_were_taken_back(learner: Learner) -> None:
    studied, gone, again = (learner.card(learner.at(ago, 12)) for ago in (3, 2, 1))
    learner.demo.publish(studied, gone, again)
    page = learner.open("", "learner")
    page.locator("#chosen-day b").get_by_role("link").click()
    expect(page.get_by_role("row").filter(has_text="session finished")).to_have_count(1)
    retracted = learner.about(retracted_event_id=gone["event_id"])
    learner.demo.publish(envelope("EventRetracted", learner.at(1, 13), **retracted))
    for role in ("learner", "support"):
        page = learner.open("learner" if role == "support" else "", role)
        page.locator(".tile").filter(has_text="Streak").locator(".figure a").click()
        page.get_by_role("link", name="1 answer of this day does not count: see why").click()
        expect(page.get_by_role("row").filter(has_text="no: it was taken back")).to_have_count(1)
        expect(page.get_by_text("0 answers count")).to_be_visible()


def test_a_teacher_sees_the_days_of_a_streak_without_events(learner: Learner) -> None:
    joined = learner.about(group_id="class-1")
    days = [learner.at(3, 12), learner.at(1, 4, 20)]
    learner.demo.publish(envelope("LearnerJoinedGroup", **joined), *map(learner.card, days))
    page = learner.open("streak", "teacher")
    expect(page.get_by_role("row").filter(has_text="ended a streak of 1 day")).to_have_count(1)
    expect(page.get_by_role("table").get_by_role("link")).to_have_count(0)
    page = learner.open("learner", "teacher")
    expect(page.locator("#chosen-day b").get_by_role("link")).to_have_count(0)
