"""A learner's own lists, those of the groups and of scales, and what others see of them."""

import uuid
from datetime import UTC, datetime, timedelta

from playwright.sync_api import expect

from tests.support import browser
from tests.support.browser import Visit

OWN = "Only you see what is marked “own”."


def learn_deck(visitor: Visit) -> str:
    """Create a learner who has answered two of the three own words of a deck; return the id.

    The learner's group, whose id is the learner's, has a list: the second level of a scale. Its
    first level has the deck's first item, which the catalogue does not describe.
    """
    user, now = f"page-{uuid.uuid4()}", datetime.now(UTC)
    levels = [{"list_id": f"{user}-{n}", "scale": user, "rank": n} for n in (1, 2)]
    words = [(f"{user}-a", "neko"), (f"{user}-b", "inu"), (f"{user}-c", "tori")]
    item = {"list_id": "deck", "user_id": user}
    visitor.stack.publish(
        browser.envelope("LearnerJoinedGroup", now, user_id=user, group_id=user),
        browser.envelope("ListPublished", now, list_id="deck", user_id=user, name="Animals"),
        *(
            browser.envelope("ItemListed", now, item_id=one, headword=word, position=at, **item)
            for at, (one, word) in enumerate(words)
        ),
        *(browser.envelope("ListPublished", now, name=f"L{n}", **levels[n - 1]) for n in (1, 2)),
        browser.envelope("ItemListed", now, list_id=f"{user}-1", item_id=f"{user}-a"),
        browser.envelope("ListAssigned", list_id=f"{user}-2", group_id=user, due_on="2099-01-01"),
        *browser.lesson(user, 1, ago=timedelta(minutes=1), item=f"{user}-a"),
        *browser.lesson(user, 1, ago=timedelta(minutes=1), item=f"{user}-b"),
    )
    text = "{ lists { edges { node { itemsStudied name } } } itemStats { totalCount } }"
    nodes = [{"itemsStudied": 2, "name": "Animals"}, {"itemsStudied": 0, "name": "L2"}]
    counted = {
        "lists": {"edges": [{"node": node} for node in nodes]},
        "itemStats": {"totalCount": 2},
    }
    visitor.wait_for(text, counted, user, "learner")
    return user


def test_lists_lead_to_their_words_and_to_what_is_missing(visitor: Visit) -> None:
    user = learn_deck(visitor)
    page = visitor.open(user, at="#/items")
    page.locator("[name=list]").select_option("Animals")
    expect(page.locator(".note", has_text="2 words")).to_be_visible()
    page.get_by_role("link", name="Lists").click()
    expect(page).to_have_title("Lists · Progress")
    rows = page.locator("[data-key=mine]").get_by_role("row")
    expect(rows.nth(1)).to_contain_text("Animals own")
    expect(rows.nth(1)).to_contain_text("0 of 3 (0%)")
    expect(rows.nth(2)).to_contain_text("L2")
    page.get_by_label("Scale").select_option(user)
    expect(rows.nth(1)).to_contain_text("L1")
    page.go_back()
    page.get_by_role("link", name="Animals").click()
    words = page.locator("[data-key=members]").get_by_role("rowheader")
    expect(words).to_have_text(["neko own", "inu own", "tori own"])
    expect(page.get_by_text(OWN)).to_have_count(1)
    page.get_by_label("Show").select_option("Missing: still new")
    expect(words).to_have_text(["tori own"])
    assert visitor.find_violations("main") == []
    page.get_by_role("link", name="tori").click()
    expect(page).to_have_title("tori · Progress")
    expect(page.get_by_text(OWN)).to_be_visible()
    expect(page.get_by_text("Lists: Animals", exact=True)).to_be_visible()
    page.get_by_role("link", name="Animals").last.click()
    expect(words).to_have_count(3)
    left = {"user_id": user, "list_id": "deck", "item_id": f"{user}-c"}
    visitor.stack.publish(browser.envelope("ItemUnlisted", **left))
    visitor.move(f"#/item/{user}-c")
    expect(page.locator("[data-key=head]")).to_contain_text("tori")
    expect(page.locator("[data-key=head]")).not_to_contain_text("Lists")
    visitor.move("#/knowledge")  # without levels, there is no table of them
    expect(page.locator("[data-key=now]")).to_contain_text("of 2 words")
    expect(page.locator("[data-key=now] table")).to_have_count(0)


def test_others_see_the_lists_of_the_catalogue_and_ids_of_own_words(visitor: Visit) -> None:
    user = learn_deck(visitor)
    page = visitor.open("tess", "teacher", f"#/lists/{user}", [user])
    mine = page.locator("[data-key=mine]")
    task = f"0 words, until 1 January 2099, {user}"
    expect(mine.get_by_role("rowheader")).to_have_text([f"L2{user}{task}"])
    expect(page.get_by_text(OWN)).to_have_count(0)
    page.get_by_label("Scale").select_option(user)
    visitor.move(f"#/lists/{user}?on=2024-09-20")
    expect(mine).to_contain_text("No list is assigned to this learner’s groups.")
    page.go_back()
    expect(page.get_by_label("Scale")).to_have_value(user)
    mine.get_by_role("link", name="L1").click()
    expect(page.locator("[data-key=members]").get_by_role("rowheader")).to_have_text(f"{user}-a")
    visitor.move(f"#/list/own:deck/{user}")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such list")
    visitor.move(f"#/list/{user}-1/{user}?on=2024-09-20")
    expect(page.get_by_text("This page shows the end of 20 September 2024.")).to_be_visible()
    expect(page.locator("[data-key=members]").get_by_role("cell").first).to_have_text("New")


def test_the_chosen_scale_of_levels_is_kept_and_leads_to_its_lists(visitor: Visit) -> None:
    page = visitor.open()
    levels = page.locator("[data-key=levels]")
    levels.scroll_into_view_if_needed()
    page.get_by_label("Scale").select_option("CEFR-J")
    names = levels.get_by_role("rowheader").get_by_role("link")
    expect(names).to_have_text(["A1", "A2", "B1", "B2", "C1", "C2"])
    pace = page.get_by_label("a day until")
    was = levels.get_by_role("status").text_content()
    pace.fill("7")
    pace.press("Enter")
    expect(levels.get_by_role("status")).not_to_have_text(was or "")
    page.reload()
    levels.scroll_into_view_if_needed()
    expect(page.get_by_label("Scale")).to_have_value("CEFR-J")
    assert visitor.find_violations("[data-key=levels]") == []
    levels.get_by_role("link", name="A2").click()
    expect(page).to_have_title("A2 · Progress")
    expect(pace).to_have_value("7")
    pace.fill("0")
    pace.press("Tab")
    expect(page.locator("[data-key=known]")).to_contain_text("Reached at 80%: ")
    expect(pace).to_have_value("1")
    assert visitor.find_violations("[data-key=known]") == []


def learn_levels(visitor: Visit) -> str:
    """Create a learner who knows words of four of the five levels of a scale; return the id.

    Five words of the first level have been known for 90 days, and five of the third for 40, after
    those of the last two. The learner's group and the scale have the learner's id. The batch job
    has counted the words.
    """
    user, now = f"page-{uuid.uuid4()}", datetime.now(UTC)
    events = [browser.envelope("LearnerJoinedGroup", now, user_id=user, group_id=user)]
    review = {"user_id": user, "rating": 4, "new_interval": 200, "easiness_factor": 2.5}
    for rank, days in ((1, 90), (2, None), (3, 40), (4, 95), (5, 96)):
        level = {"list_id": f"{user}-{rank}"}
        events += [
            browser.envelope("ListPublished", now, **level, name=f"L{rank}", scale=user, rank=rank)
        ]
        for item in (f"{user}-{rank}-{word}" for word in range(10)):
            events += [browser.envelope("ItemListed", now, **level, item_id=item)]
            if days and item < f"{user}-{rank}-5":
                at = now - timedelta(days)
                events += [browser.envelope("ReviewProcessed", at, **review, item_id=item)]
    visitor.stack.publish(*events)
    visitor.stack.run_batch()
    return user


def test_the_current_level_after_weeks_off_is_that_of_the_word_mastered_last(
    visitor: Visit,
) -> None:
    user = learn_levels(visitor)
    at = f"#/learner/{user}"
    page = visitor.open("t", "teacher", at, [user])
    levels = page.locator("[data-key=levels]")
    # 30 days ago, words had been mastered in 28 days: nothing is asked.
    for days, current, asked in ((0, "L3", 1), (5, "L3", 2), (30, "L3", 2), (50, "L1", 3)):
        day = datetime.now(UTC).date() - timedelta(days)
        visitor.move(f"{at}?on={day}" if days else at)
        levels.scroll_into_view_if_needed()
        expect(levels).to_contain_text(f"The current level is {current}.")
        queries = [query.post_data or "" for query in visitor.queries()]
        assert sum("query Last(" in query for query in queries) == asked
