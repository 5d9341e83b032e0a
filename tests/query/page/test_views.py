"""The page's views, GraphiQL and exports: who may open them, and how they are reached."""

import json
import re
import zipfile

from playwright.sync_api import Page, Route, expect

from tests.support import browser
from tests.support.browser import Stack, Visits


def test_a_support_user_can_open_another_learner(visit: Visits) -> None:
    page = visit().open("sam", "support")
    expect(page.get_by_role("link", name="Administration")).to_have_count(0)
    page.get_by_label("A learner’s id").fill(browser.DEMO)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"Progress of {browser.DEMO}")).to_be_visible()
    expect(page.get_by_role("region", name="The year")).to_contain_text("61 study days")
    expect(page).to_have_title(f"{browser.DEMO} · Progress")


def test_text_from_a_user_is_never_interpreted_as_html(visit: Visits) -> None:
    bad = "<img src=x onerror=alert(1)>"
    page = visit().open("sam", "support")
    page.get_by_label("A learner’s id").fill(bad)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"Progress of {bad}")).to_be_visible()
    assert page.locator("img").count() == 0


def test_a_malformed_url_hash_still_shows_a_view(visit: Visits) -> None:
    page = visit().open("sam", "support")
    for at, title in (("#/learner/%", "% · Progress"), ("#/nowhere", "Progress")):
        page.evaluate("at => { location.hash = at }", at)
        expect(page).to_have_title(title)
        expect(page.get_by_role("heading", name=re.compile("Nothing|Welcome"))).to_be_visible()


def test_a_learner_has_no_access_to_the_views_of_other_roles(visit: Visits) -> None:
    page = visit().open()
    views = page.get_by_role("navigation", name="Views").get_by_role("link")
    expect(views).to_have_text(["My progress", "All items"])
    for at in ("#/learner/somebody", "#/administration"):
        page.evaluate("at => { location.hash = at }", at)
        expect(page.get_by_role("heading", name="You may not see this")).to_be_visible()
    page.get_by_role("link", name="To your own progress").click()
    expect(page.get_by_role("region", name="Today")).to_be_visible()


def test_a_selected_language_stays_after_a_reload_until_another_is_selected(visit: Visits) -> None:
    page = visit().open()
    page.get_by_label("Language").select_option("ja")
    expect(page.get_by_role("region", name="今日")).to_be_visible()
    page.reload()
    expect(page.get_by_role("region", name="今日")).to_contain_text(
        "最後に学習した日：2024年10月6日"
    )
    page.get_by_label("言語").select_option("en")
    expect(page.get_by_role("region", name="Today")).to_be_visible()


def test_the_example_queries_run_with_the_page_s_token_and_need_no_other_host(
    visit: Visits,
) -> None:
    visitor = visit()
    page = visitor.open()
    page.goto(f"{visitor.stack.page}graphql")
    expect(page.locator("#session")).to_contain_text("Signed in as demo-learner")
    run, result = page.get_by_label("Execute query"), page.get_by_label("Result Window")
    expect(page.get_by_role("tab")).to_have_count(6)
    for name, shown in (("Page", '"totalItemsLearned"'), ("Calendar", '"dailyStats"')):
        page.get_by_role("tab", name=name).click()
        run.click()
        expect(result).to_contain_text(shown)
    page.get_by_role("tab", name="Live").click()
    run.click()
    expect(result).to_contain_text('"progressUpdated"')
    page.get_by_label("Stop query").click()
    expect(run).to_be_visible()
    visitor.check()
    assert not page.evaluate("JSON.stringify(localStorage).includes('Bearer')")


def test_graphiql_links_to_the_page_if_there_is_no_session(visit: Visits) -> None:
    visitor = visit()
    page = visitor.page
    page.goto(f"{visitor.stack.page}graphql")
    link = page.get_by_role("link", name="Sign in on the page")
    expect(link).to_have_attribute("href", "./")
    visitor.check()


RUNNING = {
    "id": "0191f0c4-0000-7000-8000-000000000000", "kind": "EXPORT_USER", "state": "RUNNING",
    "progress": 0.5, "error": None, "result": None, "startedAt": "2026-01-01T00:00:00Z",
    "finishedAt": None, "steps": [], "download": None,
}  # fmt: skip
CANCELLED = RUNNING | {"state": "FAILED", "error": "cancelled"}


def open_page(visit: Visits, demo: Stack) -> Page:
    """Open the page as a new learner with one session."""
    page = visit().open(browser.create_learner(demo))
    expect(page.get_by_role("region", name="My data")).to_be_visible(timeout=30_000)
    return page


def test_a_learner_saves_their_record(visit: Visits, demo: Stack) -> None:
    page = open_page(visit, demo)
    page.get_by_role("button", name="Download my data").click()
    link = page.get_by_role("link", name="Save the file")
    expect(link).to_be_visible(timeout=30_000)
    with page.expect_download() as saved:
        link.click()
    assert saved.value.suggested_filename.startswith("progress-")
    with zipfile.ZipFile(saved.value.path()) as archive:
        assert archive.testzip() is None
        summary = json.loads(archive.read("summary.json"))
    assert summary["total_sessions_completed"] == 1


def test_a_running_export_can_be_cancelled_and_tried_again(visit: Visits, demo: Stack) -> None:
    page = open_page(visit, demo)

    def answer(route: Route) -> None:
        query: str = (route.request.post_data_json or {})["query"]
        if "exportUser" in query:
            route.fulfill(json={"data": {"operation": RUNNING}})
        elif "cancelOperation" in query:
            route.fulfill(json={"data": {"operation": CANCELLED}})
        else:
            route.fallback()

    page.route("**/graphql", answer)
    page.route("**/graphql/stream", lambda route: route.abort())
    page.get_by_role("button", name="Download my data").click()
    bar = page.get_by_role("progressbar", name="Progress of Export")
    expect(bar).to_have_attribute("aria-valuenow", "50")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    expect(bar).to_have_count(0)


def test_an_administrator_saves_an_exported_record_from_the_list_of_operations(
    visit: Visits, demo: Stack
) -> None:
    page = visit().open("root", "admin", f"#/learner/{browser.DEMO}")
    page.get_by_role("button", name="Download their data").click()
    expect(page.get_by_role("link", name="Save the file")).to_be_visible(timeout=30_000)
    page.goto(page.url.partition("#")[0] + "#/administration")
    button = page.locator(".operations > li").first.get_by_role("button", name="Download (")
    expect(button).to_be_visible()
    with page.expect_download() as saved:
        button.click()
    assert saved.value.suggested_filename.startswith("progress-")


def test_support_cannot_export_a_record(visit: Visits) -> None:
    page = visit().open("sue", "support", f"#/learner/{browser.DEMO}")
    expect(page.get_by_role("region", name="Today")).to_be_visible()
    expect(page.get_by_role("region", name="Their data")).to_contain_text("What is kept")
    expect(page.get_by_role("button", name="Download their data")).to_have_count(0)
