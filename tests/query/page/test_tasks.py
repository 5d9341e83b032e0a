"""The tasks of a group, on the pages of its learners and of its teacher."""

import io
import re
import uuid
from datetime import UTC, datetime, timedelta

import pypdf
from playwright.sync_api import PdfMargins, expect

from tests.support import browser
from tests.support.browser import Visit, Visits

LEARNED = "will be remembered on 1 January 2099"


def set_task(visitor: Visit) -> tuple[str, list[str]]:
    """Let a group of two learn two words, of which they have learned two and one; return both."""
    group, now, before = f"group-{uuid.uuid4()}", datetime.now(UTC), timedelta(days=1)
    users = [browser.create_learner(visitor.stack, ago=before) for _ in range(2)]
    items = [f"{group}-{n}" for n in range(2)]
    visitor.stack.publish(
        *(browser.envelope("LearnerJoinedGroup", now, user_id=u, group_id=group) for u in users),
        browser.envelope("ListPublished", now, list_id=group, name="Unit 7"),
        *(browser.envelope("ItemListed", now, list_id=group, item_id=item) for item in items),
        browser.envelope("ListAssigned", now, list_id=group, group_id=group, due_on="2099-01-01"),
        *(e for item in items for e in browser.lesson(users[0], 1, ago=before, item=item)),
        *browser.lesson(users[1], 1, ago=before, item=items[0]),
    )
    fields = "tasks { edges { node { members { edges { node { known } } } } } }"
    members = {"edges": [{"node": {"known": 1}}, {"node": {"known": 2}}]}
    counted = {"group": {"tasks": {"edges": [{"node": {"members": members}}]}}}
    visitor.wait_for(f'{{ group(groupId: "{group}") {{ {fields} }} }}', counted)
    return group, users


def test_a_learner_is_told_what_is_left_of_a_task_and_until_when(visitor: Visit) -> None:
    group, (_, user) = set_task(visitor)
    page = visitor.open(user)
    news = page.locator("[data-key=news]")
    expect(news).to_contain_text(f"Unit 7: 1 of 2 learned; about 0 {LEARNED}.")
    expect(page.locator(".tile.next")).to_contain_text("1 left of the task")
    visitor.stack.publish(*browser.lesson(user, 1, item=f"{group}-1"))
    # The task is done, and the catalogue's words are not what this learner learns.
    expect(news).to_contain_text("Nothing is due or fading.")
    expect(news).not_to_contain_text("Unit 7")
    visitor.move("#/lists")
    row = page.get_by_role("row", name="Unit 7")
    expect(row.get_by_role("rowheader")).to_contain_text(f"2 of 2 learned; about 0 {LEARNED}")
    # What is known stands on the list's page.
    expect(row.get_by_role("cell")).to_have_text(["", "0", ""])
    row.get_by_role("link", name="Unit 7").click()
    task = page.get_by_text(f"2 of 2 learned; about 0 {LEARNED}, {group}")
    expect(task).to_be_visible()
    expect(page.locator("[data-key=known]")).to_contain_text("0 of 2 (0%)")
    visitor.move("#/lists?on=2024-09-20")
    expect(page.get_by_text("This page shows the end of 20 September 2024.")).to_be_visible()
    expect(task).to_have_count(0)


def test_a_teacher_sees_and_prints_who_has_done_a_task(visitor: Visit) -> None:
    group, (done, missing) = set_task(visitor)
    page = visitor.open("tess", "teacher", f"#/group/{group}", [group])
    row, said = page.locator("[data-key=tasks]").get_by_role("row").last, "1 of 2 has done it"
    one = re.compile(rf"^{missing} .* {LEARNED}\. 1 word left, [\d,]+ days: 1 a day$")
    day = re.compile("^1 January 2099")
    expect(row.get_by_role("cell")).to_have_text([day, re.compile(said), one])
    assert visitor.find_violations("[data-key=tasks]") == []
    row.get_by_role("link", name="Unit 7").click()
    expect(page).to_have_title(f"Unit 7 · {group} · Progress")
    expect(page.get_by_text(said)).to_be_visible()
    expect(page.locator("[data-key=who] tbody th")).to_have_text([missing, done])
    # One of the two lacks the second word; the first one is known to both.
    words = page.locator("[data-key=words] tbody tr")
    expect(words).to_have_count(1)
    expect(words.get_by_role("link")).to_have_attribute("href", f"#/group/{group}/{group}-1")
    expect(words.locator("td, th")).to_have_text(
        [f"{group}-1", "1 of 2", re.compile(r"^[01](\.\d)?$")]
    )
    assert visitor.find_violations("main") == []
    page.emulate_media(media="print", color_scheme="light")
    expect(page.locator(".printed")).to_contain_text(f"Group {group}")
    expect(page.locator("main :is(button, .back)").filter(visible=True)).to_have_count(0)
    page.emulate_media(media="screen")
    visitor.move(f"#/group/{group}/task/none")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such task")
    visitor.move(f"#/group/{group}")
    expect(page.locator("[data-key=learners]")).to_contain_text(missing)
    visitor.move("#/glossary")
    visitor.context.set_offline(True)
    page.go_back()
    expect(page.get_by_text("These numbers are as of")).to_be_visible()
    expect(page.locator("[data-key=learners]")).to_contain_text(missing)
    visitor.context.set_offline(False)
    expect(page.get_by_text("These numbers are as of")).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()
    assert page.evaluate("sessionStorage.getItem('progress.left')") is None  # names of a group


def test_a_class_has_three_sheets_and_a_task_of_33_learners_one(visit: Visits) -> None:
    visitor, group, ago = visit(), f"group-{uuid.uuid4()}", timedelta(days=99)
    now, users = datetime.now(UTC), [f"{group}-{n}" for n in range(33)]
    items = {f"{group}-{level}": level for level in ("A1", "A2", "B1", "B2", "C1", "C2")}
    items |= {f"{group}-{skill}": "A1" for skill in "RWLS"}
    told = [
        browser.envelope("ItemPublished", now - ago, item_id=item, headword=f"word {item[-2:]}",
            domains=["R", "W", "L", "S"], cefr_level=level)
        for item, level in items.items()
    ]  # fmt: skip
    for number in range(4):
        which = {"list_id": f"{group}-{number}"}
        told += [
            browser.envelope("ListPublished", now, name=f"Unit {number}", **which),
            *(browser.envelope("ItemListed", now, item_id=item, **which) for item in items),
            browser.envelope("ListAssigned", now, group_id=group, due_on="2099-01-01", **which),
        ]
    for number, user in enumerate(users):
        told.append(browser.envelope("LearnerJoinedGroup", now, user_id=user, group_id=group))
        named = {"user_id": user, "display_name": f"Maximiliane Hoffmann-{number % 30}"}
        told.append(browser.envelope("UserPreferencesChanged", now, **named))
        for item in items:
            told += browser.lesson(user, 1, 1, ago=ago, item=item)
    visitor.stack.publish(*told)
    visitor.stack.run_batch()
    margin: PdfMargins = {"top": "1cm", "right": "1cm", "bottom": "1cm", "left": "1cm"}
    for at, most in ((f"#/group/{group}", 3), (f"#/group/{group}/task/{group}-1", 1)):
        page = visitor.open("tess", "teacher", at, [group])
        if most > 1:
            expect(page.locator("[data-key=tasks]")).to_be_visible()
            page.locator("[data-key=skills]").scroll_into_view_if_needed()
            expect(page.locator("[data-key=skills] tr")).to_have_count(11)
            words = page.locator(":is([data-key=fading] li, [data-key=hardest] tr)")
            expect(words).to_have_count(21)
        sheets = pypdf.PdfReader(io.BytesIO(page.pdf(format="A4", margin=margin))).pages
        assert len(sheets) <= most
        assert "".join(sheet.extract_text() for sheet in sheets).count("Maximiliane") >= 33
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Sign in with a token").fill(visitor.stack.token("tom", "teacher", ["none"]))
    page.get_by_role("button", name="Sign in with the token").click()
    visitor.move(f"#/learner/{users[0]}?group={group}")
    expect(page).to_have_title(f"{users[0]} · Progress")
    expect(page.locator("#views [aria-current=page]")).to_have_text(users[0])
