"""The dialogs with which learners set a goal and take a rest day."""

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.support import browser
from tests.support.browser import Visit, Visits
from tests.support.local_stack import Stack


def test_learners_set_change_undo_and_remove_their_own_goal_only_today(
    visitor: Visit, visit: Visits, demo: Stack
) -> None:
    user = browser.create_learner(demo)
    page = visitor.open(user)
    today = page.get_by_role("region", name="Today")
    dialog = page.get_by_role("dialog", name="Daily goal")
    answers = dialog.get_by_label("Answers per day")
    undo = dialog.get_by_role("button", name="Undo the last change")
    change = page.get_by_role("button", name="Change the goal")
    with page.expect_response(lambda response: "GoalSet" in (response.request.post_data or "")):
        page.get_by_role("button", name="Set a goal").click()
    expect(dialog).to_contain_text("you gave 4 answers on average")
    expect(undo).to_have_count(0)
    for wrong in ("0", "1001", "2.5", ""):
        answers.fill(wrong)
        answers.press("Enter")
        expect(dialog.get_by_role("alert")).to_have_text("Enter a whole number from 1 to 1,000.")
    assert visitor.find_violations("dialog") == []
    answers.fill("30")
    answers.press("Enter")
    expect(today).to_contain_text("26 more to your goal of 30")
    expect(dialog).to_have_count(0)
    change.click()
    expect(answers).to_have_value("30")
    answers.fill("20")
    dialog.get_by_role("button", name="Save").click()
    expect(today).to_contain_text("your goal of 20")
    change.click()
    expect(dialog).to_contain_text("the goal was 30 answers a day")
    assert visitor.find_violations("dialog") == []
    undo.click()
    expect(today).to_contain_text("your goal of 30")
    visitor.hear("Undone")
    change.click()
    expect(dialog).to_contain_text("Before the last change, you had no goal.")
    dialog.get_by_role("button", name="Remove the goal").click()
    expect(today).to_contain_text("Answers today")
    commands = "[data-command]"
    expect(page.locator(commands)).to_have_count(2)
    past = datetime.now(UTC) - timedelta(days=2)
    page.evaluate(f"location.hash = '#/?on={past:%Y-%m-%d}'")
    expect(page.locator(".then")).to_be_visible()
    expect(page.locator(commands)).to_have_count(0)
    other = visit().open(f"support-{uuid.uuid4()}", "support", at=f"#/learner/{user}")
    expect(other.get_by_role("region", name="Today")).to_be_visible()
    expect(other.locator(commands)).to_have_count(0)


def test_a_learner_takes_rest_days_sees_which_are_refused_and_takes_one_back(
    visit: Visits, demo: Stack
) -> None:
    visitor = visit(viewport={"width": 320, "height": 700}, locale="en-GB")
    page = visitor.open(browser.create_learner(demo))
    open_dialog = page.locator("[data-command=rest]")
    expect(open_dialog).to_have_text("Take a rest day")
    open_dialog.click()
    dialog = page.get_by_role("dialog", name="Take a rest day")
    days = dialog.get_by_role("radio")
    expect(days).to_have_count(8)
    expect(dialog).to_contain_text("you have already studied, so your streak is safe without it")
    assert visitor.find_violations("dialog") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    take = dialog.get_by_role("button", name="Take the rest day")
    take.click()
    expect(dialog.get_by_role("alert")).to_have_text("Choose a day.")
    # Of eight days in a row, one ISO week has at least four.
    now = datetime.now(UTC)
    start = 0 if now.weekday() <= 3 else 7 - now.weekday()
    for place in (start, start + 1):
        days.nth(place).check()
        take.click()
        expect(dialog).to_have_count(0)
        open_dialog.click()
        expect(days.nth(place)).to_be_disabled()
    expect(days.nth(start + 2)).to_be_disabled()
    expect(dialog.locator("label").nth(start)).to_contain_text("already a rest day")
    expect(dialog.locator("label").nth(start + 2)).to_contain_text("this week already has two")
    page.keyboard.press("Escape")
    expect(open_dialog).to_have_text("Change rest days")
    later = now + timedelta(days=start + 1)
    today = page.get_by_role("region", name="Today")
    expect(today).to_contain_text("Rest days ahead: ")
    expect(today).to_contain_text(f"{later.day} {later:%b}")
    open_dialog.click()
    undo = dialog.get_by_role("button", name="Take back")
    expect(undo).to_have_count(2)
    assert visitor.find_violations("dialog") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 320

    def refuse(route: Route) -> None:
        is_mutation = "mutation" in (route.request.post_data or "")
        route.fulfill(json=error("BAD_USER_INPUT")) if is_mutation else route.continue_()

    page.route("**/graphql", refuse)
    undo.last.click()
    expect(dialog.get_by_role("alert")).to_have_text("This can no longer be undone.")
    page.unroute("**/graphql")
    # After a refusal, the dialog loads the days again, and takes no command meanwhile.
    expect(dialog).to_have_attribute("aria-busy", "false")
    undo.last.click()
    expect(dialog).to_have_count(0)
    visitor.hear("Undone")
    open_dialog.click()
    expect(days.nth(start + 1)).to_be_enabled()
    expect(undo).to_have_count(1)


def test_a_learner_sets_an_item_aside_and_takes_it_back(visitor: Visit, visit: Visits) -> None:
    user, item = browser.create_learner(visitor.stack), f"aside-{uuid.uuid4()}"
    described = browser.envelope("ItemPublished", item_id=item)
    described["data"] |= {"headword": "aside", "kind": "typing"}
    visitor.stack.publish(described, *browser.lesson(user, 1, item=item))
    page = visitor.open(user, at=f"#/item/{item}")
    head = page.get_by_role("heading", level=1)
    expect(head).to_have_text("aside typing")
    page.get_by_role("button", name="Set this word aside").click()
    back = page.get_by_role("button", name="Take this word back")
    expect(back).to_be_visible()
    expect(back).to_be_focused()
    expect(page.get_by_text("This word is set aside: it is not due")).to_have_count(2)
    assert visitor.find_violations("main") == []
    page.goto(f"{visitor.stack.page}#/items?filter=set_aside")
    expect(page.locator(".item-list th a")).to_have_text("aside")
    page.locator(".item-list th a").click()
    requests: list[str] = []

    def fail_once(route: Route) -> None:
        body = json.loads(route.request.post_data or "")
        if "setItemAside" in body["query"]:
            requests.append(body["variables"]["key"])
            if len(requests) == 1:
                return route.abort()
        return route.continue_()

    page.route("**/graphql", fail_once)
    back.click()
    expect(page.get_by_role("alert")).to_be_visible()
    back.click()
    expect(page.get_by_role("button", name="Set this word aside")).to_be_visible()
    assert requests == [requests[0]] * 2, "a repetition has the same key"
    teacher = visit()
    of_learner = teacher.open("support", "support", at=f"#/item/{item}/{user}")
    expect(of_learner.get_by_role("heading", level=1)).to_have_text("aside typing")
    expect(of_learner.get_by_role("button", name="Set this word aside")).to_have_count(0)


def test_the_page_says_if_a_change_is_refused_or_fails_or_is_not_counted_yet(
    visit: Visits, demo: Stack
) -> None:
    page = visit().open(browser.create_learner(demo))
    sent: list[Any] = []
    held: list[Route] = []
    answers: list[dict[str, Any]] = [
        error("BAD_USER_INPUT"),
        *(error("UNAVAILABLE") for _ in range(3)),
        {"data": {"event": {"counted": False}}},
    ]

    def respond(route: Route) -> None:
        body: dict[str, Any] = json.loads(route.request.post_data or "")
        if len(sent) == 1 and "RestDays(" in body["query"]:
            return held.append(route)
        if "mutation" not in body["query"]:
            return route.continue_()
        sent.append(body["variables"])
        return route.fulfill(json=answers.pop(0))

    page.route("**/graphql", respond)
    page.get_by_role("button", name="Take a rest day").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("radio").nth(1).check()
    take = dialog.get_by_role("button", name="Take the rest day")
    alert = dialog.get_by_role("alert")
    with page.expect_request(lambda request: "RestDays(" in (request.post_data or "")):
        take.click()
    expect(alert).to_contain_text("This day can no longer become a rest day.")
    day = dialog.get_by_role("radio").nth(1)
    expect(day).to_be_disabled()
    held.pop().continue_()
    expect(day).to_be_enabled()
    day.check()
    take.click()
    failed = "The server does not respond. Try again: it counts only once."
    expect(alert).to_have_text(failed)
    for choice in (day, dialog.get_by_role("radio").nth(2)):
        choice.check()
        take.click()
        expect(alert).to_have_text(failed)
    day.check()
    take.click()
    waiting = "Saved. It will be shown here in a moment."
    today = page.get_by_role("region", name="Today")
    expect(today).to_contain_text(waiting)
    # A repetition has the same key, but not after another change: it might then have no effect.
    first, second, repeated, other, last = (variables["key"] for variables in sent)
    assert second == repeated
    assert len({first, second, other, last}) == 4
    page.unroute("**/graphql")
    page.get_by_role("button", name="Take a rest day").click()
    day.check()
    take.click()
    expect(today).to_contain_text("Rest days ahead")
    expect(today).not_to_contain_text(waiting)


def error(code: str) -> dict[str, Any]:
    return {"data": None, "errors": [{"message": "no", "extensions": {"code": code}}]}


@pytest.mark.exhaustive
def test_the_year_marks_rest_days_and_days_that_met_the_goal(visitor: Visit, demo: Stack) -> None:
    user, ago = f"page-{uuid.uuid4()}", timedelta(days=15)
    at = datetime.now(UTC) - ago
    goal = browser.envelope("GoalSet", at, user_id=user, answers_per_day=3)
    rest = browser.envelope("RestDayTaken", at, user_id=user, date=f"{at:%Y-%m-%d}")
    demo.publish(*browser.lesson(user, 3, ago=ago), goal, rest)
    page = visitor.open(user)
    day = page.locator(f"[data-day='{at:%Y-%m-%d}']")
    expect(day).to_have_class("heat-3 rest met")
    expect(day).to_have_attribute("aria-label", re.compile("goal met, rest day$"))
    expect(page.locator("[data-key=grid]")).to_contain_text("goal metrest day")
    assert page.locator(".year .met").count() == 1
    assert visitor.find_violations() == []  # a wide page of a learner with a goal and rest days
