"""The page's administration, in a real browser over the real stack."""

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.support import browser
from tests.support.browser import Envelope, Stack, Visit

pytestmark = pytest.mark.timeout(180)

Visits = Callable[..., Visit]


def conflict(demo: Stack) -> Envelope:
    """An event that was published a second time with other content: the second is a dead letter."""
    first = browser.envelope(
        "SessionStarted", datetime.now(UTC) - timedelta(days=1), user_id="page-letters",
        session_id=str(uuid.uuid4()), item_count=1,
    )  # fmt: skip
    second = {**first, "data": {**first["data"], "item_count": 2}}
    demo.publish(first)
    demo.publish(second)
    return second


def unlucky(session: str) -> Envelope:
    """An event that breaks a rule, told apart by its session."""
    at = datetime.now(UTC) - timedelta(days=1)
    return browser.envelope(
        "SessionCompleted", at, user_id="page-letters", session_id=session, score=101,
        duration_seconds=1,
    )  # fmt: skip


def opened(visit: Visits) -> Page:
    return visit().open("ada", "admin", "#/administration")


def letter(page: Page, told: str) -> Locator:
    """The dead letter that has this in it, once it is there; another look is taken each time."""
    found = page.locator(".letters li").filter(has_text=told)
    expect(found).to_have_count(1, timeout=30_000)
    return found


def test_lag_is_told_for_each_projection(visit: Visits) -> None:
    page = opened(visit)
    lag = page.get_by_role("region", name="Projections")
    for name in ("daily stats", "user progress", "weekly stats"):
        row = lag.get_by_role("row", name=name)
        expect(row).to_contain_text("Normal")
        expect(row).to_contain_text("events")


def test_a_dead_letter_is_read_and_discarded_with_a_reason(visit: Visits, demo: Stack) -> None:
    session = str(uuid.uuid4())
    demo.publish(unlucky(session))
    page = opened(visit)
    one = letter(page, session)
    expect(one).to_contain_text("$.data.score")
    expect(one).to_contain_text("Invalid · SessionCompleted · ")
    one.locator("summary").click()
    expect(one.get_by_role("region")).to_contain_text(f'"session_id": "{session}"')
    discard = page.get_by_role("button", name="Discard")
    expect(discard).to_have_attribute("aria-disabled", "true")
    one.get_by_role("checkbox").check()
    page.get_by_role("button", name="Discard 1").click()
    dialog = page.get_by_role("dialog", name="Discard this letter?")
    dialog.get_by_role("button", name="Discard").click()
    expect(dialog).to_be_visible()  # without a reason it is not done
    dialog.get_by_label("Reason").fill("a test’s own")
    dialog.get_by_role("button", name="Discard").click()
    expect(one).to_have_count(0)
    expect(page.get_by_role("status")).to_have_text("1 discarded.")
    # Its button may have gone with the last letter: then the section has the focus.
    assert page.evaluate("document.activeElement.closest('section')?.dataset.key") == "letters"


def test_a_letter_that_is_cut_says_where_all_of_it_is(visit: Visits, demo: Stack) -> None:
    short, long = str(uuid.uuid4()), str(uuid.uuid4())
    for session, note in ((short, "x" * 16_000), (long, "x" * 17_000)):
        event = unlucky(session)
        demo.publish({**event, "data": {**event["data"], "note": note}})
    page = opened(visit)
    for session, told in ((short, 0), (long, 1)):
        one = letter(page, session)
        one.locator("summary").click()
        expect(one.get_by_text("dead-letters show")).to_have_count(told)


def test_a_dialog_is_left_by_escape_and_nothing_is_done(visit: Visits, demo: Stack) -> None:
    session = str(uuid.uuid4())
    demo.publish(unlucky(session))
    page = opened(visit)
    one = letter(page, session)
    one.get_by_role("checkbox").check()
    page.get_by_role("button", name="Discard 1").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(one).to_be_visible()
    page.get_by_role("button", name="Rebuild projections").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_replay_is_an_operation_that_is_followed(visit: Visits, demo: Stack) -> None:
    session = str(uuid.uuid4())
    demo.publish(unlucky(session))
    page = opened(visit)
    letter(page, session).get_by_role("checkbox").check()
    page.get_by_role("button", name="Replay 1").click()
    first = page.locator(".operations > li").first
    expect(first).to_contain_text("Replay of dead letters")
    expect(first).to_contain_text("Done", timeout=30_000)
    first.locator("summary").click()
    expect(first.get_by_role("listitem")).to_contain_text("replay")
    expect(letter(page, session)).to_contain_text("$.data.score")  # it fails by the same rule


@pytest.mark.parametrize(
    ("button", "kind"), [("Run the batch job", "Batch run"), ("Rebuild projections", "Rebuild")]
)
def test_work_is_started_and_its_end_is_seen(visit: Visits, button: str, kind: str) -> None:
    page = opened(visit)
    before = page.locator(".operations > li").count()
    page.get_by_role("button", name=button).click()
    if kind == "Rebuild":
        page.get_by_role("dialog").get_by_role("button", name="Rebuild").click()
    first = page.locator(".operations > li").first
    expect(first).to_contain_text(kind)
    expect(first).to_contain_text("Done", timeout=60_000)
    expect(page.get_by_role("status")).to_have_text(f"{kind}: done.")
    assert page.locator(".operations > li").count() == min(before + 1, 10)


def test_letters_of_one_kind_are_looked_for(visit: Visits, demo: Stack) -> None:
    told = conflict(demo)["data"]["session_id"]
    session = str(uuid.uuid4())
    demo.publish(unlucky(session))
    page = opened(visit)
    letter(page, session)
    page.get_by_label("Kind").select_option("CONFLICT")
    letter(page, told)
    expect(page.locator(".letters li").filter(has_text=session)).to_have_count(0)


def test_a_wish_tried_again_is_the_same_wish(visit: Visits) -> None:
    page = opened(visit)
    keys = list[str]()

    def lost(route: Route) -> None:
        request = route.request
        if "runBatch" in (request.post_data or ""):
            keys.append(json.loads(request.post_data or "")["variables"]["key"])
            if len(keys) == 1:
                route.abort()
                return
        route.continue_()

    page.route("**/graphql", lost)
    page.get_by_role("button", name="Run the batch job").click()
    expect(page.locator("p.refusal").first).to_contain_text("Not done")
    page.get_by_role("button", name="Run the batch job").click()
    expect(page.locator(".operations > li").first).to_contain_text("Done", timeout=60_000)
    assert len(keys) == 2
    assert keys[0] == keys[1]
    page.unroute_all()
