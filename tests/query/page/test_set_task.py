"""A teacher sets words and lists as tasks, changes their day and takes them back."""

import uuid
from datetime import UTC, date, datetime, timedelta

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support import browser
from tests.support.browser import PHONE, Visit, Visits


def open_class(visitor: Visit) -> tuple[Page, str, str]:
    """Show a class of three who have forgotten two words of the catalogue and two others."""
    group, now, ago = f"group-{uuid.uuid4()}", datetime.now(UTC), timedelta(days=200)
    users = [browser.create_learner(visitor.stack, ago=ago) for _ in range(3)]
    items = [f"{group}-{n}" for n in range(3)]
    lessons = [
        event
        for user in users
        for item in items
        for event in browser.lesson(user, 1, 1, ago=ago, item=item)
    ]
    words = {"headword": "word", "domains": ["R"], "cefr_level": "A1"}
    visitor.stack.publish(
        *(browser.envelope("LearnerJoinedGroup", now, user_id=u, group_id=group) for u in users),
        *(browser.envelope("ItemPublished", now - ago, item_id=i, **words) for i in items[:2]),
        *lessons,
    )
    page = visitor.open("tess", "teacher", f"#/group/{group}", [group])
    expect(page.locator("[data-key=fading] li")).to_have_count(4)
    return page, group, users[0]


def day_in(dialog: Locator, days: int) -> str:
    """Return a day after the first one that can be chosen, which is the browser's today."""
    first = date.fromisoformat(dialog.get_by_label("Until").get_attribute("min") or "")
    return str(first + timedelta(days=days))


def dialog_of(page: Page) -> Locator:
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    return dialog


@pytest.mark.parametrize("options", [{}, PHONE], ids=["wide", "phone"])
def test_words_become_a_task_in_three_presses(visit: Visits, options: dict[str, object]) -> None:
    visitor = visit(**options)
    page, _, _ = open_class(visitor)
    page.locator("[data-key=fading]").get_by_role("button", name="Set as a task").focus()
    page.keyboard.press("Enter")
    dialog = dialog_of(page)
    expect(dialog.get_by_role("checkbox")).to_have_count(2)
    expect(dialog).to_contain_text("2 more words are not in the catalogue, and stay out.")
    expect(dialog.get_by_label("Until")).to_have_value(day_in(dialog, 7))
    assert visitor.find_violations("dialog") == []
    dialog.get_by_role("button", name="Set as a task").focus()
    page.keyboard.press("Enter")
    row = page.locator("[data-key=tasks]").get_by_role("row").last
    expect(row).to_contain_text("3 of 3 have done it")
    assert visitor.find_violations("[data-key=tasks]") == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_task_s_day_is_changed_and_the_task_taken_back(visitor: Visit) -> None:
    page, _, _ = open_class(visitor)
    page.locator("[data-key=hardest]").get_by_role("button", name="Set as a task").click()
    dialog = dialog_of(page)
    dialog.get_by_role("checkbox").first.uncheck()
    dialog.get_by_label("Name").fill("Unit 9")
    dialog.get_by_label("Until").fill("2020-01-01")
    dialog.get_by_role("button", name="Set as a task").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Choose a day from")
    soon = day_in(dialog, 3)
    dialog.get_by_label("Until").fill(soon)
    dialog.get_by_role("button", name="Set as a task").click()
    tasks = page.locator("[data-key=tasks]")
    tasks.get_by_role("button", name="Change the day Unit 9").click()
    dialog = dialog_of(page)
    expect(dialog.get_by_label("Until")).to_have_value(soon)
    later = day_in(dialog, 9)
    dialog.get_by_label("Until").fill(later)
    dialog.get_by_role("button", name="Save").click()
    changed = tasks.get_by_role("button", name="Change the day")
    expect(changed).to_have_attribute("data-day", later)
    tasks.get_by_role("link", name="Unit 9").click()
    expect(page.get_by_text("1 word, until")).to_be_visible()
    page.get_by_role("button", name="Take back").click()
    dialog_of(page).get_by_role("button", name="Take back").click()
    expect(page.locator("[data-key=learners]")).to_be_visible()
    expect(tasks).to_have_count(0)


def test_a_pupil_s_words_and_a_list_become_tasks_that_the_pupil_sees_at_once(
    visit: Visits,
) -> None:
    visitor, pupil = visit(), visit()
    page, group, user = open_class(visitor)
    now = datetime.now(UTC)
    visitor.stack.publish(
        browser.envelope("ListPublished", now, list_id=group, name="Unit 7"),
        browser.envelope("ItemListed", now, list_id=group, item_id=f"{group}-new"),
    )
    theirs = pupil.open(user)
    expect(theirs.locator("[data-key=news]")).to_be_visible()
    visitor.move(f"#/items/{user}?group={group}")
    page.get_by_role("button", name="Set as a task").click()
    dialog_of(page).get_by_role("button", name="Set as a task").click()
    expect(page.get_by_text("2 words, until")).to_be_visible()
    visitor.move(f"#/list/{group}/{user}?group={group}")
    page.get_by_role("button", name="Set as a task").click()
    dialog_of(page).get_by_role("button", name="Save").click()
    expect(page.get_by_text("1 word, until")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Unit 7")
    expect(theirs.locator("[data-key=news]")).to_contain_text("Unit 7: 0 of 1 learned")
