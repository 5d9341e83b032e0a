"""The page's requests, errors, live updates and sign-in, also without a network."""

import copy
import json
import re
import uuid
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from progress.serve import development_key, readiness
from tests.support import browser, forwarding
from tests.support.browser import DEMO, Visit, Visits
from tests.support.local_stack import Stack

HIDE = """hidden => {
  Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""
# The page's state a second after an event. Timers keep their order, however busy the machine is.
SAY = """event => {
  const state = document.querySelector('#live');
  window.said = new Promise((say) => {
    addEventListener(event, () => setTimeout(() => say(state.innerText), 1_000), { once: true });
  });
}"""


def test_a_second_visit_loads_no_file_and_needs_one_request_for_the_first_numbers(
    visitor: Visit, demo: Stack
) -> None:
    with visitor.page.expect_response(lambda got: "query Frame(" in str(got.request.post_data)):
        page = visitor.open(browser.create_learner(demo))
    expect(page.get_by_role("region", name="The year")).to_be_visible()
    # With the option `cache: "no-store"`, fetch would add the header `Cache-Control: no-cache`.
    for query in visitor.queries():
        assert "cache-control" not in query.all_headers()
    assert sum(visitor.transferred()) > 10_000
    page.reload()
    visitor.settle()
    assert set(visitor.transferred()[1:]) == {0}
    # The last requests of a visit must not be taken for those of the next visit.
    last = [request.is_navigation_request() for request in visitor.requests][::-1].index(True)
    del visitor.requests[: -last - 1]
    queries = visitor.queries()
    assert "query Page(" in str(queries[0].post_data)
    # The others ask when the day ends, for the news and for the year; nothing waits for them.
    # In the first days of a year, the grid begins before the years of the page's query.
    others = ("Today", "News", "Unmet", "Frame", "MetDays", "Earlier")
    pattern = re.compile(rf"query ({'|'.join(others)})\(")
    assert all(pattern.search(str(query.post_data)) for query in queries[1:])
    first = visitor.requests.index(queries[0])
    assert not visitor.requests[first - 1].url.endswith("/graphql/stream")


@pytest.mark.exhaustive
def test_a_page_without_input_closes_its_socket_until_somebody_touches_it(visit: Visits) -> None:
    visitor = visit(has_touch=True)
    visitor.pause_after(10)
    page = visitor.page
    page.clock.install()
    visitor.open()
    state = page.locator("#live")
    expect(state).to_have_text("Live")
    page.clock.fast_forward("09:00")
    page.mouse.move(50, 50)
    page.clock.fast_forward("09:00")  # ten minutes are over, but not since the last input
    expect(state).to_have_text("Live")
    page.clock.fast_forward("02:00")
    expect(state).to_have_text("Paused")
    assert visitor.find_violations("#live") == []
    visitor.requests.clear()
    page.clock.fast_forward("03:00:00")
    expect(state).to_have_text("Paused")
    assert all(socket.is_closed() for socket in visitor.sockets)
    page.touchscreen.tap(50, 50)
    expect(state).to_have_text("Live")
    assert visitor.queries()
    assert not visitor.sockets[-1].is_closed()


def test_a_live_update_keeps_the_focus_the_scroll_position_and_the_open_details(
    visit: Visits, demo: Stack
) -> None:
    user = browser.create_learner(demo)
    demo.publish(*browser.lesson(user, 1, ago=timedelta(days=14)))
    visitor = visit(viewport={"width": 390, "height": 700})
    page = visitor.open(user)
    expect(page.locator("#live")).to_have_text("Live")
    tiles = page.get_by_role("region", name="Today")
    expect(tiles).to_contain_text("75% right")
    page.locator("[data-key=weeks] summary").click()
    day = browser.selected_day(page)
    page.locator(f"[data-day='{day}']").focus()
    page.keyboard.press("ArrowUp")
    before = page.evaluate("[document.activeElement.dataset.day, scrollY]")
    table = "document.querySelector('[data-key=weeks] details')"
    page.evaluate(f"document.activeElement.known = {table}.known = true")
    demo.publish(*browser.lesson(user, 4))
    expect(tiles).to_contain_text("88% right")
    assert page.evaluate("[document.activeElement.dataset.day, scrollY]") == before
    assert page.evaluate(f"document.activeElement.known && {table}.known")
    assert page.evaluate(f"{table}.open")
    visitor.hear("Updated: 8 answers today, a streak of 1 day.")


@pytest.mark.exhaustive
def test_seven_windows_have_one_connection_each_and_are_live_unless_hidden(
    visit: Visits, demo: Stack
) -> None:
    """Over HTTP/1.1, as here, a browser opens six connections to a server, and further sockets."""
    user = browser.create_learner(demo)
    visitors = [visit()]
    visitors += [browser.Visit(demo, visitors[0].context) for _ in range(6)]
    for visitor in visitors:
        expect(visitor.open(user).locator("#live")).to_have_text("Live")
    hidden = visitors.pop()
    with hidden.sockets[0].expect_event("close"):
        hidden.page.evaluate(HIDE, True)
    queries = len(hidden.queries())
    demo.publish(*browser.lesson(user, 4))
    for visitor in visitors:
        expect(visitor.page.get_by_role("region", name="Today")).to_contain_text("88% right")
        assert len(visitor.sockets) == 1
        assert not any("graphql/stream" in request.url for request in visitor.requests)
    assert len(hidden.queries()) == queries
    hidden.page.evaluate(HIDE, False)
    expect(hidden.page.get_by_role("region", name="Today")).to_contain_text("88% right")


@pytest.mark.exhaustive
def test_where_a_proxy_refuses_sockets_four_windows_have_a_stream_and_the_others_poll(
    visit: Visits, demo: Stack
) -> None:
    user = f"page-{uuid.uuid4()}"
    demo.publish(*(row for item in range(9) for row in browser.lesson(user, 1, item=f"i{item}")))
    led = copy.copy(demo)
    with forwarding.without_upgrades(demo.port) as led.port:
        context = visit().context
        visitors = [browser.Visit(led, context) for _ in range(8)]
        for number, visitor in enumerate(visitors):
            state = "Live" if number < 4 else "Every 15 seconds"
            expect(visitor.open(user).locator("#live")).to_have_text(state)
        demo.publish(*browser.lesson(user, 1, item="i9"))
        for visitor in visitors:  # each page's second subscription, the feed of milestones, polls
            cheer = visitor.page.locator(".cheer")
            expect(cheer).to_have_text("Reached: 10 words learned")


def test_a_response_behind_the_subscription_is_asked_for_again(visitor: Visit, demo: Stack) -> None:
    """The cache may return a response from before the change that the subscription has told."""
    user = browser.create_learner(demo)
    responses: list[str] = []  # the first one is given twice

    def answer(route: Route) -> None:
        if "query Page(" not in str(route.request.post_data) or len(responses) == 2:
            route.continue_()
            return
        responses.append(responses[0] if responses else route.fetch().text())
        route.fulfill(body=responses[0], content_type="application/json")

    visitor.page.route("**/graphql", answer)
    page = visitor.open(user)
    expect(page.locator("#live")).to_have_text("Live")
    demo.publish(*browser.lesson(user, 4))
    expect(page.get_by_role("region", name="Today")).to_contain_text("88% right")
    assert len(responses) == 2
    assert len(visitor.sockets) == 1
    assert not any("graphql/stream" in request.url for request in visitor.requests)


def error(code: str) -> str:
    problem = {"message": "no", "extensions": {"code": code, "traceId": "4bf9"}}
    return json.dumps({"errors": [problem]})


AWAY, FAULT = "The server does not respond", "Something went wrong"
MALFORMED = ('{"data": {"due": []}}', "{}", "[]", '"x"', "", '{"data": null}', '{"errors": [null]}')


def test_a_failed_or_malformed_response_is_explained_and_can_be_tried_again(visitor: Visit) -> None:
    page, alert = visitor.page, visitor.page.get_by_role("alert")
    # Of two responses, one after the other, the titles differ.
    responses = [
        (503, error("UNAVAILABLE"), AWAY),
        (400, error("BAD_USER_INPUT"), "was not understood"),
        (502, error(""), AWAY),
        (200, error("INTERNAL"), FAULT),
        *(each for body in MALFORMED for each in ((502, "", AWAY), (200, body, FAULT))),
    ]
    now: dict[str, Any] = {}
    page.route(re.compile("/graphql$"), lambda route: route.fulfill(**now))
    for number, (status, body, title) in enumerate(responses):
        now |= {"status": status, "body": body}
        if number:
            page.get_by_role("button", name="Try again").click()
        else:
            visitor.open()
        expect(alert).to_contain_text(title)
        expect(alert.get_by_text("Trace 4bf9")).to_have_count(int("4bf9" in body))
    visitor.errors.clear()  # expected: the page has passed an error to `reportError`
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("region", name="Today")).to_be_visible()


def test_the_page_says_within_a_second_that_it_is_offline(visitor: Visit) -> None:
    page = visitor.open()
    for is_offline, text in ((True, "Offline"), (False, "Connecting|Live")):
        page.evaluate(SAY, "offline" if is_offline else "online")
        visitor.context.set_offline(is_offline)
        assert re.fullmatch(text, page.evaluate("window.said"))
        if is_offline:
            expect(page.locator("#status")).to_have_text("Offline")
    queries = len(visitor.queries())
    visitor.context.set_offline(True)
    page.evaluate("user => { location.hash = `#/learner/${user}` }", DEMO)
    expect(page.get_by_role("alert")).to_contain_text("You are offline")
    visitor.context.set_offline(False)
    expect(page.get_by_role("region", name="Today")).to_be_visible()
    assert len(visitor.queries()) > queries


SHOWN = """() => [...document.querySelectorAll('main :is(h1, h2, td, th, dd, .figure)')]
  .map((one) => one.textContent)"""


def test_a_view_that_was_left_is_shown_again_offline_with_its_time_until_the_user_signs_out(
    visitor: Visit,
) -> None:
    page, shown = visitor.open(), dict[str, Any]()
    for at in ("#/items", "#/?on=2024-09-20", "#/knowledge", "#/"):
        visitor.move(at)
        shown[at] = page.evaluate(SHOWN)
    visitor.move("#/glossary")
    visitor.context.set_offline(True)
    time = re.compile(r"These numbers are as of \d\d:\d\d")
    alert, unseen = page.get_by_role("alert"), "This view has not been loaded yet"
    for at, numbers in shown.items():
        visitor.move(at)
        expect(page.get_by_text(time)).to_be_visible()
        assert page.evaluate(SHOWN) == numbers
        expect(alert).to_contain_text("You are offline")
    for at in ("#/lists", "#/?on=2024-09-21"):
        visitor.move(at)
        expect(alert).to_contain_text(unseen)
        expect(page.get_by_text(time)).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()
    assert page.evaluate("async () => localStorage.length + (await caches.keys()).length") == 0
    page.get_by_label("Sign in with a token").fill(visitor.stack.token("somebody-else"))
    page.get_by_role("button", name="Sign in with the token").click()
    for at in shown:
        visitor.move(at)
        expect(alert).to_contain_text(unseen)
    visitor.context.set_offline(False)
    expect(alert).to_have_count(0)


def test_the_document_is_marked_until_the_last_part_of_a_view_has_arrived(visitor: Visit) -> None:
    page = visitor.open()
    complete, mark = page.evaluate(SHOWN), page.locator("html[data-arriving]")
    for query in ("query Earlier(", "query Frame(", "query MetDays("):
        visitor.move("#/glossary")
        release = visitor.hold("/graphql$", query)
        page.evaluate("location.hash = '#/'")
        expect(page.get_by_role("region", name="The year")).to_be_visible()
        expect(mark).to_have_count(1)
        release()
        visitor.settle()
        assert page.evaluate(SHOWN) == complete


def test_the_numbers_stay_visible_during_an_outage(visitor: Visit, demo: Stack) -> None:
    user = f"page-{uuid.uuid4()}"
    page = visitor.open(user)
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    expect(page.locator("#live")).to_have_text("Live")
    page.route(re.compile("/graphql$"), lambda route: route.fulfill(status=503))
    demo.publish(*browser.lesson(user, 1))
    expect(page.get_by_role("alert")).to_contain_text("These numbers may be old")
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    page.unroute_all()
    expect(page.get_by_role("region", name="Today")).to_be_visible()


def leave_before_response(visitor: Visit, query: str, at: str, leave: str, to: str) -> Page:
    """Leave what asks this query, for another view, and only then let the response arrive."""
    page = visitor.open("sam", "support", at)
    release = visitor.hold("/graphql$", query)
    with page.expect_request(lambda request: query in str(request.post_data)):
        page.evaluate(leave)
    visitor.move(to)
    with page.expect_response(lambda response: query in str(response.request.post_data)):
        release()
    return page


@pytest.mark.exhaustive
def test_the_way_of_a_member_who_was_left_is_not_shown(visitor: Visit) -> None:
    leave = f"location.hash = '#/learner/{DEMO}?group=g'"
    page = leave_before_response(visitor, "query Name(", "#/find/learner", leave, "#/group")
    page.get_by_label("A group’s name or id").fill("no group")
    expect(page.locator(".note").first).to_contain_text("No group with members")
    expect(page.locator(".way")).to_have_count(0)


@pytest.mark.exhaustive
def test_a_learner_who_is_found_late_is_not_opened_if_the_user_has_gone_on(visitor: Visit) -> None:
    leave = """() => {
      document.querySelector('#other').value = 'no learner';
      document.querySelector('.finder').requestSubmit();
    }"""
    page = leave_before_response(visitor, "FindLearners(", "#/group", leave, "#/glossary")
    page.wait_for_timeout(500)
    assert page.evaluate("location.hash") == "#/glossary"


def test_a_page_in_production_takes_no_token(visitor: Visit, demo: Stack) -> None:
    page = visitor.page

    def deploy(route: Route) -> None:
        served = route.fetch()
        route.fulfill(response=served, body=served.text().replace('"development"', '"production"'))

    page.route(demo.page, deploy)
    page.goto(demo.page)
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    expect(page.get_by_label("Sign in with a token")).to_have_count(0)


def test_a_token_is_removed_from_the_url_and_kept_until_the_user_signs_out(visitor: Visit) -> None:
    console = list[str]()
    visitor.page.on("console", lambda message: console.append(message.text))
    page = visitor.open()
    token = visitor.stack.token(DEMO).split(".")[0]
    assert page.url == visitor.stack.page
    assert page.evaluate("history.length") <= 2
    for request in visitor.requests:
        assert token not in request.url
        assert token not in request.headers.get("referer", "")
    assert not any(token in line for line in console)
    assert page.evaluate("localStorage.length") == 0
    assert page.evaluate("document.cookie") == ""
    log = visitor.stack.folder.log("query").read_text(encoding="utf-8")
    assert token not in log
    page.reload()
    visitor.settle()
    expect(page.get_by_role("region", name="Today")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    expect(page.get_by_role("region", name="Today")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page.evaluate("sessionStorage.getItem('progress.token')") is None


def test_a_link_with_another_user_s_token_signs_nobody_in_or_out(visitor: Visit) -> None:
    page = visitor.page
    foreign = visitor.stack.token("mallory")
    for query in ("", "?state=", "?state=null", "?state=0123456789abcdef"):
        page.goto(f"{visitor.stack.page}{query}#token={foreign}")
        expect(page.get_by_role("heading", name="This link cannot sign you in")).to_be_visible()
        assert page.url == visitor.stack.page
        assert page.evaluate("sessionStorage.getItem('progress.token')") is None
    state = page.evaluate("sessionStorage.getItem('progress.state')")
    assert re.fullmatch("[0-9a-f]{32}", state)
    url = page.get_by_role("link", name="Sign in").get_attribute("href") or ""
    assert parse_qs(urlsplit(url).query)["return"] == [f"{visitor.stack.page}?state={state}"]
    assert visitor.queries() == []
    visitor.open()
    own = page.evaluate("sessionStorage.getItem('progress.token')")
    page.evaluate("token => { location.hash = `#token=${token}` }", foreign)
    expect(page).to_have_url(visitor.stack.page)
    page.goto(visitor.return_url(foreign).replace("f", "e", 1))
    visitor.settle()
    assert page.evaluate("sessionStorage.getItem('progress.token')") == own


def test_a_sign_in_token_and_its_state_work_once_in_one_tab_and_leave_no_trace(
    chromium: Browser, demo: Stack
) -> None:
    token = development_key.sign_in_token(demo.folder.key, DEMO, ["learner"])
    context = chromium.new_context()
    page, other = context.new_page(), context.new_page()
    other.goto(demo.page)
    urls = list[str]()
    page.on("request", lambda request: urls.append(request.url + str(request.headers)))
    with page.expect_response(lambda response: response.status == 303) as response:
        page.goto(f"{demo.page}#sign-in={token}")
    expect(page.get_by_role("region", name="The year")).to_contain_text("61 study days")
    assert page.url == demo.page
    assert not any(token in url for url in urls if url.startswith(demo.page))
    assert page.evaluate("navigation.entries().map(({ url }) => url)") == [demo.page]
    for log in demo.folder.logs.iterdir():
        assert token not in log.read_text(encoding="utf-8")
    headers = {"Authorization": f"Bearer {token}"}
    refused = page.request.get(f"{demo.page}graphql?query={{__typename}}", headers=headers)
    assert refused.status == 401
    page.get_by_role("button", name="Sign out").click()
    for tab in (page, other):
        tab.goto(response.value.headers["location"])
        expect(tab.get_by_role("heading", name="This link cannot sign you in")).to_be_visible()
    other.goto(f"{demo.page}#sign-in={token}")
    expect(other.get_by_text("works once and for ten minutes")).to_be_visible()
    context.close()


@pytest.mark.exhaustive
def test_a_page_has_no_sign_in_link_without_session_storage(visitor: Visit, demo: Stack) -> None:
    visitor.context.add_init_script("""delete window.sessionStorage;
      Object.defineProperty(window, 'sessionStorage', { get() { throw new Error('no') } })""")
    page = visitor.page
    page.goto(f"{demo.page}?state=x#token={demo.token(DEMO)}")
    expect(page.get_by_role("heading", name="This link cannot sign you in")).to_be_visible()
    assert page.get_by_role("link", name="Sign in").count() == 0


def test_a_page_that_an_app_opened_renews_its_token_and_keeps_the_view(
    chromium: Browser, demo: Stack
) -> None:
    key = demo.folder.key
    tokens = [
        development_key.token(key, DEMO, ["learner"], seconds=3_600 * hours) for hours in (1, 3, 5)
    ]
    asked = list[dict[str, list[str]]]()

    def lead_back(route: Route) -> None:
        asked.append(parse_qs(urlsplit(route.request.url).query))
        back = f"{asked[-1]['return'][0]}#token={tokens[len(asked) - 1]}"
        script = f"<script>location.replace({json.dumps(back)})</script>"
        route.fulfill(body=script, content_type="text/html")

    page = chromium.new_context(viewport={"width": 1280, "height": 400}).new_page()
    page.route("**/sign-in?*", lead_back)
    page.clock.install()
    page.goto(f"{demo.page}#sign-in")
    page.get_by_role("link", name="All words", exact=True).click()
    view = page.url
    page.locator("main input").first.focus()
    page.evaluate("scrollTo(0, 300)")
    page.clock.fast_forward("59:30")
    page.clock.run_for(6_000)
    assert len(asked) == 1  # somebody types
    page.evaluate(HIDE, True)
    page.evaluate("document.activeElement.blur()")
    page.clock.run_for(6_000)
    assert len(asked) == 1
    with page.expect_navigation(url="**/?state=*"):
        page.evaluate(HIDE, False)
    expect(page.get_by_role("searchbox")).to_be_visible()
    readiness.wait(lambda: page.evaluate("scrollY") == 300, "the place in the view")
    assert page.url == view
    assert page.evaluate("sessionStorage.getItem('progress.token')") == tokens[1]
    page.clock.fast_forward("02:00:00")
    with page.expect_navigation(url="**/?state=*"):
        page.clock.run_for(6_000)
    expect(page.get_by_role("searchbox")).to_be_visible()
    assert [each.get("login_hint") for each in asked] == [None, None, None]
    page.context.close()
