"""From a number to practice: the doors of the start page, and what they tell the learning app."""

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.support import browser
from tests.support.browser import Stack, Visit, Visits

ENUMS = {"filter", "level", "domain"}
DAY = timedelta(days=1)
WORDS = 'main a[href^="#/items?"]'
APP = f'main a[href^="{browser.APP}"]'


def ask(visitor: Visit, user: str, address: str) -> tuple[int, list[str]]:
    """Return how many words `itemStats` lists for an address's parameters, and their ids."""
    given = {
        {"skill": "domain"}.get(n, n): value for n, value in parse_qsl(address.partition("?")[2])
    }
    texts = (f"{n}: {v.upper() if n in ENUMS else json.dumps(v)}" for n, v in given.items())
    fields = "{ totalCount edges { node { itemId } } }"
    query = f"{{ itemStats({' '.join(texts)} first: 200) {fields} }}"
    found: dict[str, Any] = visitor.ask(query, user, "learner")["itemStats"]
    return found["totalCount"], sorted(edge["node"]["itemId"] for edge in found["edges"])


def create_pupil(stack: Stack, kind: str) -> str:
    """Create a learner who is to repeat what is due or fading, or to do a task that ends today."""
    user, now = browser.move_to_noon(stack, f"page-{uuid.uuid4()}"), datetime.now(UTC)
    days, interval = (99, 300) if kind == "fading" else (9, 3)
    cards = [(f"{user} & old/{n}", days, interval) for n in range(4)]
    cards += [(f"{user}-new-{n}", 1, 8) for n in range(3)]
    card, listed = {"user_id": user, "rating": 3, "duration_ms": 5000}, {"list_id": f"{user}&1"}
    task = [browser.envelope("ListAssigned", **listed, group_id=user, due_on=f"{now.date()}")]
    stack.record(
        *(
            browser.envelope("CardReviewed", now - ago * DAY, **card, item_id=item, interval_days=n)
            for item, ago, n in cards
        ),
        *(e for n in range(5) for e in browser.lesson(user, 1, 3, ago=DAY, item=f"{user}-{n}")),
        browser.envelope("LearnerJoinedGroup", now, user_id=user, group_id=user),
        browser.envelope("ListPublished", now, **listed, name="Unit 7"),
        *(
            browser.envelope("ItemListed", now, **listed, item_id=item)
            for item in [cards[0][0], f"{user}-unmet"]
        ),
        *(task if kind == "task" else []),
    )
    return user


def addresses(page: Page, which: str) -> list[tuple[str, str]]:
    """Return the addresses of the links, and their texts."""
    found: list[tuple[str, str]] = page.eval_on_selector_all(
        which, "links => links.map((link) => [link.getAttribute('href'), link.textContent])"
    )
    return found


def list_words(visitor: Visit, address: str) -> list[str]:
    visitor.move(address)
    keys = "rows => rows.map((row) => row.dataset.key)"
    return sorted(visitor.page.eval_on_selector_all(".item-list tbody tr", keys))


@pytest.mark.parametrize(
    ("kind", "said", "door"),
    [
        ("due", "Repeat 4 due words", "filter=DUE&from=&to=&list=&item=&level=&language="),
        ("fading", "words are fading", "filter=FADING&from=&to=&list=&item=&level=&language="),
        ("task", "Unit 7: 1 of 2", "filter=&from=&to=&list={}%261&item=&level=&language="),
    ],
)
def test_the_app_is_told_the_words_that_the_page_lists(
    visit: Visits, demo: Stack, kind: str, said: str, door: str
) -> None:
    user, visitor = create_pupil(demo, kind), visit()
    page = visitor.open(user)
    expect(page.locator("[data-key=news]")).to_contain_text(said)
    doors, numbers = addresses(page, APP), addresses(page, WORDS)
    assert doors[0][0] == f"{browser.APP}?{door.format(user)}"
    assert [text for _, text in doors] == [doors[0][1], "Practise"]  # what next, and weak words
    shown = page.locator("[data-key=weakest] tbody th .id").all_inner_texts()
    assert ask(visitor, user, doors[1][0]) == (5, sorted(shown))
    behind = page.locator(".tile.next .figure a").get_attribute("href") or ""
    for address in {behind, *(address for address, _ in numbers)} - {
        f"#/list/{user}%261?missing=yes"
    }:
        total, ids = ask(visitor, user, address)
        assert total
        assert list_words(visitor, address) == ids
        ((told, _),) = addresses(page, APP)
        assert ask(visitor, user, told) == (total, ids)
        if address == behind:
            assert told == doors[0][0]
    visitor.move(f"#/list/{user}%261?missing=yes")
    expect(page.locator("[data-key=members] tbody tr")).to_have_count(1)
    ((told, _),) = addresses(page, APP)
    assert ask(visitor, user, told) == (1, [f"{user} & old/0"])
    visitor.move(f"#/item/{user}-0")
    ((told, _),) = addresses(page, APP)
    assert dict(parse_qsl(urlsplit(told).query)) == {"item": f"{user}-0"}
    visitor.move("#/items?filter=due&search=old")  # the address has no place for a search
    assert addresses(page, APP) == []


def test_each_number_of_the_start_page_is_that_of_its_words(visitor: Visit) -> None:
    page = visitor.open()
    visitor.settle_last()
    page.locator("[data-key=states]").scroll_into_view_if_needed()
    expect(page.locator("[data-key=states] .chart")).to_be_visible()
    page.locator("[data-key=due] summary").click()
    numbers = {
        card: {
            address: int(digits[0].replace(",", ""))
            for address, text in addresses(page, f"{where} {WORDS.removeprefix('main ')}")
            if (digits := re.findall(r"[\d,]+", text))
        }
        for card, where in {
            "next": ".tile.next", "news": "[data-key=news]", "levels": "[data-key=levels]",
            "skills": "[data-key=skills]", "states": "[data-key=states]", "due": "[data-key=due]",
            "mastered": "[data-key=mastered]", "weakest": "[data-key=weakest] .tools",
        }.items()
    }  # fmt: skip
    assert {card for card, found in numbers.items() if not found} <= {"mastered", "skills"}
    for found in numbers.values():
        for address, number in found.items():
            assert ask(visitor, browser.DEMO, address)[0] == number, address
