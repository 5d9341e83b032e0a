"""How much of a text is known, for a class and its pupils."""

import json
import re
import uuid
from datetime import UTC, datetime
from urllib.parse import unquote_plus

from playwright.sync_api import expect

from tests.support import browser
from tests.support.browser import Visit, Visits

# The bytes that came for each page of the catalogue, and the size of the page.
_READ = """performance.getEntriesByType('resource').filter(({ name }) => name.includes('graphql?'))
  .map(({ transferSize, encodedBodySize }) => [transferSize, encodedBodySize])"""


def teach(visitor: Visit, other: str) -> tuple[str, list[str], str]:
    """Let one of a group of two know one of two words of the catalogue; return all three."""
    word, now = f"zyz{uuid.uuid4().hex}", datetime.now(UTC)
    group = f"group-{word}"
    users = [browser.create_learner(visitor.stack) for _ in range(2)]
    words = {f"{group}-1": word, f"{group}-2": other}
    visitor.stack.publish(
        *(browser.envelope("LearnerJoinedGroup", now, user_id=u, group_id=group) for u in users),
        *(
            browser.envelope("ItemPublished", now, item_id=item, headword=headword,
                domains=["R"], cefr_level="A1")
            for item, headword in words.items()
        ),
        *browser.lesson(users[0], 1, item=f"{group}-1"),
    )  # fmt: skip
    counted = {"userProgress": {"totalItemsLearned": 2}}
    visitor.wait_for(f'{{ userProgress(userId: "{users[0]}") {{ totalItemsLearned }} }}', counted)
    return group, users, word


def test_a_teacher_counts_a_text_by_keyboard_and_chooses_words_for_the_class(
    visitor: Visit,
) -> None:
    group, users, word = teach(visitor, "猫又")
    text = f"{word.title()}, {word.upper()}:\n{word}! 猫又 supersecret"
    page = visitor.open("tess", "teacher", f"#/group/{group}", [group])
    page.get_by_role("link", name="How much of a text?").press("Enter")
    expect(page).to_have_title(f"How much of a text? · {group} · Progress")
    paste = page.get_by_label("A text, or a list of words")
    paste.fill(text)
    paste.press("Tab")
    page.keyboard.press("Enter")
    visitor.settle()
    result = page.locator("[data-key=result]")
    expect(result).to_contain_text("5 words, 1 not in the catalogue")
    gaps, chosen = page.locator("[data-key=gaps]"), page.locator("[data-key=chosen] p")
    expect(gaps.get_by_role("checkbox")).to_have_count(2)
    expect(chosen).to_have_text("With 2 of these words learned: 100%")
    rows = gaps.locator("tbody tr")
    expect(rows.first).to_contain_text("3 times in the text")
    expect(rows.get_by_role("link")).to_have_text(["1 of 2", "2 of 2"])
    gaps.get_by_label(word).press("Space")
    expect(chosen).to_contain_text("With 1 of these words learned: ")
    expect(gaps.get_by_label(word)).to_be_focused()
    expect(page.locator("[data-key=members] tbody th")).to_have_text([users[1], users[0]])
    assert visitor.find_violations("main") == []
    name, saved = browser.save_csv(page)
    assert (name[:5], [row["Id"] for row in saved]) == ("Group", [users[1], users[0]])
    sent = [f"{unquote_plus(each.url)} {each.post_data}".lower() for each in visitor.requests]
    assert not [each for each in sent if "supersecret" in each]
    (asked,) = (json.loads(each.partition(" ")[2]) for each in sent if "groupcoverage" in each)
    items = [{"itemid": f"{group}-1", "count": 3}, {"itemid": f"{group}-2", "count": 1}]
    assert asked["variables"] == {"group": group, "items": items}
    # Back from a pupil, the text stands there; another visit asks only whether the words changed.
    page.locator("[data-key=members]").get_by_role("link", name=users[0]).click()
    expect(page).to_have_title(f"{users[0]} · Progress")
    page.locator(".way").get_by_role("link", name=group).click()
    expect(paste).to_have_value(text)
    expect(gaps.get_by_label(word)).not_to_be_checked()
    read = page.evaluate(_READ)
    assert all(transferred > size for transferred, size in read)
    page.reload()
    visitor.settle()
    expect(paste).to_have_value("")
    again = page.evaluate(_READ)
    assert [size for _, size in again] == [size for _, size in read]
    assert all(transferred < size for transferred, size in again)
    paste.fill(word)
    page.get_by_role("button", name="Count what is known").click()
    gaps.get_by_role("button", name="Set as a task").click()
    page.get_by_role("dialog").get_by_role("button", name="Set as a task").click()
    expect(page.get_by_text("1 word, until")).to_be_visible()


def test_a_learner_counts_a_text_on_a_phone_in_japanese_and_on_a_past_day(visit: Visits) -> None:
    visitor = visit(**browser.PHONE, locale="ja-JP", color_scheme="dark")
    _, (user, _), word = teach(visitor, "河童")
    page = visitor.open(user, at="#/items")
    page.get_by_role("link", name="文章をどれだけ読めるか").click()
    page.get_by_label("文章または単語の一覧").fill(f"河童と{word}、{word}")
    page.get_by_role("button", name="数える").click()
    visitor.settle()
    result = page.locator("[data-key=result]")
    expect(result).to_contain_text(re.compile(r"4語（うちカタログにない1語）[56]\d%"))
    expect(page.locator("[data-key=gaps] th a").first).to_have_text("河童")
    expect(page.get_by_role("checkbox")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert visitor.find_violations("main") == []
    visitor.move("#/text?on=2024-09-20")
    page.get_by_label("文章または単語の一覧").fill(word)
    page.get_by_role("button", name="数える").click()
    expect(result).to_contain_text("0%")
