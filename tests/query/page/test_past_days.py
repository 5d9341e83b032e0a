"""The page as of the end of a past day, and the learner's days."""

import re
from datetime import date, timedelta

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support import browser
from tests.support.browser import Visit, Visits
from tests.support.local_stack import Stack

DAY = "2024-09-20"  # the eighth day of the demo's longest streak
_RECORD_BANNERS = """() => {
  const banners = [];
  new MutationObserver(() => {
    const text = document.querySelector('.then p')?.textContent;
    if (text && text !== banners.at(-1)) banners.push(text);
    document.body.dataset.banners = banners.join(' ');
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


def test_a_past_day_shows_all_numbers_as_of_its_end_and_hides_what_has_no_past(
    visitor: Visit,
) -> None:
    page = visitor.open(at=f"#/?on={DAY}")
    expect(page.get_by_text("This page shows the end of 20 September 2024.")).to_be_visible()
    expect(page.locator(".then")).to_have_css("position", "fixed")  # so that it moves nothing
    today = browser.section(page, "Today")
    assert "Friday, 20 September 2024" in today
    assert re.search(r"Streak\s+8\s+days\s+Studied on this day", today)
    year = browser.section(page, "The year")
    assert "45 study days, 9,272 answers." in year
    assert browser.selected_day(page) == DAY
    expect(page.locator("[data-day='2024-09-21']")).to_have_count(0)
    figure = page.locator("[data-key=known] div:not(.ghost) > .figure")
    known = re.search(r"of ([\d,]+) words", figure.inner_text())
    assert known
    assert 500 < int(known[1].replace(",", "")) < 1_203
    for name in ("My data", "Start now"):
        expect(page.get_by_text(name, exact=True)).to_have_count(0)
    expect(page.locator("#live")).to_be_hidden()
    assert len(visitor.queries()) == 4  # the end of the day, the present day, numbers, estimates
    assert not any("graphql/stream" in request.url for request in visitor.requests)


@pytest.mark.exhaustive
def test_each_view_s_address_keeps_the_day_until_the_user_goes_back_to_now(visitor: Visit) -> None:
    page = visitor.open(at=f"#/?on={DAY}")
    page.get_by_role("link", name="See all words").click()
    visitor.settle()
    assert hash_of(page) == f"#/items?on={DAY}"
    expect(page.locator(".then")).to_be_visible()
    rows = page.locator(".item-list tbody tr")
    first = rows.first.locator("th a")
    page.get_by_label("Show").select_option("STRUGGLING")
    expect(page.get_by_text("Three answers or more")).to_be_visible()
    assert hash_of(page) == f"#/items?filter=struggling&on={DAY}"
    first.click()
    visitor.settle()
    assert re.fullmatch(rf"#/item/.+\?on={DAY}", hash_of(page))
    expect(page.get_by_text("Word of")).to_have_count(0)
    page.get_by_role("link", name="My progress").click()
    visitor.settle()
    assert hash_of(page) == f"#/?on={DAY}"
    page.get_by_role("link", name="Back to now").click()
    visitor.settle()
    assert hash_of(page) == "#/"
    expect(page.locator(".then")).to_have_count(0)
    assert re.search(r"Streak\s+0\s+days", browser.section(page, "Today"))


@pytest.mark.exhaustive
def test_a_date_in_the_header_selects_the_day(visitor: Visit) -> None:
    page = visitor.open()
    field = page.get_by_label("As of")
    field.fill(DAY)
    field.dispatch_event("change")
    expect(page.get_by_text("This page shows the end of 20 September 2024.")).to_be_visible()
    assert hash_of(page) == f"#/?on={DAY}"
    field.fill("2024-10-07")  # over, so nothing is at risk any more
    field.dispatch_event("change")
    today = page.get_by_role("region", name="Today")
    expect(today).to_contain_text("Not a study day")
    expect(today).to_contain_text("No answers on this day")
    expect(today).not_to_contain_text("At risk")
    field.fill("2019-03-31")
    field.dispatch_event("change")
    expect(page.get_by_text("Nothing was recorded up to this day.")).to_be_visible()
    for day in ("2023-02-29", "2024-13-01", "1999-12-31", "yesterday"):  # show the present
        visitor.move(f"#/?on={day}")
        expect(page.locator(".then")).to_have_count(0)
        expect(page.locator("#live")).to_be_visible()


@pytest.mark.exhaustive
def test_the_months_of_a_year_play_one_after_another(visit: Visits) -> None:
    page = visit().open()
    page.evaluate(_RECORD_BANNERS)
    page.get_by_role("button", name="Play the months").click()
    # The first study day is 29 March.
    days = ("31 March", "30 April", "31 May")
    banners = " ".join(f"This page shows the end of {day} 2024." for day in days)
    played = re.compile(f"^{re.escape(banners)}")
    expect(page.locator("body")).to_have_attribute("data-banners", played)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Play the months")).to_be_visible()
    assert re.search(r"[?&]on=2024-\d\d-3[01]$", hash_of(page))
    expect(page.locator("#live")).to_be_hidden()


# Neither address waits until the end of the day before it has arrived.
@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "leave",
    [
        "document.querySelector('[data-play]').click(); location.hash = '#/items'",
        f"""location.hash = '#/?on={DAY}'; addEventListener('hashchange', () => {{
            setTimeout(() => {{ location.hash = '#/items'; }});
        }}, {{ once: true }})""",
    ],
)
def test_a_view_opened_while_a_past_day_is_loading_shows_now(visitor: Visit, leave: str) -> None:
    page = visitor.open()
    expect(page.get_by_role("button", name="Play the months")).to_be_visible()
    page.evaluate(leave)
    expect(page.get_by_role("heading", name="Words")).to_be_visible()
    visitor.settle()
    page.get_by_label("Search").fill("a")  # which draws the view again
    visitor.settle()
    assert hash_of(page) == "#/items?search=a"
    expect(page.locator(".then")).to_have_count(0)


@pytest.mark.exhaustive
def test_the_months_play_up_to_now_in_a_grid_that_stays(visitor: Visit, demo: Stack) -> None:
    user = browser.create_learner(demo, ago=timedelta(days=40))
    for item in "abcd":
        demo.publish(*browser.lesson(user, 1, ago=timedelta(days=40), item=item))
    page = visitor.open(user)
    expect(page.get_by_role("region", name="How far")).to_be_visible()
    first = page.locator(".year tbody tr").first.locator("[data-day]").first
    day = first.get_attribute("data-day")
    top = "document.querySelector('#year').getBoundingClientRect().top"
    page.evaluate(f"scrollBy(0, {top} - 392)")
    page.get_by_role("button", name="Play the months").click()
    expect(page.locator(".then")).to_be_visible()
    expect(first).to_have_attribute("data-day", str(day))
    expect(page.locator(".then")).to_have_count(0)
    expect(page.locator("#live")).to_have_text("Live")
    visitor.settle()
    assert abs(page.evaluate(top) - 392) < 50
    assert "on=" not in hash_of(page)


def hash_of(page: Page) -> str:
    return str(page.evaluate("location.hash"))


@pytest.mark.first_in_gate
@pytest.mark.parametrize("is_paused", [False, True], ids=["live", "paused"])
def test_an_open_page_turns_to_the_new_day_when_the_learner_s_day_ends(
    visitor: Visit, *, is_paused: bool
) -> None:
    page = visitor.page
    if is_paused:
        visitor.pause_after(10)
    days: list[str] = []

    def answer(route: Route) -> None:
        """Answer each question for the day as the first one; from the second on, it is over."""
        if "query Today(" not in str(route.request.post_data):
            return route.continue_()
        body = route.fetch().json()
        today = date.fromisoformat(days[0] if days else body["data"]["today"][0]["date"])
        days.append(f"{today + timedelta(days=bool(days))}")
        body["data"]["today"][0]["date"] = days[-1]
        return route.fulfill(json=body)

    def count_pages() -> int:
        return sum("query Page(" in str(query.post_data) for query in visitor.queries())

    page.route("**/graphql", answer)
    page.clock.install()
    page.goto(visitor.return_url(visitor.stack.token(browser.DEMO)))
    visitor.settle()
    expect(page.locator("#day input")).to_have_attribute("max", re.compile("20"))
    before = count_pages()
    page.clock.fast_forward("26:00:00")
    tomorrow = date.fromisoformat(days[0]) + timedelta(days=1)
    expect(page.locator("#day input")).to_have_attribute("max", f"{tomorrow}")
    assert count_pages() > before
    expect(page.locator("#live")).to_have_text("Paused" if is_paused else "Live")
    page.unroute_all(behavior="ignoreErrors")
