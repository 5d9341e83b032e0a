"""The administrator's view and the teacher's view of a group, in a real browser."""

import io
import json
import re
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pypdf
import pytest
from playwright.sync_api import Locator, Page, Route, ViewportSize, expect

from progress.adapters.postgres import database
from tests.support import browser, operation_fixtures
from tests.support.browser import Visit, Visits
from tests.support.local_stack import Envelope, Stack


def publish_conflict(demo: Stack) -> Envelope:
    """Publish an event twice with different content; return the second, which is a dead letter."""
    at, session = datetime.now(UTC) - timedelta(days=1), str(uuid.uuid4())
    ids = {"user_id": "page-letters", "session_id": session}
    first = browser.envelope("SessionStarted", at, item_count=1, **ids)
    second = {**first, "data": {**first["data"], "item_count": 2}}
    demo.publish(first)
    demo.publish(second)
    return second


def invalid_event(session: str, score: int = -1, **data: object) -> Envelope:
    at, user = datetime.now(UTC) - timedelta(days=1), "page-letters"
    told = {"user_id": user, "session_id": session, "score": score, "duration_seconds": 1, **data}
    return browser.envelope("SessionCompleted", at, **told)


def find_letter(page: Page, text: str) -> Locator:
    letter = page.locator(".letters li").filter(has_text=text)
    expect(letter).to_have_count(1)
    return letter


def test_an_administrator_lands_on_the_school_and_sees_the_lag_of_each_projection(
    visitor: Visit, demo: Stack
) -> None:
    demo.publish(invalid_event(session := str(uuid.uuid4())))
    counts = {"learning-events-ingest-sub": 7, "learning-events-ingest-sub-dead-letter-sub": 2}

    def answer(route: Route) -> None:
        body = (response := route.fetch()).json()
        if "undelivered" in body["data"]:  # none on one machine
            body["data"]["undelivered"] = [
                {"subscription": name, "messages": count} for name, count in counts.items()
            ]
        route.fulfill(response=response, json=body)

    visitor.page.route(re.compile("/graphql$"), answer)
    page = visitor.open("ada", "admin")
    expect(page.get_by_role("heading", level=1)).to_have_text("School")
    page.get_by_role("link", name="Administration").click()
    expect(page.locator("#views [aria-current=page]")).to_have_text("Administration")
    find_letter(page, session)
    glance = page.get_by_role("region", name="Something needs attention")
    expect(glance.get_by_role("button", name=re.compile("Dead letters *[1-9]"))).to_be_visible()
    expect(
        glance.get_by_role("button", name=re.compile("Projections behind *0 of"))
    ).to_be_visible()
    glance.get_by_role("button", name=re.compile("Messages not yet delivered *9")).click()
    expect(page.get_by_role("heading", name="Messages not yet delivered")).to_be_focused()
    messages = page.get_by_role("region", name="Messages not yet delivered")
    expect(messages.get_by_role("row").nth(1)).to_have_text("learning-events-ingest-sub72")
    lag = page.get_by_role("region", name="Projections")
    lag.get_by_text("See all").click()
    for name in ("daily stats", "user progress", "weekly stats"):
        row = lag.get_by_role("row", name=name)
        expect(row).to_contain_text("Normal")
        expect(row).to_contain_text(re.compile("[0-9] events?"))
    page.unroute_all(behavior="wait")


@pytest.mark.exhaustive
def test_administration_says_who_blocks_the_database_and_links_to_the_runbook(
    visitor: Visit, demo: Stack
) -> None:
    with closing(database.connect(demo.database_url, name="locker")) as locker:
        locker.run("BEGIN")
        locker.run("LOCK TABLE event_store.events IN ACCESS EXCLUSIVE MODE")
        page = visitor.open("ada", "admin", "#/administration")
        blocked = page.get_by_role("region", name="The database is blocked")
        expect(blocked).to_contain_text("event_store.events")
        (number,) = re.findall(r"Session (\d+) \(", blocked.inner_text())
        blocked.get_by_role("button", name=f"Session {number}").click()
        expect(page.get_by_role("heading", name=f"Session {number}")).to_be_focused()
        session = page.get_by_role("region", name="Who blocks whom")
        for text in ("locker", "idle in transaction", f"pg_terminate_backend({number})"):
            expect(session).to_contain_text(text)
        runbook = blocked.get_by_role("link", name="Runbook: A stuck shard")
        address, _, section = str(runbook.get_attribute("href")).partition("#")
        assert f'id="{section}"' in page.request.get(address).text()
        expect(page.get_by_text("The server does not respond")).to_have_count(0)
        assert visitor.find_violations("[data-key=glance], [data-key=sessions]") == []
    expect(blocked).to_have_count(0)
    expect(page.get_by_role("region", name="Dead letters")).to_be_visible()


def test_a_finding_of_senders_shows_its_example_which_leaves_a_trace(
    visitor: Visit, demo: Stack
) -> None:
    user, at = f"page-{uuid.uuid4()}", datetime.now(UTC) - timedelta(days=1)
    demo.publish(browser.envelope("GoalSett", at, user_id=user))
    page = visitor.open("ada", "admin", "#/administration")
    findings = page.get_by_role("region", name="What senders send")
    finding = findings.get_by_role("listitem").filter(has_text="GoalSett")
    expect(finding).to_contain_text("Send GoalSet in its place.")
    finding.get_by_role("button", name="Show an example").click()
    expect(finding.get_by_role("region")).to_contain_text(f'"user_id": "{user}"')
    assert visitor.find_violations("[data-key=intake]") == []
    trace = {"accesses": {"edges": [{"node": {"readBy": "ada", "role": "admin"}}]}}
    assert visitor.ask("{ accesses { edges { node { readBy role } } } }", user, "learner") == trace


def test_a_dead_letter_is_discarded_with_a_reason_and_escape_and_cancel_change_nothing(
    visitor: Visit, demo: Stack
) -> None:
    session = str(uuid.uuid4())
    demo.publish(invalid_event(session))
    page = visitor.open("ada", "admin", "#/administration")
    letter = find_letter(page, session)
    expect(letter).to_contain_text("$.data.score")
    expect(letter).to_contain_text("Found: -1")
    expect(letter).to_contain_text("Invalid · SessionCompleted · ")
    letter.locator("summary").click()
    expect(letter.get_by_role("region")).to_contain_text(f'"session_id": "{session}"')
    discard = page.get_by_role("button", name="Discard", exact=True)
    expect(discard).to_have_attribute("aria-disabled", "true")
    page.get_by_role("button", name="Rebuild projections").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    letter.get_by_role("checkbox").check()
    page.get_by_role("button", name="Discard 1").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(letter).to_be_visible()
    page.get_by_role("button", name="Discard 1").click()
    dialog = page.get_by_role("dialog", name="Discard this dead letter?")
    dialog.get_by_role("button", name="Discard").click()
    expect(dialog).to_be_visible()  # a reason is required
    dialog.get_by_label("Reason").fill("a test’s own")
    dialog.get_by_role("button", name="Discard").click()
    expect(letter).to_have_count(0)
    visitor.hear("1 discarded.")
    # If no dead letter remains, the focused button is removed, and the section gets the focus.
    assert page.evaluate("document.activeElement.closest('section')?.dataset.key") == "letters"


def test_an_erasure_says_whose_record_it_is_and_asks_for_the_id_again(visitor: Visit) -> None:
    user = f"page-erased-{uuid.uuid4()}"
    visitor.stack.publish(
        browser.envelope(
            "SessionStarted", datetime.now(UTC) - timedelta(days=1), user_id=user,
            session_id=str(uuid.uuid4()), item_count=1,
        ),
        name_learner(user, "Ann <b>"),
    )  # fmt: skip
    # The same key returns the same operation; null until the learner is known.
    text = 'mutation { operation: exportUser(idempotencyKey: "page") { state } }'
    visitor.wait_for(text, {"operation": {"state": "SUCCEEDED"}}, user, "learner")
    page = visitor.open("ada", "admin", "#/administration")
    page.get_by_role("button", name="Erase a learner").click()
    dialog = page.get_by_role("dialog", name="Erase a learner?")
    expect(dialog).to_contain_text("This cannot be undone or cancelled.")
    erase = dialog.get_by_role("button", name="Erase for ever")
    dialog.get_by_label("The learner’s id").fill(f"{user}x")
    expect(dialog).to_contain_text("No learner with events has this id.")
    erase.click(force=True)
    expect(dialog.get_by_role("alert")).to_be_in_viewport()
    dialog.get_by_label("The learner’s id").fill(user)
    page.keyboard.press("Enter")  # before the dialog has looked for the learner
    expect(dialog).to_contain_text("Name: Ann <b>")
    expect(dialog.get_by_label("Type the id again")).to_be_focused()
    expect(dialog).not_to_contain_text("No learner with events has this id.")
    expect(dialog).to_contain_text("2 recorded events")
    expect(dialog).to_contain_text("1 exported file is deleted")
    dialog.get_by_label("Type the id again").fill("somebody else")
    erase.click(force=True)
    expect(dialog.get_by_role("alert")).to_have_text("The two ids differ.")
    assert visitor.find_violations("dialog") == []
    dialog.get_by_label("Type the id again").fill(user)
    erase.click()
    erasure = page.locator(".operations > li").filter(has_text="Erasure").first
    expect(erasure.locator(".head")).to_contain_text("Done", timeout=60_000)
    expect(erasure).to_contain_text("started by ada")
    expect(erasure.get_by_role("button")).to_have_count(0)  # an erasure cannot be cancelled
    erasure.locator("details").evaluate("details => { details.open = true }")
    receipt = erasure.locator(".receipt")
    expect(receipt).to_contain_text("Reasonrequested")
    expect(receipt).to_contain_text("Rows found afterwards0")
    expect(receipt).to_contain_text("Sessions cleared of the id1")
    assert user not in page.content()


@pytest.mark.exhaustive
def test_dead_letters_are_filtered_and_lead_to_the_learner_s_events_and_back(
    visitor: Visit, demo: Stack
) -> None:
    conflict = publish_conflict(demo)
    session, short, long = (str(uuid.uuid4()) for _ in range(3))
    demo.publish(invalid_event(session))
    for other, note in ((short, "x" * 16_000), (long, "x" * 17_000)):
        demo.publish(invalid_event(other, note=note))
    page = visitor.open("ada", "admin", "#/administration")
    for other, count in ((short, 0), (long, 1)):  # only a cut one names the command that shows all
        letter = find_letter(page, other)
        letter.locator("summary").click()
        expect(letter.get_by_text("dead-letters show")).to_have_count(count)
    visitor.move("#/administration?kind=SESSION_OWNER&reason=none")
    expect(page.get_by_text("Filtered: 0 have the selected kind and reason.")).to_be_visible()
    glance = page.get_by_role("region", name="Something needs attention")
    expect(glance.get_by_role("button", name=re.compile("Dead letters *[1-9]"))).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    find_letter(page, session)
    assert page.evaluate("location.hash") == "#/administration"
    page.get_by_label("Kind").select_option("CONFLICT")
    letter = find_letter(page, conflict["data"]["session_id"])
    expect(page.locator(".letters li").filter(has_text=session)).to_have_count(0)
    letter.get_by_role("link", name="Recorded events").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Recorded events of page-letters")
    content = page.get_by_role("region", name=conflict["event_id"])
    expect(content).to_contain_text('"item_count": 1')  # the recorded event is open
    assert visitor.find_violations() == []
    page.get_by_role("link", name="Dead letters").click()
    find_letter(page, conflict["data"]["session_id"])
    expect(page.get_by_text(re.compile("Filtered: [1-9]"))).to_be_visible()


@pytest.mark.exhaustive
def test_a_replay_says_how_many_dead_letters_stay_and_why(visitor: Visit, demo: Stack) -> None:
    sessions = [str(uuid.uuid4()) for _ in range(3)]
    demo.publish(*(invalid_event(session, -2) for session in sessions))
    incomplete = {**invalid_event(str(uuid.uuid4())), "event_type": "CorrectAnswerGiven"}
    del incomplete["data"]["user_id"]
    incomplete["metadata"] = {"user_id": "of-metadata"}
    demo.publish(incomplete)
    page = visitor.open("ada", "admin", "#/administration")
    find_letter(page, sessions[2])
    letter = find_letter(page, incomplete["data"]["session_id"])
    learner = letter.get_by_role("link", name="Learner")
    expect(learner).to_have_attribute("href", "#/learner/of-metadata")
    expect(letter).to_contain_text("is missing, $.data.item_id")
    group = page.locator(".reasons li").filter(has_text="from 0 to 4,294,967,295")
    expect(group).to_contain_text("expected an integer from 0 to 4,294,967,295, $.data.score")
    count = int(group.locator("b").inner_text())
    group.get_by_role("button", name="Show").click()
    expect(page.locator(".letters > li")).to_have_count(count)
    shown = page.get_by_text(re.compile("^Filtered: "))
    expect(shown).to_be_focused()
    expect(shown).to_be_in_viewport()
    assert visitor.find_violations("[data-key=letters]") == []
    group.get_by_role("button", name=f"Replay all {count}").click()
    first = page.locator(".operations > li").first
    expect(first).to_contain_text("Replay of dead letters")
    expect(first).to_contain_text(f"0 replayed, {count} stay.")
    expect(first).to_contain_text(f"{count} × expected an integer")
    expect(first.locator(".head")).not_to_contain_text("Done")
    expect(first).to_contain_text(f"started by ada, dead letters: {count}")
    told = f"Replay of dead letters: 0 replayed, {count} stay."
    visitor.hear(told)
    group.get_by_role("button", name=f"Discard all {count}").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("test")
    page.get_by_role("dialog").get_by_role("button", name="Discard").click()
    expect(group).to_have_count(0)


@pytest.mark.exhaustive
def test_the_trail_has_the_learner_s_name_and_strikes_a_retracted_event_through(
    visitor: Visit, visit: Visits, demo: Stack
) -> None:
    user, at = f"page-{uuid.uuid4()}", datetime.now(UTC)
    goals = [browser.envelope("GoalSet", at, user_id=user, answers_per_day=n) for n in (1, 2)]
    retracted = goals[0]["event_id"]
    retraction = browser.envelope("EventRetracted", at, user_id=user, retracted_event_id=retracted)
    demo.publish(*goals, retraction, name_learner(user, "Ann Lee"))
    page, said = visitor.open("ada", "admin", f"#/events/{user}"), "Retracted: this event does not"
    expect(page.locator(".letters > li")).to_have_count(4)
    expect(page.get_by_role("heading", level=1)).to_have_text("Recorded events of Ann Lee")
    expect(page.get_by_role("main")).to_contain_text(user)  # names may be equal
    expect(page).to_have_title("Ann Lee · Progress")
    expect(page.locator("s")).to_have_text("GoalSet")
    struck = page.locator(".letters > li", has=page.locator("s"))
    expect(struck).to_have_attribute("data-key", retracted)
    expect(struck).to_contain_text(said)
    expect(page.get_by_text(said)).to_have_count(1)
    page.locator("[data-retracted]").click()
    expect(page.get_by_role("region", name=retracted)).to_be_visible()
    expect(struck.locator("summary")).to_be_focused()
    assert visitor.find_violations() == []
    newer = [browser.envelope("GoalSet", at, user_id=user, answers_per_day=3) for _ in range(50)]
    last = goals[1]["event_id"]
    demo.publish(*newer)
    demo.publish(browser.envelope("EventRetracted", at, user_id=user, retracted_event_id=last))
    page = visit().open("ada", "admin", f"#/events/{user}")
    expect(page.locator(f"[data-key='{last}']")).to_have_count(0)
    page.get_by_role("button", name="See the retracted event").first.click()
    expect(page.get_by_role("region", name=last)).to_be_in_viewport()
    page = visit().open("ada", "admin", f"#/events/{user}?event={last}")
    expect(page.get_by_role("region", name=last)).to_be_in_viewport()


@pytest.mark.exhaustive
def test_a_paused_schedule_and_a_release_are_shown(visitor: Visit, demo: Stack) -> None:
    demo.progress("schedule", "pause")
    try:
        with closing(database.connect(demo.database_url)) as migrating:
            database.run(migrating, "adapters/migrations", "lock")
            page = visitor.open("ada", "admin", "#/administration")
            alarms = page.get_by_role("region", name="Something needs attention")
            expect(alarms).to_contain_text("The schedule progress-batch is paused")
            expect(alarms).to_contain_text("A release is running: it migrates the database.")
            alarms.get_by_role("button", name="Schedules").click()
            expect(page.get_by_role("heading", name="Schedules")).to_be_focused()
            expect(page.get_by_role("region", name="Schedules")).to_contain_text("Paused")
            assert visitor.find_violations("[data-key=glance], [data-key=schedules]") == []
    finally:
        demo.progress("schedule", "resume")
    page.reload()
    expect(page.get_by_role("region", name="Schedules")).to_contain_text("Enabled")
    expect(page.get_by_text("A release is running")).to_have_count(0)


@pytest.mark.exhaustive
def test_older_operations_are_on_further_pages(visitor: Visit, demo: Stack) -> None:
    with closing(database.connect(demo.database_url)) as connection:
        connection.run(operation_fixtures.BLOCKS["finish operations"], count=12)
    page = visitor.open("ada", "admin", "#/administration")
    keys = "rows => rows.map((row) => row.dataset.key)"
    rows = page.locator("[data-key=operations] .operations > li")
    expect(rows).to_have_count(10)
    newest = rows.evaluate_all(keys)
    page.get_by_role("button", name="Older operations").click()
    expect(page.get_by_role("heading", name="Operations", exact=True)).to_be_focused()
    assert not {*newest} & {*rows.evaluate_all(keys)}
    assert visitor.find_violations("[data-key=operations]") == []
    page.get_by_role("button", name="Newer operations").click()
    expect(page.get_by_role("button", name="Newer operations")).to_have_count(0)
    assert rows.evaluate_all(keys) == newest


@pytest.mark.exhaustive
def test_an_operation_is_cancelled_on_the_page(visitor: Visit, demo: Stack) -> None:
    page = visitor.open("ada", "admin", "#/administration")
    with closing(database.connect(demo.database_url)) as holder:
        holder.run(operation_fixtures.BLOCKS["hold rebuilds"])
        page.get_by_role("button", name="Rebuild projections").click()
        page.get_by_role("dialog").get_by_role("button", name="Rebuild").click()
        first = page.locator(".operations > li").first
        expect(first).to_contain_text("Running")
        first.get_by_role("button", name="Cancel").click()
        expect(first).to_contain_text("Cancelled")
        expect(first.locator(".head .bad")).to_have_count(0)  # it has not failed
    expect(first.get_by_role("button", name="Try again")).to_have_count(0)


def test_a_retried_mutation_has_the_same_idempotency_key(visitor: Visit) -> None:
    page = visitor.open("ada", "admin", "#/administration")
    operations, keys = page.locator(".operations > li"), list[str]()
    before = operations.count()

    def abort_first(route: Route) -> None:
        request = route.request
        if "runBatch" in (request.post_data or ""):
            keys.append(json.loads(request.post_data or "")["variables"]["key"])
            if len(keys) == 1:
                route.abort()
                return
        route.continue_()

    page.route("**/graphql", abort_first)
    page.get_by_role("button", name="Run the batch job").click()
    expect(page.locator("p.error").first).to_contain_text("Not done")
    with page.expect_response(lambda response: "runBatch" in (response.request.post_data or "")):
        page.get_by_role("button", name="Run the batch job").click()
    expect(operations.first).to_contain_text("Batch run")
    expect(operations.first).to_contain_text("Done", timeout=60_000)
    visitor.hear("Batch run: done.")
    expect(operations).to_have_count(min(before + 1, 10))  # of more, the last one leaves later
    assert keys == [keys[0]] * 2
    page.unroute_all()


MEMBERS = ("active", "new", "weak")
TABLETS = (640, 700, 750, 1023, 1024)  # pixels
A4: ViewportSize = {"width": 718, "height": 1047}  # without margins of a centimetre

# Find the elements that are narrower than their content.
_CUT = "all => all.filter((o) => o.scrollWidth > o.clientWidth + 1).map((o) => o.outerHTML)"


def membership(kind: str, user: str, group: str, **named: str) -> Envelope:
    return browser.envelope(kind, datetime.now(UTC), user_id=user, group_id=group, **named)


def name_learner(user: str, name: str) -> Envelope:
    return browser.envelope("UserPreferencesChanged", user_id=user, display_name=name)


def wait_for_group(visitor: Visit, group: str, members: int, answers: int) -> None:
    text = f'{{ group(groupId: "{group}") {{ members answersLast7Days }} }}'
    visitor.wait_for(text, {"group": {"members": members, "answersLast7Days": answers}})


def found_group(visitor: Visit) -> str:
    """Create a group with an active learner, a weak learner, and one who has not started."""
    group = f"class-{uuid.uuid4()}"
    events = [membership("LearnerJoinedGroup", f"{group}-{name}", group) for name in MEMBERS]
    ago = browser.earlier_today()
    events += browser.lesson(f"{group}-active", 20, 2, ago=ago, item=f"{group}-item")
    events += browser.lesson(f"{group}-weak", 5, 20, ago=ago, item=f"{group}-item")
    visitor.stack.publish(*events)
    wait_for_group(visitor, group, members=3, answers=47)
    return group


def learners(page: Page) -> list[str]:
    return page.locator("[data-key=learners] tbody th a").all_inner_texts()


def test_a_teacher_selects_a_group_and_sees_first_whom_a_talk_helps(visitor: Visit) -> None:
    group, other = found_group(visitor), f"class-{uuid.uuid4()}"
    visitor.stack.run_batch()  # counts the weeks
    page = visitor.open("tess", "teacher", groups=[group, other])
    rows = page.get_by_role("row").all_inner_texts()[1:]
    assert [row.split() for row in rows] == [[group, "3", "2", "47", "53%"], [other, *"0–––"]]
    shifts = visitor.shifts()
    assert sum(shift[0] for shift in shifts) < 0.02, shifts
    page.get_by_role("link", name=group).click()
    expect(page.get_by_role("region", name="7 days")).to_contain_text("Answers47")
    trend = page.locator("[data-key=trend]")
    expect(trend).to_contain_text("The last whole week has 0 answers, as many as the week before.")
    expect(trend.locator(".unfinished")).to_have_count(3)  # right, wrong and their key
    expect(trend.locator("title").last).to_have_text(re.compile("so far: 47 answers, 53% right$"))
    expect(page.locator(".spark .unfinished")).to_have_count(len(MEMBERS))
    assert visitor.mute_charts() == []
    assert [name.rpartition("-")[2] for name in learners(page)] == ["weak", "active", "new"]
    risk = page.locator("[data-key=risk]")
    expect(risk.locator(".figure")).to_have_text("2of 3 learners")
    expect(risk.locator(".pairs > div")).to_have_text(["under 60% right1", "no study day yet1"])
    table = page.get_by_role("region", name="3 learners")
    expect(table.get_by_role("row", name=re.compile("-new"))).to_contain_text("no study day yet")
    expect(table.get_by_role("row", name=re.compile("-weak"))).to_contain_text("under 60% right")
    expect(table.get_by_role("row", name=re.compile("-active")).locator(".chip")).to_have_count(0)
    heights = "rows => rows.every(row => Math.round(row.offsetHeight) <= 40)"
    assert table.locator("tbody tr").evaluate_all(heights)
    risk.get_by_role("button", name="See who is at risk").click()
    assert [name.rpartition("-")[2] for name in learners(page)] == ["weak", "new"]
    heading = page.get_by_role("heading", name="3 learners")
    expect(heading).to_be_focused()
    expect(heading).to_be_in_viewport()
    assert page.url.endswith("?risk=1")
    page.reload()
    expect(page.get_by_role("button", name="At risk 2")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="All 3").click()
    page.get_by_label("Order").select_option("Lowest accuracy first")
    expect(page.locator("[data-key=learners] tbody th a").first).to_have_text(f"{group}-weak")
    for header, first, direction in (
        *(("Learner", "active", "ascending"), ("Learner", "weak", "descending")),
        *(("Answers", "weak", "descending"), ("Answers", "new", "ascending")),
        ("Last study day", "new", "ascending"),
    ):
        table.get_by_role("button", name=header, exact=True).click()
        expect(table.locator(f"th[aria-sort={direction}]")).to_have_text(header)
        expect(table.locator("th[aria-sort]")).to_have_count(1)
        assert learners(page)[0] == f"{group}-{first}"
    page.get_by_role("button", name="84 days").click()
    expect(page.get_by_role("region", name="84 days")).to_contain_text("Studied2")
    assert "order=inactive&weeks=12" in page.url
    assert visitor.find_violations() == []
    page.get_by_role("link", name="Groups").first.click()
    page.get_by_role("link", name=other).click()
    expect(page.get_by_text("This group has no members now.")).to_be_visible()


def test_a_teacher_sees_who_met_the_goal_since_a_day_whom_to_praise_and_which_skill_to_train(
    visitor: Visit, demo: Stack
) -> None:
    group = found_group(visitor)
    since = (datetime.now(UTC) - timedelta(days=2)).date()
    before = datetime.now(UTC) - timedelta(days=30)
    users = {name: f"{group}-{name}" for name in MEMBERS}
    named = {"active": "Ann", "weak": "Ann", "new": "Zoe"}
    oak = {"item_id": f"{group}-item", "headword": "oak", "domains": ["R"], "cefr_level": "A1"}
    demo.publish(
        *(name_learner(users[who], name) for who, name in named.items()),
        browser.envelope("GoalSet", before, user_id=users["active"], answers_per_day=5),
        browser.envelope("ItemPublished", before, **oak),
        *browser.lesson(users["active"], 5, item=f"{group}-item"),
    )
    wait_for_group(visitor, group, members=3, answers=52)
    visitor.stack.run_batch()  # counts the skills
    page = visitor.open("tess", "teacher", at=f"#/group/{group}", groups=[group])
    table = page.get_by_role("region", name="3 learners")
    first = page.locator("[data-key=risk]").get_by_role("listitem")
    expect(first).to_have_text([f"Ann{users['weak']}", "Zoe"])  # ids tell the two of one name apart
    now = page.get_by_role("region", name="7 days").locator(".now")
    expect(now).to_contain_text("right now")
    expect(now).to_contain_text(users["active"])
    page.get_by_label("Order").select_option("To praise first")
    expect(table.locator("tbody th").first).to_have_text(f"Ann{users['active']}")
    page.get_by_label("Since").fill(f"{since}")
    expect(page.get_by_role("region", name=f"since {since:%-d %B %Y}")).to_contain_text("Answers52")
    assert f"since={since}" in page.url
    active = table.get_by_role("row", name=re.compile("-active"))
    expect(active.locator("[data-label=Goal]")).to_have_text(re.compile("^[12] of 3$"))
    weak = table.get_by_role("row", name=re.compile("-weak"))
    expect(weak.locator("[data-label=Answers]")).to_have_text("25")
    new = table.get_by_role("row", name="Zoe")
    expect(new.locator("[data-label=Streak]")).to_be_empty()  # not "0 days"
    page.get_by_role("textbox", name="As of").fill(f"{since}")
    expect(page.get_by_role("main")).to_contain_text("The present members at the end of ")
    expect(page.get_by_role("region", name="7 days")).to_contain_text("Answers0")
    expect(active.locator("[data-label=Goal]")).to_have_text("0 of 7")
    page.get_by_role("textbox", name="As of").fill("")
    expect(page.get_by_role("region", name="7 days")).to_contain_text("Answers52")
    page.get_by_label("Find a learner").fill("-ACTIVE")
    expect(table.locator("tbody tr")).to_have_count(1)
    page.get_by_label("Find a learner").fill("nobody")
    expect(table).to_contain_text("No learner has this in the name or id.")
    page.get_by_label("Find a learner").fill("")
    skills = page.locator("[data-key=skills]")
    skills.scroll_into_view_if_needed()
    expect(skills).not_to_contain_text("To train")  # there is only one skill, and one level
    counts = ["Level or skillWords studiedKnownAnswered right", "A12058%", "Reading2058%"]
    expect(skills.get_by_role("row")).to_have_text(counts)
    assert visitor.find_violations() == []
    page.set_viewport_size({"width": 700, "height": 900})
    page.set_viewport_size({"width": 390, "height": 844})
    hidden = "all => all.filter((one) => (one.focus(), document.activeElement === one))"
    headers = page.locator("[data-key=learners] thead button")
    assert headers.evaluate_all(hidden) == [], "what is out of sight takes no focus"


@pytest.mark.exhaustive
def test_a_class_long_ago_has_whole_weeks_and_a_large_class_says_why_it_has_no_past(
    visit: Visits, demo: Stack
) -> None:
    visitor = visit(
        timezone_id="America/New_York"
    )  # the class is not asked about the teacher's day
    group, now = f"class-{uuid.uuid4()}", datetime.now(UTC)
    user, day = f"{group}-blank", now.date() - timedelta(days=798 + now.isoweekday())  # a Sunday
    demo.publish(membership("LearnerJoinedGroup", user, group), name_learner(user, "\u200b"))
    began, since = day - timedelta(days=2), visitor.page.get_by_role("textbox", name="Since")
    page = visitor.open("tess", "teacher", f"#/group/{group}?since={began}&on={day}", [group])
    expect(since).to_have_value(f"{began}")
    for after in (day + timedelta(days=1), "2024-02-31"):
        visitor.move(f"#/group/{group}?since={after}&on={day}")
        expect(since).to_have_value("")
    expect(page.locator("[data-key=learners] tbody th")).to_have_text(user)
    expect(page.locator("[data-key=trend] .bars g")).to_have_count(12)
    expect(page.locator(".unfinished")).to_have_count(0)
    more = [membership("LearnerJoinedGroup", f"{group}-{n}", group) for n in range(50)]
    demo.publish(*more)
    wait_for_group(visitor, group, members=51, answers=0)
    page.reload()
    expect(page.get_by_role("main")).to_contain_text("of groups with up to 50 members")
    page.get_by_role("link", name="Back to now").click()
    expect(page.get_by_role("heading", name="51 learners")).to_be_visible()


@pytest.mark.exhaustive
def test_a_class_follows_members_and_says_who_missed_an_item(visit: Visits, demo: Stack) -> None:
    visitor = visit(viewport={"width": 360, "height": 740})
    group = found_group(visitor)
    page = visitor.open(f"{group}-weak", "teacher", groups=[group])  # a teacher who studies, too
    own = ["My progress", "What I know", "All words"]
    expect(page.locator("#views a")).to_have_text([*own, "Groups"])
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    standing = page.get_by_role("region", name="7 days")
    expect(standing).to_contain_text("Answers47")
    demo.publish(*browser.lesson(f"{group}-new", 3, item=f"{group}-item"))
    expect(standing).to_contain_text("Answers50")
    row = page.get_by_role("row", name=re.compile("-new"))
    expect(row.locator("[data-label=Answers]")).to_have_text("3")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.get_by_role("link", name=f"{group}-item").last.click()
    expect(page.get_by_role("region", name="3 learners answered this word")).to_be_visible()
    weak = page.get_by_role("row", name=re.compile("-weak"))
    expect(weak).to_contain_text("5 of 25")
    weak.get_by_role("link").click()
    way = page.get_by_role("navigation", name="The way from the group")
    expect(way.get_by_role("link").nth(2)).to_be_visible()
    links = way.get_by_role("link").all_inner_texts()
    assert links[:2] == [f"Group {group}", f"{group}-item"]
    assert {text.rpartition("-")[2] for text in links[2:]} <= {"active", "new"}
    way.get_by_role("link", name=f"{group}-item", exact=True).click()
    expect(weak).to_be_visible()
    assert visitor.find_violations() == []


@pytest.mark.exhaustive
def test_a_teacher_sees_a_group_s_name_and_follows_its_change(visit: Visits, demo: Stack) -> None:
    visitor = visit(viewport={"width": 320, "height": 700})
    group, other = found_group(visitor), f"class-{uuid.uuid4()}"
    title = "Class <7b> of the school by the river"
    user = f"{group}-new"
    for one in (group, other):
        demo.publish(membership("LearnerJoinedGroup", user, one, group_name=title))
    page = visitor.open("tess", "teacher", groups=[group, other])
    expect(page.locator("#views a")).to_have_text(["Groups"])
    rows = page.get_by_role("row", name=title)
    expect(rows).to_have_count(2)
    row = rows.filter(has_text=group)
    gap = """row => {
      const range = document.createRange();
      range.selectNodeContents(row.querySelector('a'));
      return row.querySelector('.of').getBoundingClientRect().top
        - range.getBoundingClientRect().bottom;
    }"""
    assert row.evaluate(gap) >= 0, "the id stands below both lines of the name"
    assert visitor.find_violations() == []
    row.get_by_role("link").click()
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text(title)
    assert visitor.find_violations() == []
    demo.publish(membership("LearnerJoinedGroup", f"{group}-new", group, group_name="Class 8b"))
    expect(heading).to_have_text("Class 8b")


@pytest.mark.exhaustive
def test_a_teacher_can_open_a_member_but_not_a_former_member(visitor: Visit, demo: Stack) -> None:
    group = found_group(visitor)
    page = visitor.open("tess", "teacher", groups=[group])
    page.get_by_role("button", name="Learner", exact=True).click()
    page.get_by_role("link", name=f"{group}-active").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"{group}-active")
    way = page.get_by_role("navigation", name="The way from the group")
    expect(way.get_by_role("link")).to_have_text([f"Group {group}", f"Next: {group}-new"])
    end = "link => Math.round(link.getBoundingClientRect().right)"
    ends = way.get_by_role("link", name="Next: ").evaluate(end)
    expect(page.get_by_role("link", name="Recorded events")).to_have_count(0)
    assert visitor.find_violations("[data-key=way], [data-key=title], [data-key=my-data]") == []
    page.get_by_role("link", name="All words").last.click()
    page.go_back()
    way.get_by_role("link", name="Next: ").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"{group}-new")
    assert way.get_by_role("link", name="Next: ").evaluate(end) == ends, "a second click hits it"
    way.get_by_role("link", name=f"Previous: {group}-active").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"{group}-active")
    way.get_by_role("link", name=f"Group {group}").click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("Learner")
    page.get_by_role("link", name=f"{group}-active").click()
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


def test_a_teacher_sees_names_and_saves_them_as_csv_with_the_local_date(
    visit: Visits, demo: Stack
) -> None:
    zone = "Pacific/Kiritimati" if datetime.now(UTC).hour >= 10 else "Pacific/Pago_Pago"
    visitor = visit(timezone_id=zone)
    group = found_group(visitor)
    named = {"weak": '=Ann, "A"', "new": "<b>山田 太郎</b>"}
    for who, name in named.items():
        demo.publish(name_learner(f"{group}-{who}", name))
        text = f'{{ userProgress(userId: "{group}-{who}") {{ displayName }} }}'
        visitor.wait_for(text, {"userProgress": {"displayName": name}})
    page = visitor.open("tess", "teacher", groups=[group])
    table = page.get_by_role("region", name="3 learners")
    row = table.get_by_role("row", name=named["new"])
    expect(row.get_by_role("link", name=named["new"], exact=True)).to_be_visible()
    name, saved = browser.save_csv(page)
    today = datetime.now(UTC).date()
    here = datetime.now(ZoneInfo(zone)).date()  # before or after the day in UTC
    assert name == f"{group} - 7 days - Who needs a talk first - {here}.csv"
    rows = {row["Id"]: row for row in saved}
    names = {user.rpartition("-")[2]: row["Learner"] for user, row in rows.items()}
    assert names == {**named, "weak": "'" + named["weak"], "active": ""}
    assert [user.rpartition("-")[2] for user in rows] == ["weak", "active", "new"]
    weak = rows[f"{group}-weak"]
    assert [weak[f"{column} in 7 days"] for column in ("Answers", "Answered right")] == [
        "25",
        "20%",
    ]
    assert weak["At risk"] == "under 60% right"
    assert weak["Last study day"] in (f"{today}", f"{today - timedelta(days=1)}")
    check_print(page, f"{here:%-d %B %Y}, 7 days, Who needs a talk first")
    check_table(page, *TABLETS)
    row.get_by_role("link", name=named["new"], exact=True).click()
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text(f"Progress of {named['new']}")
    expect(page).to_have_title(f"{named['new']} · Progress")
    expect(page.locator("#views [aria-current=page]")).to_have_text(named["new"])
    visitor.hear(f"{named['new']} · Progress")
    page.reload()  # what the table has told is forgotten
    expect(page).to_have_title(f"{named['new']} · Progress")
    main = page.get_by_role("main")
    expect(main.get_by_text(f"{group}-new", exact=True)).to_be_visible()
    assert visitor.find_violations("[data-key=title]") == []
    check_finder(visit(), group, named["new"])


@pytest.mark.first_in_gate
@pytest.mark.parametrize(("locale", "month"), [("ja", 12), ("en-GB", 9)])
def test_a_class_shows_all_of_the_longest_date(
    visit: Visits, demo: Stack, locale: str, month: int
) -> None:
    visitor = visit(locale=locale)
    group, now = f"class-{uuid.uuid4()}", datetime.now(UTC)
    user, day = f"{group}-gone", now.replace(year=now.year - 2, month=month, day=30)
    joined = membership("LearnerJoinedGroup", user, group)
    demo.publish(joined, *browser.lesson(user, 2, ago=now - day))
    query = f'{{ learners(groupId: "{group}") {{ edges {{ node {{ lastStudyDate }} }} }} }}'
    counted = {"edges": [{"node": {"lastStudyDate": f"{day:%Y-%m-%d}"}}]}
    visitor.wait_for(query, {"learners": counted})
    page = visitor.open("tess", "teacher", f"#/group/{group}", [group])
    longest = {"en-GB": f"30 September {day.year}", "ja": f"{day.year}年12月30日"}[locale]
    expect(page.locator("[data-key=learners] td").nth(1)).to_have_text(longest)
    check_table(page, 390, *TABLETS)
    page.emulate_media(media="print")
    page.set_viewport_size(A4)
    assert page.locator("[data-key=learners] :is(th, td)").evaluate_all(_CUT) == []


def check_finder(visitor: Visit, group: str, name: str) -> None:
    """Assert that a name leads to its learner, and a text of several learners to a choice."""
    page = visitor.open("sam", "support")
    page.get_by_role("link", name="What the terms mean").click()
    expect(page.get_by_text("A wrong first answer after a review")).to_be_visible()
    field = page.get_by_label("A learner’s name or id")
    heading = page.get_by_role("heading", level=1)
    field.press_sequentially(browser.DEMO[1:-1].upper())
    expect(page.locator(f'datalist option[value="{browser.DEMO}"]')).to_have_count(1)
    field.fill(name[:4])
    field.press("Enter")
    expect(heading).to_have_text(f"Progress of {name}")
    field.fill(group)
    field.press("Enter")
    expect(heading).to_have_text(f"Learners found for “{group}”")
    found = page.get_by_role("main").get_by_role("listitem")
    expect(found).to_have_count(len(MEMBERS))
    assert visitor.find_violations() == []
    found.get_by_role("link", name=name).click()
    expect(heading).to_have_text(f"Progress of {name}")


def check_table(page: Page, *widths: int) -> None:
    """Assert that a group's table shows all of each cell, and has nothing to scroll sideways."""
    screen = page.viewport_size
    assert screen
    cut = """all => all.filter((o) => o.scrollWidth > o.clientWidth + 1
      || o.scrollHeight > o.clientHeight + 1).map((o) => o.outerHTML)"""
    for width in widths:
        page.set_viewport_size({"width": width, "height": 1000})
        cells = page.locator("[data-key=learners] :is(.sideways, tbody th, tbody td)")
        assert cells.evaluate_all(cut) == [], width
        assert page.evaluate("document.documentElement.scrollWidth") == width
    page.set_viewport_size(screen)


def check_print(page: Page, selection: str) -> None:
    """Assert that the print of a group on A4 is what is on screen, with nothing cut off."""
    screen = page.viewport_size
    assert screen
    shown = page.locator("[data-key=learners] tbody tr").all_text_contents()
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size(A4)
    expect(page.locator("body")).to_have_css("background-color", "rgb(245, 246, 244)")
    # Chromium repeats the header on each sheet, but does not draw buttons there.
    header = page.get_by_role("button", name="Learner", exact=True)
    expect(header).to_have_css("display", "contents")
    expect(page.get_by_text(selection)).to_be_visible()
    assert page.locator("[data-key=learners] tbody tr").all_text_contents() == shown
    expect(page.locator("tbody .chip")).to_have_text(["under 60% right", "no study day yet"])
    bottom = page.locator(".first").evaluate("cards => cards.getBoundingClientRect().bottom")
    assert bottom < 1047, "the risks and the words are on the first sheet"
    assert page.locator("main :is(th, td, h1, h2, li)").evaluate_all(_CUT) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
    expect(
        page.locator("main :is(button:not(th button), select)").filter(visible=True)
    ).to_have_count(0)
    page.emulate_media(media="screen", color_scheme="light")
    page.set_viewport_size(screen)


@pytest.mark.exhaustive
def test_a_teacher_without_groups_is_told_whom_to_ask(visit: Visits) -> None:
    page = visit().open("tess", "teacher")
    expect(page.get_by_text("Your sign-in names no group.")).to_be_visible()


@pytest.mark.exhaustive
def test_a_school_s_administrator_sees_the_quiet_classes_first_who_teaches_them_and_who_learned(
    visitor: Visit, visit: Visits
) -> None:
    group = found_group(visitor)
    name, quiet = f"Class {group[-6:]}", f"Class {group[-6:]} that is quiet"
    visitor.stack.publish(
        membership("LearnerJoinedGroup", f"{group}-new", group, group_name=name),
        membership("LearnerJoinedGroup", f"{group}-new", f"{group}~", group_name=quiet),
    )
    visit().open(f"tess-{group}", "teacher", at=f"#/group/{group}", groups=[group])
    page = visitor.open("sam", "support")
    expect(page.get_by_role("heading", level=1)).to_have_text("School")
    field = page.get_by_label("A group’s name or id")
    field.fill(f"{group[6:20]}~")
    expect(page.get_by_role("main")).to_contain_text("No group with members has this in its name")
    for text in (group[6:20].upper(), name.lower()):
        field.fill(text)
        expect(page.get_by_role("main")).to_contain_text("2 groups found")
    expect(page.locator("tbody th")).to_have_text([quiet, name])
    found = page.get_by_role("row", name=f"{name} 3")
    expect(found.get_by_role("cell")).to_have_text(["3", "2", "47", "53%", f"tess-{group}"])
    since = datetime.now(UTC).date() - timedelta(days=2)
    page.get_by_label("First day of the term").fill(f"{since}")
    page.get_by_role("button", name="Count who learned").click()
    expect(page.get_by_role("main")).to_contain_text(f"2 learners learned since {since:%-d %B %Y}.")
    assert visitor.find_violations() == []
    _, (first, second) = browser.save_csv(page)
    learned = f"Learned since {since:%-d %B %Y}"
    assert [first["Group"], first[learned], second["Group"], second[learned]] == [
        *(quiet, "0"), *(name, "2"),
    ]  # fmt: skip
    assert second["Teachers who looked in 30 days"] == f"tess-{group}"
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.exhaustive
def test_what_a_group_s_or_the_school_s_page_fails_to_count_is_counted_by_the_next_try(
    visitor: Visit, visit: Visits
) -> None:
    group, other = found_group(visitor), found_group(visitor)

    def refuse(route: Route) -> None:
        body = route.request.post_data or ""
        is_late = "fragment Part" in body or ("query Term(" in body and other in body)
        route.fulfill(status=429, headers={"Retry-After": "30"}) if is_late else route.continue_()

    visitor.page.route(re.compile("/graphql$"), refuse)
    page = visitor.open("tess", "teacher", at=f"#/group/{group}", groups=[group])
    alert, again = page.get_by_role("alert"), page.get_by_role("button", name="Try again")
    skills = page.locator("[data-key=skills]")
    skills.scroll_into_view_if_needed()
    expect(alert).to_contain_text("Next try in 30 seconds")
    page.unroute_all()
    again.click()
    expect(skills).to_contain_text("of 3 learners")
    expect(alert).to_have_count(0)
    page = visit().open("sam", "support")
    alert = page.get_by_role("alert")
    page.route(re.compile("/graphql$"), refuse)
    field, main = page.get_by_label("A group’s name or id"), page.get_by_role("main")
    field.fill(group)
    expect(main).to_contain_text("1 group found")
    since = datetime.now(UTC).date() - timedelta(days=2)
    page.get_by_label("First day of the term").fill(f"{since}")
    page.get_by_role("button", name="Count who learned").click()
    expect(main).to_contain_text("2 learners learned since")
    field.fill(other)
    expect(alert).to_contain_text("Next try in 30 seconds")
    expect(main).to_contain_text("0 of 1")
    page.unroute_all()
    alert.get_by_role("button").click()
    expect(main).to_contain_text("2 learners learned since")
    expect(alert).to_have_count(0)


_WEEKS = {"en": "Answers by week", "ja": "週ごとの回答数"}
_LEVELS = {"en": "Levels", "ja": "レベル"}


@pytest.mark.first_in_gate
@pytest.mark.parametrize(("locale", "is_own"), [("en", True), ("ja", False)])
def test_a_learner_s_sheets_have_the_year_and_no_button(
    visit: Visits, locale: str, *, is_own: bool
) -> None:
    visitor = visit(locale=locale, color_scheme="light")
    if is_own:
        page = visitor.open()
    else:
        page = visitor.open("sam", "support", f"#/learner/{browser.DEMO}?group=class-1")
        page.evaluate("window.print = () => { window.isPrinted = true; }")
        page.get_by_role("button", name="1ページに印刷").click()
        assert page.evaluate("window.isPrinted")
    expect(page.locator("main")).not_to_contain_text(re.compile("Loading 20|年を読み込み中"))
    buttons = page.locator("main .button").all_inner_texts()
    sheets = pypdf.PdfReader(io.BytesIO(page.pdf(format="A4"))).pages
    assert len(sheets) <= 1 + is_own
    text = "".join(sheet.extract_text() for sheet in sheets)
    lines = text.split("\n")
    assert _WEEKS[locale] in lines
    assert (_LEVELS[locale] in lines) == is_own
    assert set(filter(None, buttons)).isdisjoint(lines)
    assert not re.search("Loading|読み込み中", text)
    page.emulate_media(media="print")
    page.set_viewport_size(A4)
    expect(page.get_by_role("main")).to_have_css("print-color-adjust", "exact")  # of the days, too
    assert page.locator("#year-scroll").evaluate("o => o.scrollWidth <= o.clientWidth")


# At first, the dialog's module arrives only after the view is left.
@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("role", "at", "button"),
    [
        ("admin", "#/administration", "[data-action=erase]"),
        ("learner", "#/", "[data-command=goal]"),
    ],
)
def test_a_dialog_is_gone_once_the_user_has_left_its_view(
    visitor: Visit, role: str, at: str, button: str
) -> None:
    page = visitor.open(browser.DEMO, role, at)
    page.locator(button).first.wait_for()
    for leave in ("location.hash = '#/glossary'", "setTimeout(() => history.back(), 500)"):
        visitor.move(at)
        page.evaluate(f"document.querySelector('{button}').click(); {leave}")
        expect(page.get_by_role("heading", name="What the terms mean")).to_be_visible()
        page.wait_for_timeout(500)
        expect(page.get_by_role("dialog")).to_have_count(0)
