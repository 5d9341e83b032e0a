"""The page's sign-in: tokens, the state of a tab, one-time codes, and signing out."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from progress.local import data_folder, sign_in_codes
from tests.support.browser import DEMO, Stack, Visits

pytestmark = pytest.mark.timeout(180)


def test_the_sign_in_returns_to_the_page(chromium: Browser, demo: Stack) -> None:
    page = chromium.new_context().new_page()
    page.goto(demo.page)
    page.get_by_role("link", name="Sign in").click()
    expect(page).to_have_url(re.compile("/sign-in"))
    page.get_by_label("Learner’s id").fill(DEMO)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(demo.page)
    expect(page.get_by_role("region", name="The year")).to_contain_text("61 study days")
    page.context.close()


def test_a_teacher_signs_in_with_a_group(chromium: Browser, demo: Stack) -> None:
    page = chromium.new_context().new_page()
    page.goto(demo.page)
    page.get_by_role("link", name="Sign in").click()
    group = page.get_by_label("Group’s id")
    expect(group).to_be_hidden()
    page.get_by_role("radio", name="Teacher").check()
    group.fill("class-1")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Group class-1")).to_be_visible()
    page.context.close()


def test_a_token_is_removed_from_the_url_immediately(visit: Visits, demo: Stack) -> None:
    console = list[str]()
    visitor = visit()
    visitor.page.on("console", lambda message: console.append(message.text))
    page = visitor.open()
    token = demo.token(DEMO).split(".")[0]
    assert page.url == demo.page
    assert page.evaluate("history.length") <= 2
    for request in visitor.requests:
        assert token not in request.url
        assert token not in request.headers.get("referer", "")
    assert not any(token in line for line in console)
    assert page.evaluate("localStorage.length") == 0
    assert page.evaluate("document.cookie") == ""
    log = (demo.folder / "logs" / "query.log").read_text(encoding="utf-8")
    assert token not in log


def test_a_token_is_kept_until_the_user_signs_out(visit: Visits) -> None:
    visitor = visit()
    page = visitor.open()
    page.reload()
    visitor.settle()
    expect(page.get_by_role("region", name="Today")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    expect(page.get_by_role("region", name="Today")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page.evaluate("sessionStorage.getItem('progress.token')") is None


def test_a_link_with_another_user_s_token_signs_nobody_in(visit: Visits, demo: Stack) -> None:
    visitor = visit()
    page = visitor.page
    foreign = demo.token("mallory")
    for query in ("", "?state=", "?state=null", "?state=0123456789abcdef"):
        page.goto(f"{demo.page}{query}#token={foreign}")
        expect(page.get_by_role("heading", name="This link cannot sign you in")).to_be_visible()
        assert page.url == demo.page
        assert page.evaluate("sessionStorage.getItem('progress.token')") is None
    state = page.evaluate("sessionStorage.getItem('progress.state')")
    assert re.fullmatch("[0-9a-f]{32}", state)
    url = page.get_by_role("link", name="Sign in").get_attribute("href") or ""
    assert parse_qs(urlsplit(url).query)["return"] == [f"{demo.page}?state={state}"]
    assert visitor.queries() == []


def test_a_link_with_another_user_s_token_does_not_sign_the_user_out(
    visit: Visits, demo: Stack
) -> None:
    visitor = visit()
    page = visitor.open()
    own = page.evaluate("sessionStorage.getItem('progress.token')")
    page.evaluate("token => { location.hash = `#token=${token}` }", demo.token("mallory"))
    expect(page).to_have_url(demo.page)
    page.goto(visitor.return_url(demo.token("mallory")).replace("f", "e", 1))
    visitor.settle()
    assert page.evaluate("sessionStorage.getItem('progress.token')") == own


def test_a_sign_in_state_is_valid_once_and_only_in_its_tab(chromium: Browser, demo: Stack) -> None:
    context = chromium.new_context()
    page, other = context.new_page(), context.new_page()
    for tab in (page, other):
        tab.goto(demo.page)
    page.get_by_role("link", name="Sign in").click()
    page.get_by_label("Learner’s id").fill(DEMO)
    with page.expect_response(lambda response: response.status == 303) as response:
        page.get_by_role("button", name="Sign in").click()
    url = response.value.headers["location"]
    expect(page.get_by_role("region", name="The year")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    for tab in (page, other):
        tab.goto(url)
        expect(tab.get_by_role("heading", name="This link cannot sign you in")).to_be_visible()
    context.close()


def test_a_one_time_code_signs_in_once(chromium: Browser, demo: Stack) -> None:
    code = sign_in_codes.issue(data_folder.at(str(demo.folder)).codes, DEMO, ["learner"])
    context = chromium.new_context()
    page = context.new_page()
    urls = list[str]()
    page.on("request", lambda request: urls.append(request.url))
    page.goto(f"{demo.page}#sign-in={code}")
    expect(page.get_by_role("region", name="The year")).to_contain_text("61 study days")
    assert page.url == demo.page
    assert not any(code in url for url in urls if url.startswith(demo.page))
    again = context.new_page()
    again.goto(f"{demo.page}#sign-in={code}")
    expect(again.get_by_role("alert")).to_contain_text("works only once and only for ten minutes")
    again.get_by_role("button", name="Sign in").click()  # the form signs in without the code
    expect(again).to_have_url(demo.page)
    context.close()


def test_the_page_has_no_sign_in_link_without_session_storage(
    chromium: Browser, demo: Stack
) -> None:
    context = chromium.new_context()
    context.add_init_script("delete window.sessionStorage;")
    context.add_init_script(
        "Object.defineProperty(window, 'sessionStorage', { get() { throw new Error('no') } })"
    )
    page = context.new_page()
    page.goto(f"{demo.page}?state=x#token={demo.token(DEMO)}")
    expect(page.get_by_role("heading", name="This link cannot sign you in")).to_be_visible()
    assert page.get_by_role("link", name="Sign in").count() == 0
    context.close()


def test_an_invalid_token_ends_the_sign_in(visit: Visits, demo: Stack) -> None:
    visitor = visit()
    visitor.page.goto(visitor.return_url(f"{demo.token(DEMO)[:-9]}AAAAAAAAA"))
    expect(visitor.page.get_by_role("heading", name="Your sign-in has ended")).to_be_visible()
    expect(visitor.page.get_by_role("link", name="Sign in")).to_be_visible()
    assert visitor.page.evaluate("sessionStorage.getItem('progress.token')") is None
