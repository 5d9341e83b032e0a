"""The list of items and an item's page, in a real browser with a running local stack."""

import re
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from playwright.sync_api import Locator, Page, expect

from tests.support import browser
from tests.support.browser import DEMO, Envelope, Stack, Visits

ITEMS = "#/items"


def rows(page: Page) -> Locator:
    return page.locator(".item-list tbody tr")


def words(page: Page) -> list[str]:
    return rows(page).locator(".word").all_inner_texts()


def search(page: Page) -> Locator:
    return page.get_by_role("searchbox", name="Search by headword")


def at(page: Page) -> str:
    """Return the URL's hash."""
    return urlsplit(page.url).fragment


def learn_words(demo: Stack) -> str:
    """Publish a new learner's answers to 60 Japanese words, and one review; return the user id."""
    user, day_ago = f"page-{uuid.uuid4()}", datetime.now(UTC) - timedelta(days=1)
    items = [f"{user}-{number:02}" for number in range(60)]
    events: list[Envelope] = [
        browser.envelope(
            "ItemPublished", day_ago, item_id=item, headword=f"食べる{number}", domains=["R"],
            cefr_level="A1", language="ja",
        )
        for number, item in enumerate(items)
    ]  # fmt: skip
    demo.publish(*events, *browser.lesson(user, 1, 1, item=items[0]))
    demo.publish(*(event for item in items[1:] for event in browser.lesson(user, 1, item=item)))
    demo.publish(
        browser.envelope(
            "ReviewProcessed", day_ago, user_id=user, item_id=items[0], new_interval=10,
            easiness_factor=2.5,
        )
    )  # fmt: skip
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


def test_a_search_shows_the_items_whose_headword_contains_the_text(visit: Visits) -> None:
    visitor = visit()
    page = visitor.open(at=ITEMS)
    expect(rows(page)).to_have_count(50)
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
    expect(page.get_by_text("No item matches.")).to_be_visible()


def test_the_arrow_keys_move_from_the_search_through_the_rows(visit: Visits) -> None:
    page = visit().open(at=ITEMS)
    search(page).focus()
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    expect(rows(page).nth(1).get_by_role("link")).to_be_focused()
    for _ in range(2):
        page.keyboard.press("ArrowUp")
    expect(search(page)).to_be_focused()


def test_an_item_s_page_shows_an_estimate_and_the_history(visit: Visits, demo: Stack) -> None:
    user = learn_words(demo)
    visitor = visit()
    page = visitor.open(user, at=f"{ITEMS}?order=accuracy")
    expect(page.get_by_text("60 items")).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="Show more").click()
    expect(rows(page)).to_have_count(60)
    page.evaluate("scrollTo(0, 400)")
    first = rows(page).first.get_by_role("link", name="食べる0")
    expect(first.locator(".word")).to_have_attribute("lang", "ja")
    first.evaluate("link => link.click()")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_contain_text("食べる0")
    expect(heading.locator("[lang=ja]")).to_have_count(1)
    expect(page).to_have_title("食べる0 · Progress")
    expect(page.locator("main")).to_contain_text(re.compile(r"99%\s*an estimate"))
    expect(page.locator("main")).to_contain_text(re.compile(r"Answered right\s*1 of 2"))
    page.get_by_text("The history as a table").click()
    expect(page.get_by_role("row", name=re.compile("due again after 10 days"))).to_be_visible()
    assert visitor.find_violations() == []
    page.go_back()
    expect(rows(page)).to_have_count(60)
    assert page.evaluate("scrollY") == 400


def test_support_reads_the_items_of_a_learner(visit: Visits) -> None:
    page = visit().open("sam", "support", at=f"{ITEMS}/{DEMO}?search=action")
    expect(page.get_by_role("heading", name=f"Items of {DEMO}")).to_be_visible()
    current = page.locator("#views [aria-current=page]")
    expect(current).to_have_text(DEMO)
    page.get_by_role("link", name="action", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("action")
    expect(current).to_have_text(DEMO)


def test_an_item_that_does_not_exist_is_explained(visit: Visits) -> None:
    page = visit().open(at="#/item/nothing")
    expect(page.get_by_role("heading", name="There is no such item")).to_be_visible()
