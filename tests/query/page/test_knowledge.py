"""What a learner is expected to know, an item's forgetting curve, and what a group forgets."""

import itertools
import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support import browser
from tests.support.browser import DEMO, Visit, Visits
from tests.support.local_stack import Envelope, Stack

KNOWLEDGE = "#/knowledge"
DAY = "2024-09-20"


def card(page: Page, key: str) -> Locator:
    return page.locator(f"[data-key={key}]")


def figure(of: Locator) -> tuple[int, int]:
    """Return the expected number and the number of answered items of a card."""
    found = re.search(r"about\s*([\d,]+)\s*of ([\d,]+) words?", of.locator(".figure").inner_text())
    assert found
    return int(found[1].replace(",", "")), int(found[2].replace(",", ""))


def learn(demo: Stack, right: int, wrong: int, *days_ago: int) -> str:
    """Publish a new learner's answer to each of right + wrong items on each of the days."""
    user, events = f"page-{uuid.uuid4()}", list[Envelope]()
    for ago, number in itertools.product(map(timedelta, days_ago), range(right + wrong)):
        is_right, item = number < right, f"{user}-{number}"
        events += browser.lesson(user, is_right, not is_right, ago=ago, item=item)
    demo.publish(*events)
    return user


def wait_for_items(visitor: Visit, user: str, items: int) -> None:
    text = f'{{ knowledge(userId: "{user}") {{ items }} }}'
    visitor.wait_for(text, {"knowledge": {"items": items}})


def test_the_learner_s_page_begins_with_the_estimate_and_leads_to_its_levels(
    visitor: Visit,
) -> None:
    fields = "items expected levels { level expected fading }"
    question = f'{{ knowledge(userId: "{DEMO}") {{ {fields} }} }}'
    before = visitor.ask(question)["knowledge"]
    page = visitor.open()
    tile = card(page, "known")
    expect(tile).to_contain_text(re.compile(r"((more|fewer) than|as many as) on"))
    expect(tile.locator(".ghost")).to_have_count(0)  # other numbers keep the place at first
    estimate = figure(tile)
    tile.get_by_role("link", name="Levels and exam").click()
    visitor.settle()
    expect(page).to_have_title("What I know · Progress")
    assert figure(card(page, "now")) == estimate
    known = visitor.ask(question)["knowledge"]
    # Knowledge fades from minute to minute, so the page shows a number between the two answers.
    expected, items = figure(card(page, "now"))
    assert int(known["expected"]) <= expected <= int(before["expected"])
    assert items == known["items"]
    rows = card(page, "now").get_by_role("row")
    expect(rows).to_have_count(1 + len(known["levels"]))
    for row, first, level in zip(rows.all()[1:], before["levels"], known["levels"], strict=True):
        expect(row).to_contain_text("No level" if level["level"] == "UNKNOWN" else level["level"])
        (number,) = re.findall(r"about ([\d,]+) of", row.inner_text())
        shown_items = int(number.replace(",", ""))
        assert int(level["expected"]) <= shown_items <= int(first["expected"])
        expect(row.get_by_role("cell").last).to_have_text(f"{level['fading']:,}")
    expect(card(page, "trust")).to_contain_text("It sees only right and wrong")


@pytest.mark.exhaustive
def test_the_day_of_an_exam_stays_in_the_browser_and_shows_what_remains_then(
    visitor: Visit,
) -> None:
    page = visitor.open(at=KNOWLEDGE)
    exam = card(page, "exam")
    expect(exam).to_contain_text("Choose a day")
    day = datetime.now(UTC).date() + timedelta(days=100)
    pick(page, str(day))
    expect(exam).to_contain_text(f"Expected on {day.day} {day:%B %Y}, without further study.")
    now, items = figure(card(page, "now"))
    then, same = figure(exam)
    assert then < now
    assert items == same
    expect(exam).to_contain_text(f"That is {now - then:,} words fewer.")
    page.reload()
    visitor.settle()
    assert figure(exam) == (then, items)
    expect(page.get_by_label("Day of the exam")).to_have_value(str(day))
    page.evaluate(f"localStorage.setItem('exam-day:{DEMO}', '2024-03-01')")
    page.reload()
    visitor.settle()
    expect(exam).to_contain_text("1 March 2024 is not ahead")
    expect(page.get_by_label("Day of the exam")).to_have_value("")
    pick(page, "2024-02-01")
    expect(exam).to_contain_text("1 February 2024 is not ahead")
    guess = "More than a year ahead, no test has checked this estimate."
    for days, count in ((400, 1), (300, 0)):
        pick(page, str(datetime.now(UTC).date() + timedelta(days)))
        expect(exam).to_contain_text("Expected on")
        expect(exam.get_by_text(guess)).to_have_count(count)
    pick(page, "")
    expect(exam).to_contain_text("Choose a day")
    assert page.evaluate("localStorage.length") == 0


def pick(page: Page, day: str) -> None:
    date_input = page.get_by_label("Day of the exam")
    date_input.fill(day)
    date_input.dispatch_event("change")


def test_the_curve_ends_with_the_number_expected_now_and_a_past_day_has_none(
    visitor: Visit,
) -> None:
    page = visitor.open(at=KNOWLEDGE)
    curve = card(page, "curve")
    curve.get_by_text("as a table").first.click()
    newest = curve.get_by_role("row").nth(1).get_by_role("cell")
    expected, items = figure(card(page, "now"))
    expect(newest).to_have_text([f"{items:,}", f"{expected:,}"])
    assert curve.get_by_role("row").count() > 24  # months since 2024
    shares = card(page, "fading").locator(".recall").all_inner_texts()
    rates = [int(share.removesuffix("%")) for share in shares]
    assert len(rates) == 10
    assert rates == sorted(rates)
    assert rates[-1] < 70
    page.get_by_role("link", name=re.compile(r"See all [\d,]+ fading words")).click()
    expect(page.get_by_label("Show")).to_have_value("FADING")
    expect(page.get_by_label("Order")).to_have_value("RECALL")
    expect(page.get_by_text("Answered right before, estimated recall under 70%")).to_be_visible()
    first = page.locator(".item-list tbody tr").first
    expect(first).to_contain_text(shares[0])
    visitor.move(f"{KNOWLEDGE}?on={DAY}")
    now = card(page, "now")
    expect(now).to_contain_text("Expected to know on 20 September 2024")
    expected, items = figure(now)
    assert 0 < expected < items < 1_203
    expect(curve).to_have_count(0)
    expect(page.locator(".stamp")).to_have_count(0)
    expect(page.get_by_text("Can I trust this?")).to_have_count(0)
    pick(page, "2024-12-24")
    expect(card(page, "exam")).to_contain_text("Expected on 24 December 2024")
    assert figure(card(page, "exam"))[0] < expected


@pytest.mark.exhaustive
def test_the_estimate_says_how_well_it_predicted_or_that_tests_are_missing(
    visitor: Visit, visit: Visits, demo: Stack
) -> None:
    user = learn(demo, 48, 12, 4, 1)
    page = visitor.open(at=KNOWLEDGE)
    page.get_by_text("Can I trust this?").click()
    expect(card(page, "trust")).to_contain_text("after 50 tests within a year")
    wait_for_items(visitor, user, 60)
    demo.run_batch()
    other = visit()
    page = other.open(user, at=KNOWLEDGE)
    page.get_by_text("Can I trust this?").click()
    trust = card(page, "trust")
    expect(trust).to_contain_text("60 answers came on a later day")
    rows = trust.get_by_role("row").all()[1:]
    tests = [int(row.get_by_role("cell").last.inner_text()) for row in rows]
    assert (len(tests), sum(tests)) == (10, 60)
    assert trust.locator("circle").count() == sum(map(bool, tests))
    assert other.find_violations("[data-key=trust]") == []


@pytest.mark.exhaustive
def test_estimate_and_list_say_their_time_and_can_be_refreshed(
    visitor: Visit, visit: Visits, demo: Stack
) -> None:
    user = learn(demo, 1, 0, 3)
    wait_for_items(visitor, user, 1)
    page = visitor.open(user, at=KNOWLEDGE)
    expect(page.locator(".stamp")).to_have_text(re.compile(r"^As of \d\d:\d\d.* · Refresh$"))
    other = visit()
    items = other.open(user, at="#/items")
    demo.publish(*browser.lesson(user, 1, item=f"{user}-new"))
    wait_for_items(visitor, user, 2)
    assert figure(card(page, "now"))[1] == 1
    page.get_by_role("button", name="Refresh").click()
    expect(card(page, "now")).to_contain_text("of 2 words")
    expect(page.get_by_role("button", name="Refresh")).to_be_focused()
    expect(page.locator("#status")).to_contain_text("As of")
    items.get_by_role("button", name="Refresh").click()
    expect(items.get_by_role("region", name="Words").get_by_text("2 words")).to_be_visible()
    assert visitor.find_violations(".stamp") == other.find_violations(".stamp") == []


@pytest.mark.exhaustive
def test_a_learner_without_answers_is_told_when_the_estimate_begins(visit: Visits) -> None:
    page = visit().open(f"page-{uuid.uuid4()}", at=KNOWLEDGE)
    expect(page.get_by_text("The estimate begins with the first answer.")).to_be_visible()


def test_an_item_s_page_shows_its_forgetting_curve(visitor: Visit, demo: Stack) -> None:
    user = learn(demo, 1, 0, 9, 3)
    wait_for_items(visitor, user, 1)
    page = visitor.open(user, at=f"#/item/{user}-0")
    expect(card(page, "recall")).to_contain_text(re.compile(r"Stability\s*90% after \d+ days"))
    expect(card(page, "recall")).to_contain_text(re.compile(r"Difficulty\s*easy \(\d\.\d of 10\)"))
    curve = card(page, "history")
    assert curve.locator(".dot").count() == 2
    curve.get_by_text("as a table").first.click()
    table = curve.get_by_role("table").first
    rows = [row.inner_text().split("\t") for row in table.get_by_role("row").all()[1:]]
    answered = datetime.now(UTC).date() - timedelta(days=9)
    assert rows[-1][1:] == ["–", "100%"]
    assert f"{answered.day} {answered:%B %Y}" in rows[-1][0]
    assert len([row for row in rows if row[2] == "100%"]) == 2
    assert all(before == after for _, before, after in rows[:3])
    expect(curve).to_contain_text("Without study, it will be")
    assert visitor.find_violations("[data-key=history]") == []


def test_a_teacher_sees_what_the_group_is_expected_to_know_and_is_forgetting(
    visitor: Visit, demo: Stack
) -> None:
    group = f"class-{uuid.uuid4()}"
    item = f"{group}-item"
    now = datetime.now(UTC)
    for number in range(3):
        user = f"{group}-{number}"
        joined = browser.envelope("LearnerJoinedGroup", now, user_id=user, group_id=group)
        demo.publish(joined, *browser.lesson(user, 1, ago=timedelta(days=300), item=item))
    text = f'{{ group(groupId: "{group}") {{ members knowledge {{ items }} }} }}'
    visitor.wait_for(text, {"group": {"members": 3, "knowledge": {"items": 3}}})
    page = visitor.open("tess", "teacher", groups=[group])
    expected, items = figure(card(page, "knowledge"))
    assert expected < items == 3
    expect(page.locator("[data-key=fading] li")).to_have_text(f"{item} for 3 of 3")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the words").click()
    expect(page.get_by_role("button", name="Copied")).to_be_focused()
    assert page.evaluate("navigator.clipboard.readText()") == item
    page.evaluate("window.print = () => { window.printed = document.body.dataset.printed }")
    page.get_by_role("button", name="Print the words").click()
    assert page.evaluate("window.printed") == "words"
    page.emulate_media(media="print")
    expect(page.locator("[data-key=fading]")).to_be_visible()
    expect(page.locator("[data-key=learners]")).to_be_hidden()
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    row = page.get_by_role("row", name=re.compile(f"{group}-0"))
    expect(row.locator("[data-label='Expected to know']")).to_be_empty()  # less than one
    assert visitor.find_violations("[data-key=knowledge], [data-key=fading]") == []
