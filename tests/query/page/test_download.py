"""A learner's record is exported from the page, in a real browser on a running local stack."""

import json
import uuid
import zipfile
from datetime import timedelta
from typing import Any

from playwright.sync_api import Page, Route, expect

from tests.support import browser
from tests.support.browser import Stack, Visits

RUNNING = {
    "id": "0191f0c4-0000-7000-8000-000000000000", "kind": "EXPORT_USER", "state": "RUNNING",
    "progress": 0.5, "error": None, "result": None, "startedAt": "2026-01-01T00:00:00Z",
    "finishedAt": None, "steps": [], "download": None,
}  # fmt: skip
CANCELLED = RUNNING | {"state": "FAILED", "error": "cancelled"}


def open_page(visit: Visits, demo: Stack) -> Page:
    """Open the page as a new learner with one session."""
    user = f"page-{uuid.uuid4()}"
    demo.publish(*browser.lesson(user, 3, 1, ago=timedelta(minutes=10)))
    page = visit().open(user)
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
        operation: dict[str, Any] | None = None
        if "exportUser" in query:
            operation = RUNNING
        if "cancelOperation" in query:
            operation = CANCELLED
        if operation is None:
            route.fallback()
        else:
            route.fulfill(json={"data": {"operation": operation}})

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
