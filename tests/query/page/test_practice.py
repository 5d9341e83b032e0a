"""From a number to practice: the doors of the start page, and what they tell the learning app."""

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

from playwright.sync_api import Page, expect

from tests.support import browser
from tests.support.browser import Visit
from tests.support.local_stack import Stack

WORDS, APP = 'a[href^="#/items?"]', f'a[href^="{browser.APP}"]'


def ask(visitor: Visit, user: str, address: str) -> tuple[int, list[str]]:
    """Return how many words `itemStats` lists for an address's parameters, and their ids."""
    arguments = "first: 200"
    for name, value in parse_qsl(address.partition("?")[2]):
        is_text = name not in {"filter", "level", "skill"}
        written = json.dumps(value) if is_text else value.upper()
        arguments += f" {name.replace('skill', 'domain')}: {written}"
    query = f"{{ itemStats({arguments}) {{ totalCount edges {{ node {{ itemId }} }} }} }}"
    found = visitor.ask(query, user, "learner")["itemStats"]
    return found["totalCount"], sorted(edge["node"]["itemId"] for edge in found["edges"])


def create_pupil(stack: Stack) -> str:
    """Create a learner who is to repeat four due words, and who has a list; return the id."""
    user, now, day = f"page-{uuid.uuid4()}", datetime.now(UTC), timedelta(days=1)
    browser.move_to_noon(stack, user)
    cards = [(f"{user} & old/{n}", 9, 3) for n in range(4)] + [(f"{user}-new", 1, 8)]
    card, listed = {"user_id": user, "rating": 3}, {"list_id": f"{user}&1"}
    events = [
        browser.envelope("CardReviewed", now - ago * day, **card, item_id=item, interval_days=days)
        for item, ago, days in cards
    ]
    for n in range(5):
        events += browser.lesson(user, 1, 3, ago=day, item=f"{user}-{n}")
    events.append(browser.envelope("LearnerJoinedGroup", user_id=user, group_id=user))
    events.append(browser.envelope("ListPublished", now, **listed, name="Unit 7"))
    for item in (cards[0][0], f"{user}-unmet"):
        events.append(browser.envelope("ItemListed", now, **listed, item_id=item))
    stack.publish(*events)
    return user


def addresses(page: Page, which: str) -> dict[str, str]:
    """Return the addresses of the links, with their texts."""
    pairs = "links => links.map((link) => [link.getAttribute('href'), link.textContent])"
    return dict(page.eval_on_selector_all(f"main {which}", pairs))


def test_the_app_is_told_the_words_that_the_page_lists(visitor: Visit) -> None:
    user = create_pupil(visitor.stack)
    page = visitor.open(user)
    expect(page.locator("[data-key=news]")).to_contain_text("Repeat 4 due words")
    what_next, weak = addresses(page, APP)
    assert what_next == f"{browser.APP}?filter=DUE&from=&to=&list=&item=&level=&language="
    shown = page.locator("[data-key=weakest] tbody th .id").all_inner_texts()
    assert ask(visitor, user, weak) == (5, sorted(shown))
    behind = page.locator(".tile.next .figure a").get_attribute("href") or ""
    for address in addresses(page, WORDS):
        total, ids = ask(visitor, user, address)
        visitor.move(address)
        keys = "rows => rows.map((row) => row.dataset.key)"
        rows = page.eval_on_selector_all(".item-list tbody tr", keys)
        assert (total, ids) == (len(rows), sorted(rows)) != (0, [])
        (told,) = addresses(page, APP)
        assert ask(visitor, user, told) == (total, ids)
        assert told == what_next or address != behind
    for view, meant in (
        (f"list/{user}%261?missing=yes", {"list": f"{user}&1"}),
        (f"item/{user}-0", {"item": f"{user}-0"}),
    ):
        visitor.move(f"#/{view}")
        (told,) = addresses(page, APP)
        assert dict(parse_qsl(told.partition("?")[2])) == meant
    visitor.move("#/items?filter=due&search=old")  # the address has no place for a search
    assert not addresses(page, APP)


def test_each_number_of_the_start_page_is_that_of_its_words(visitor: Visit) -> None:
    page = visitor.open()
    page.locator("[data-key=states]").scroll_into_view_if_needed()
    expect(page.locator("[data-key=states] .chart")).to_be_visible()
    for card in (".next", *(f"[data-key={key}]" for key in ("news", "levels", "states", "due"))):
        numbers = {
            address: int(digits[0].replace(",", ""))
            for address, text in addresses(page, f"{card} {WORDS}").items()
            if (digits := re.findall(r"[\d,]+", text))
        }
        assert numbers == {at: ask(visitor, browser.DEMO, at)[0] for at in numbers} != {}
