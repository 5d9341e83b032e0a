"""The page's requests: their number and size, the cache, and the stream of live updates."""

import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from tests.support import browser
from tests.support.browser import Stack, Visit

pytestmark = pytest.mark.timeout(180)

Visits = Callable[..., Visit]
HIDE = """hidden => {
  Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""
_TRANSFERRED = """performance.getEntries()
    .filter((entry) => entry.entryType === 'navigation' || entry.name.includes('/page/'))
    .map((entry) => entry.transferSize)"""

BUDGET = 60_000  # the most bytes that a first visit may transfer


def test_the_first_numbers_need_only_one_request(visit: Visits, demo: Stack) -> None:
    user = f"page-{uuid.uuid4()}"
    demo.publish(*browser.lesson(user, 3, ago=timedelta(minutes=10)))
    visitor = visit()
    page = visitor.open(user)
    expect(page.get_by_role("region", name="How far")).to_be_visible(timeout=20_000)
    visitor.requests.clear()
    page.reload()
    visitor.settle()
    queries = visitor.queries()
    assert [query.method for query in queries] == ["POST"]
    first = visitor.requests.index(queries[0])
    assert not any("graphql/stream" in request.url for request in visitor.requests[:first])


def test_the_page_is_small_and_is_transferred_only_once(visit: Visits) -> None:
    visitor = visit()
    page = visitor.open()
    assert 10_000 < sum(page.evaluate(_TRANSFERRED)) < BUDGET
    page.reload()
    visitor.settle()
    assert set(page.evaluate(_TRANSFERRED)[1:]) == {0}


def test_the_page_does_not_bypass_the_cache(visit: Visits) -> None:
    visitor = visit()
    visitor.open()
    assert visitor.queries()
    # With the option `cache: "no-store"`, fetch would add the header `Cache-Control: no-cache`.
    for query in visitor.queries():
        assert "cache-control" not in query.all_headers()


def test_a_live_update_keeps_the_focus_the_scroll_position_and_the_open_details(
    visit: Visits, demo: Stack
) -> None:
    user = browser.create_learner(demo)
    page = visit(viewport={"width": 390, "height": 700}).open(user)
    expect(page.locator("#live")).to_have_text("Live")
    tiles = page.get_by_role("region", name="Today")
    expect(tiles).to_contain_text("75% right", timeout=20_000)
    page.get_by_text("The weeks as a table").click()
    day = browser.selected_day(page)
    page.locator(f"[data-day='{day}']").focus()
    page.keyboard.press("ArrowUp")
    before = page.evaluate("[document.activeElement.dataset.day, scrollY]")
    page.evaluate("document.activeElement.known = document.querySelector('details').known = true")
    demo.publish(*browser.lesson(user, 4))
    expect(tiles).to_contain_text("88% right", timeout=20_000)
    assert page.evaluate("[document.activeElement.dataset.day, scrollY]") == before
    assert page.evaluate("document.activeElement.known && document.querySelector('details').known")
    assert page.evaluate("document.querySelector('details').open")
    # Other announcements may come first.
    announcement = "Updated: 8 answers today, a streak of 1 day."
    expect(page.get_by_role("status")).to_have_text(announcement, timeout=30_000)


def test_a_hidden_page_closes_its_stream(visit: Visits, demo: Stack) -> None:
    user = browser.create_learner(demo)
    visitor = visit()
    page = visitor.open(user)
    expect(page.locator("#live")).to_have_text("Live")
    with page.expect_event("requestfailed", lambda request: "stream" in request.url):
        page.evaluate(HIDE, True)
    queries = len(visitor.queries())
    demo.publish(*browser.lesson(user, 4))
    assert len(visitor.queries()) == queries
    page.evaluate(HIDE, False)
    expect(page.get_by_role("region", name="Today")).to_contain_text("88% right", timeout=20_000)


@pytest.mark.parametrize("chunks", [1, 2, 3, 7, 1_000])
def test_a_stream_is_parsed_for_any_chunk_size(visit: Visits, chunks: int) -> None:
    page = visit().open()
    module = page.evaluate("document.querySelector('link[href$=\"stream.js\"]').href")
    text = (
        ':\n\nevent: next\r\ndata: {"a":\r\ndata: 1}\r\n\r\n:beat\n\nevent:next\rdata:日本\r\r'
        "id: 3\nevent: complete\ndata:\n\nevent: next\ndata: cut off"
    )
    result = page.evaluate(
        """async ([module, text, size]) => {
            const { events } = await import(module);
            const bytes = new TextEncoder().encode(text);
            let at = 0;
            const body = new ReadableStream({ pull(controller) {
                if (at < bytes.length) controller.enqueue(bytes.slice(at, at += size));
                else controller.close();
            } });
            const result = [];
            for await (const { event, data } of events(body)) result.push([event, data]);
            return result;
        }""",
        [module, text, chunks],
    )
    assert result == [["next", '{"a":\n1}'], ["next", "日本"], ["complete", ""]]
