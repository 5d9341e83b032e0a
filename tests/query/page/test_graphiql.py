"""GraphiQL uses only the project's files and the page's token, and needs no other host."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.support.browser import Visit

pytestmark = pytest.mark.timeout(180)


def test_the_example_queries_run_with_the_page_s_token_and_need_no_other_host(
    visit: Callable[..., Visit],
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


def test_graphiql_links_to_the_page_if_there_is_no_session(visit: Callable[..., Visit]) -> None:
    visitor = visit()
    page = visitor.page
    page.goto(f"{visitor.stack.page}graphql")
    link = page.get_by_role("link", name="Sign in on the page")
    expect(link).to_have_attribute("href", "./")
    visitor.check()
