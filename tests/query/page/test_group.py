"""The teacher's view of a group, in a real browser with a running local stack."""

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from progress.local import readiness
from tests.support import browser
from tests.support.browser import Stack, Visit

pytestmark = pytest.mark.timeout(180)

Visits = Callable[..., Visit]

MEMBERS = ("active", "new", "weak")


def membership(kind: str, user: str, group: str) -> browser.Envelope:
    return browser.envelope(kind, datetime.now(UTC), user_id=user, group_id=group)


def found_group(demo: Stack) -> str:
    """Create a group with an active learner, a weak learner, and one who has not started."""
    group = f"class-{uuid.uuid4()}"
    events = [membership("LearnerJoinedGroup", f"{group}-{name}", group) for name in MEMBERS]
    ago = timedelta(minutes=10)
    events += browser.lesson(f"{group}-active", 20, 2, ago=ago, item=f"{group}-item")
    events += browser.lesson(f"{group}-weak", 5, 20, ago=ago, item=f"{group}-item")
    demo.publish(*events)
    return group


def wait_for_group(visitor: Visit, group: str, members: int, answers: int) -> None:
    """Wait until the events of the group are folded."""
    text = f'{{ group(groupId: "{group}") {{ members answersLast7Days }} }}'
    authorization = f"Bearer {visitor.stack.token('sam', 'support')}"
    expected = {"members": members, "answersLast7Days": answers}

    def is_folded() -> bool:
        response = visitor.page.request.post(
            f"{visitor.stack.page}graphql",
            data={"query": text},
            headers={"authorization": authorization},
        )
        return bool(response.json()["data"]["group"] == expected)

    readiness.wait(is_folded, "the group", seconds=30)


def learners(page: Page) -> list[str]:
    return page.locator("[data-key=learners] tbody th a").all_inner_texts()


def test_a_teacher_starts_at_a_group_and_sees_learners_at_risk_first(
    visit: Visits, demo: Stack
) -> None:
    group, other = found_group(demo), f"class-{uuid.uuid4()}"
    visitor = visit()
    wait_for_group(visitor, group, members=3, answers=47)
    page = visitor.open("tess", "teacher", groups=[group, other])
    expect(page.get_by_role("region", name="The last seven days")).to_contain_text(
        "Answers in 7 days47"
    )
    assert [name.rpartition("-")[2] for name in learners(page)] == ["new", "weak", "active"]
    table = page.get_by_role("region", name="3 learners")
    expect(table.get_by_role("row", name=re.compile("-new"))).to_contain_text("has not started")
    expect(table.get_by_role("row", name=re.compile("-weak"))).to_contain_text("under 60% right")
    expect(table.get_by_role("row", name=re.compile("-active"))).not_to_contain_text("At risk")
    page.get_by_label("Order").select_option("Lowest accuracy first")
    expect(page.locator("[data-key=learners] tbody th a").first).to_have_text(f"{group}-weak")
    assert visitor.find_violations() == []
    page.get_by_label("Group").select_option(other)
    expect(page.get_by_text("This group has no members now.")).to_be_visible()


def test_a_teacher_can_open_a_member_but_not_a_former_member(visit: Visits, demo: Stack) -> None:
    group = found_group(demo)
    visitor = visit()
    wait_for_group(visitor, group, members=3, answers=47)
    page = visitor.open("tess", "teacher", groups=[group])
    page.get_by_role("link", name=f"{group}-active").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"{group}-active")
    expect(page.get_by_role("region", name="Today")).to_be_visible()
    text = page.get_by_role("main").inner_text()
    assert re.findall(r"\b(?:I|my|me|you|your)\b", text, re.IGNORECASE) == []
    demo.publish(membership("LearnerLeftGroup", f"{group}-active", group))
    wait_for_group(visitor, group, members=2, answers=25)
    page.get_by_role("link", name="Groups").click()
    expect(page.get_by_role("region", name="2 learners")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("alert")).to_contain_text("The learner may have left")
    page.evaluate("location.hash = '#/group/somebody-else-s'")
    expect(page.get_by_role("alert")).to_contain_text("not in your groups")
    page.get_by_role("link", name="To your groups").click()
    expect(page.get_by_role("region", name="2 learners")).to_be_visible()


def test_a_teacher_without_groups_is_told_whom_to_ask(visit: Visits) -> None:
    page = visit().open("tess", "teacher")
    expect(page.get_by_text("Your sign-in names no group.")).to_be_visible()


def test_support_opens_any_group_by_its_id(visit: Visits, demo: Stack) -> None:
    group = found_group(demo)
    visitor = visit()
    wait_for_group(visitor, group, members=3, answers=47)
    page = visitor.open("sam", "support", at="#/group")
    page.get_by_label("A group’s id").fill(group)
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="3 learners")).to_be_visible()
