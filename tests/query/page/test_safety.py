"""What the page does with a token, with little, and with what goes wrong."""

import json
import re
import uuid
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from progress.local import data_folder, sign_in_codes
from tests.support.browser import DEMO, Stack, Visit

pytestmark = pytest.mark.timeout(180)

Visits = Callable[..., Visit]

_TRANSFERRED = """performance.getEntries()
    .filter((each) => each.entryType === 'navigation' || each.name.includes('/page/'))
    .map((each) => each.transferSize)"""

BUDGET = 40_000  # bytes over the wire, all files; 250,000 is what may never be passed


def test_the_first_numbers_need_one_question(visit: Visits) -> None:
    looking = visit()
    page = looking.open()
    expect(page.get_by_role("region", name="All together")).to_be_visible()
    asked = looking.questions()
    assert [each.method for each in asked] == ["POST"]
    first = looking.requests.index(asked[0])
    assert not any("graphql/stream" in each.url for each in looking.requests[:first])


def test_the_page_is_light_and_comes_once(visit: Visits) -> None:
    looking = visit()
    page = looking.open()
    assert 10_000 < sum(page.evaluate(_TRANSFERRED)) < BUDGET
    page.reload()
    looking.settle()
    assert set(page.evaluate(_TRANSFERRED)[1:]) == {0}


def test_a_token_leaves_the_address_at_once(visit: Visits, demo: Stack) -> None:
    said = list[str]()
    looking = visit()
    looking.page.on("console", lambda message: said.append(message.text))
    page = looking.open()
    token = demo.token(DEMO).split(".")[0]
    assert page.url == demo.page
    assert page.evaluate("history.length") <= 2
    for request in looking.requests:
        assert token not in request.url
        assert token not in request.headers.get("referer", "")
    assert not any(token in line for line in said)
    assert page.evaluate("localStorage.length") == 0
    assert page.evaluate("document.cookie") == ""
    log = (demo.folder / "logs" / "query.log").read_text(encoding="utf-8")
    assert token not in log


def test_a_token_lasts_for_the_tab_and_no_longer(visit: Visits) -> None:
    looking = visit()
    page = looking.open()
    page.reload()
    looking.settle()
    expect(page.get_by_role("region", name="Today")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    expect(page.get_by_role("region", name="Today")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page.evaluate("sessionStorage.getItem('progress.token')") is None


def test_the_way_to_the_sign_in_and_back(chromium: Browser, demo: Stack) -> None:
    page = chromium.new_context().new_page()
    page.goto(demo.page)
    page.get_by_role("link", name="Sign in").click()
    expect(page).to_have_url(re.compile("/sign-in"))
    page.get_by_label("Learner’s id").fill(DEMO)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(demo.page)
    expect(page.get_by_role("region", name="Study days")).to_contain_text("61 study days")
    page.context.close()


def test_a_link_signs_nobody_in_as_somebody_else(visit: Visits, demo: Stack) -> None:
    looking = visit()
    page = looking.page
    theirs = demo.token("mallory")
    for query in ("", "?state=", "?state=null", "?state=0123456789abcdef"):
        page.goto(f"{demo.page}{query}#token={theirs}")
        expect(page.get_by_role("heading", name="This link signs nobody in")).to_be_visible()
        assert page.url == demo.page
        assert page.evaluate("sessionStorage.getItem('progress.token')") is None
    begun = page.evaluate("sessionStorage.getItem('progress.state')")
    assert re.fullmatch("[0-9a-f]{32}", begun)
    there = page.get_by_role("link", name="Sign in").get_attribute("href") or ""
    assert parse_qs(urlsplit(there).query)["return"] == [f"{demo.page}?state={begun}"]
    assert looking.questions() == []


def test_a_link_signs_nobody_out(visit: Visits, demo: Stack) -> None:
    looking = visit()
    page = looking.open()
    own = page.evaluate("sessionStorage.getItem('progress.token')")
    page.evaluate("token => { location.hash = `#token=${token}` }", demo.token("mallory"))
    expect(page).to_have_url(demo.page)
    page.goto(looking.back(demo.token("mallory")).replace("f", "e", 1))
    looking.settle()
    assert page.evaluate("sessionStorage.getItem('progress.token')") == own


def test_a_state_is_good_once_and_in_its_tab(chromium: Browser, demo: Stack) -> None:
    context = chromium.new_context()
    page, other = context.new_page(), context.new_page()
    for tab in (page, other):
        tab.goto(demo.page)
    page.get_by_role("link", name="Sign in").click()
    page.get_by_label("Learner’s id").fill(DEMO)
    with page.expect_response(lambda answer: answer.status == 303) as sent:
        page.get_by_role("button", name="Sign in").click()
    back = sent.value.headers["location"]
    expect(page.get_by_role("region", name="Study days")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    for tab in (page, other):
        tab.goto(back)
        expect(tab.get_by_role("heading", name="This link signs nobody in")).to_be_visible()
    context.close()


def test_an_address_with_a_one_time_code_signs_in_once(chromium: Browser, demo: Stack) -> None:
    code = sign_in_codes.issue(data_folder.at(str(demo.folder)).codes, DEMO, ["learner"])
    context = chromium.new_context()
    page = context.new_page()
    asked = list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{demo.page}#sign-in={code}")
    expect(page.get_by_role("region", name="Study days")).to_contain_text("61 study days")
    assert page.url == demo.page
    assert not any(code in each for each in asked if each.startswith(demo.page))
    again = context.new_page()
    again.goto(f"{demo.page}#sign-in={code}")
    expect(again.get_by_role("alert")).to_contain_text("signs in once, within ten minutes")
    again.get_by_role("button", name="Sign in").click()  # here, instead
    expect(again).to_have_url(demo.page)
    context.close()


def test_a_browser_that_keeps_nothing_is_not_sent_away(chromium: Browser, demo: Stack) -> None:
    context = chromium.new_context()
    context.add_init_script("delete window.sessionStorage;")
    context.add_init_script(
        "Object.defineProperty(window, 'sessionStorage', { get() { throw new Error('no') } })"
    )
    page = context.new_page()
    page.goto(f"{demo.page}?state=x#token={demo.token(DEMO)}")
    expect(page.get_by_role("heading", name="This link signs nobody in")).to_be_visible()
    assert page.get_by_role("link", name="Sign in").count() == 0
    context.close()


def test_who_is_signed_out_is_told_so(visit: Visits, demo: Stack) -> None:
    looking = visit()
    looking.page.goto(looking.back(f"{demo.token(DEMO)[:-9]}AAAAAAAAA"))
    expect(looking.page.get_by_role("heading", name="Your sign-in has ended")).to_be_visible()
    expect(looking.page.get_by_role("link", name="Sign in")).to_be_visible()
    assert looking.page.evaluate("sessionStorage.getItem('progress.token')") is None


def answered(page: Page, status: int, code: str, **headers: str) -> None:
    """Have the next questions answered so; what else comes is real."""
    fault = {"message": "no", "extensions": {"code": code, "traceId": "4bf9"}}
    body = json.dumps({"errors": [fault]})

    def answer(route: Route) -> None:
        route.fulfill(status=status, body=body, headers=headers, content_type="application/json")

    page.route(re.compile("/graphql$"), answer)


def test_asked_too_often_it_waits_as_long_as_it_is_told(visit: Visits) -> None:
    looking = visit()
    answered(looking.page, 429, "RATE_LIMITED", **{"Retry-After": "2"})
    page = looking.open()
    expect(page.get_by_role("alert")).to_contain_text("Next try in 2 seconds")
    page.unroute_all()
    expect(page.get_by_role("region", name="Today")).to_be_visible(timeout=10_000)
    expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize(
    ("status", "code", "title"),
    [(503, "UNAVAILABLE", "The server does not answer"), (200, "INTERNAL", "Something went wrong"),
     (502, "", "The server does not answer"), (400, "BAD_USER_INPUT", "was not understood")],
)  # fmt: skip
def test_a_fault_says_what_to_do(visit: Visits, status: int, code: str, title: str) -> None:
    looking = visit()
    answered(looking.page, status, code)
    page = looking.open()
    expect(page.get_by_role("alert")).to_contain_text(title)
    expect(page.get_by_role("alert")).to_contain_text("4bf9")
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("region", name="Today")).to_be_visible()


@pytest.mark.parametrize(
    "body", ["{}", "[]", '"x"', "", '{"data": null}', '{"data": {"due": []}}', '{"errors": [null]}']
)
def test_an_answer_that_is_none_is_said_to_be(visit: Visits, body: str) -> None:
    looking = visit()
    page = looking.page
    page.route(re.compile("/graphql$"), lambda route: route.fulfill(status=200, body=body))
    page.goto(looking.back(looking.stack.token(DEMO)))
    expect(page.get_by_role("alert")).to_contain_text("Something went wrong")
    looking.faults.clear()  # what nobody foresaw is reported to the browser, too
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("region", name="Today")).to_be_visible()


@pytest.mark.parametrize("year", [2016, 2045])
def test_a_clock_that_is_years_off_hides_no_study_day(visit: Visits, year: int) -> None:
    looking = visit()
    looking.page.clock.set_fixed_time(f"{year}-06-01T12:00:00Z")
    expect(looking.open().get_by_role("region", name="Study days")).to_contain_text("61 study days")


def test_without_a_connection_it_waits_for_one(visit: Visits) -> None:
    looking = visit()
    page = looking.open()
    asked = len(looking.questions())
    looking.context.set_offline(True)
    page.evaluate("user => { location.hash = `#/learner/${user}` }", DEMO)
    expect(page.get_by_role("alert")).to_contain_text("You are offline")
    looking.context.set_offline(False)
    expect(page.get_by_role("region", name="Today")).to_be_visible()
    assert len(looking.questions()) > asked


def test_numbers_stay_where_there_are_no_newer_ones(visit: Visits, demo: Stack) -> None:
    user = f"page-{uuid.uuid4()}"
    looking = visit()
    page = looking.open(user)
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    expect(page.locator("#live")).to_have_text("Live")
    answered(page, 503, "UNAVAILABLE")
    demo.publish({"event_id": str(uuid.uuid4()), "event_type": "SessionStarted",
                  "occurred_at": "2024-03-29T20:32:32Z",
                  "data": {"user_id": user, "session_id": user, "item_count": 1}})  # fmt: skip
    expect(page.get_by_role("alert")).to_contain_text("The numbers are those of before")
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    page.unroute_all()
    expect(page.get_by_role("region", name="Today")).to_be_visible(timeout=20_000)


def test_what_a_learner_wrote_is_text(visit: Visits) -> None:
    bad = "<img src=x onerror=alert(1)>"
    page = visit().open("sam", "support")
    page.get_by_label("A learner’s id").fill(bad)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"Progress of {bad}")).to_be_visible()
    assert page.locator("img").count() == 0


@pytest.mark.parametrize("chunks", [1, 2, 3, 7, 1_000])
def test_a_stream_is_read_however_it_is_cut(visit: Visits, chunks: int) -> None:
    page = visit().open()
    module = page.evaluate("document.querySelector('link[href$=\"stream.js\"]').href")
    text = (
        ':\n\nevent: next\r\ndata: {"a":\r\ndata: 1}\r\n\r\n:beat\n\nevent:next\rdata:日本\r\r'
        "id: 3\nevent: complete\ndata:\n\nevent: next\ndata: cut off"
    )
    read = page.evaluate(
        """async ([module, text, size]) => {
            const { events } = await import(module);
            const bytes = new TextEncoder().encode(text);
            let at = 0;
            const body = new ReadableStream({ pull(line) {
                if (at < bytes.length) line.enqueue(bytes.slice(at, at += size));
                else line.close();
            } });
            const found = [];
            for await (const each of events(body)) found.push([each.event, each.data]);
            return found;
        }""",
        [module, text, chunks],
    )
    assert read == [["next", '{"a":\n1}'], ["next", "日本"], ["complete", ""]]
