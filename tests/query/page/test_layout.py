"""Accessibility and layout on several screens; the page's views, GraphiQL and exports."""

import json
import re
import struct
import time
import uuid
import zipfile
import zlib
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from progress.adapters.postgres import database
from progress.query.http import static_page
from progress.serve import readiness
from tests.support import browser, http_client
from tests.support.browser import PHONE, Visit, Visits
from tests.support.local_stack import Stack

ROOT = Path(__file__).parents[3]
# At a zoom of 400 %, a screen that is 1,280 pixels wide shows only 320 pixels of the page.
SMALLEST = {"viewport": {"width": 320, "height": 640}}
TABLET = {"viewport": {"width": 700, "height": 900}}
WIDE = {"viewport": {"width": 1280, "height": 800}}

ADMINISTRATION = "#/administration"
KNOWLEDGE = "#/knowledge"

_FOCUSED = """(() => {
  const focused = document.activeElement;
  const parts = focused.type === 'date' ? [] : focused.labels?.[0]?.childNodes ?? [];
  const label = [...parts].map((part) => part.textContent.trim()).find((text) => text);
  const name = focused.dataset.day || focused.ariaLabel || label || focused.textContent.trim();
  return [name, getComputedStyle(focused).outlineStyle];
})()"""


# Resolve once the browser has drawn the page.
_DRAWN = """() => new Promise((drawn) =>
    new PerformanceObserver(drawn).observe({ type: 'paint', buffered: true }))"""

# What the page tells first to a learner who studies each day; the demo's learner has less news.
_NEWS = (
    "Since Monday: 85 newly mastered, 13 slipped back. 18 words are fading: repeat them"
    " (5 minutes)."
)
# How many pixels this text moves the numbers below it.
_MOVED_BY_NEWS = """news => {
  const top = () => document.querySelector('.tile').offsetTop;
  const before = top();
  document.querySelector('.news p').textContent = news;
  return top() - before;
}"""

# Find the texts with ASCII words. Data of the learner and of the service are excluded, and names.
_UNTRANSLATED = """(() => {
  const data = '[translate=no], body [lang], pre, code, option, .tag, .letters .tick, #status'
    + ', [data-key=intake] :is(.of, .unseen)';
  const isData = (element) => element.closest(data);
  const names = /\\b(Anki|CEFR|CSV|ID|JSON|Pub|Sub|ZIP|[kM]B)\\b/g;
  const isEnglish = (text) => /[A-Za-z]{2}/.test((text ?? '').replace(names, ''));
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT);
  for (let element = walker.nextNode(); element; element = walker.nextNode()) {
    if (isData(element) || ['SCRIPT', 'NOSCRIPT'].includes(element.tagName)) continue;
    const nodes = [...element.childNodes].filter((node) => node.nodeType === 3);
    const texts = ['aria-label', 'title', 'placeholder', 'abbr']
      .map((name) => element.getAttribute(name));
    found.push(...nodes.map((node) => node.data).concat(texts).filter(isEnglish));
  }
  return found;
})()"""


# The labels of charts of columns that leave their card, or whose middle is not that of a column (of
# the first label: that of the first column).
_ASTRAY = """() => [...document.querySelectorAll('.chart:has(.bars)')].flatMap((chart) => {
  const box = (element) => element.getBoundingClientRect();
  const middle = (element) => (box(element).left + box(element).right) / 2;
  const columns = [...chart.querySelectorAll('.hit')].map(middle);
  const card = box(chart.closest('.card'));
  return [...chart.querySelectorAll('.axis text')].filter((label, index) => {
    const isBelow = (column) => Math.abs(column - middle(label)) < 1;
    const { left, right } = box(label);
    const isCentred = index ? columns.some(isBelow) : isBelow(columns[0]);
    return !isCentred || left < card.left || right > card.right;
  }).map((label) => label.textContent);
})"""


# The names in all storages of the browser.
_STORED = """async () => ({
  sessionStorage: Object.keys(sessionStorage), localStorage: Object.keys(localStorage),
  others: [
    document.cookie, await caches.keys(), await indexedDB.databases(),
    await navigator.serviceWorker.getRegistrations(),
  ].flat().filter(Boolean),
})"""


@pytest.fixture(scope="module", autouse=True)
def _rows_of_the_administration(chromium: Browser, demo: Stack) -> None:
    demo.publish({"event_id": "no id", "event_type": "SessionStarted", "data": {}})
    demo.publish(*browser.lesson("page-layout", 1))
    demo.progress("erase", "page-layout", "--yes")


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    ("screen", "views"),
    [(WIDE, ["#/"]), (PHONE, ["#/", "#/items", KNOWLEDGE, "#/group", ADMINISTRATION])],
    ids=["wide", "phone"],
)
def test_each_text_is_translated_and_fits_the_screen_and_its_column(
    visit: Visits, screen: dict[str, Any], views: list[str]
) -> None:
    visitor = visit(**screen, locale="ja")
    page = visitor.open(role="admin", at=views[0])
    for view in views:
        visitor.move(view)
        for summary in page.locator("summary").all()[:3]:
            summary.click()
        visitor.settle()
        assert page.evaluate(_UNTRANSLATED) == [], view
        assert page.evaluate(_ASTRAY) == [], view
        assert fits(page), view


def test_welcome_and_sign_in_have_no_accessibility_violations(visit: Visits, demo: Stack) -> None:
    visitor = visit(**PHONE)
    visitor.open("a stranger")
    assert visitor.find_violations() == []
    visitor.page.get_by_role("button", name="More", exact=True).click()
    assert visitor.find_violations() == []
    visitor.page.get_by_role("button", name="Sign out").click()
    assert visitor.find_violations() == []
    visitor.page.goto(visitor.return_url(f"{demo.token(browser.DEMO)[:-9]}AAAAAAAAA"))
    expect(visitor.page.get_by_role("heading", name="Your sign-in has ended")).to_be_visible()
    expect(visitor.page.get_by_role("link", name="Sign in")).to_be_visible()
    assert visitor.page.evaluate("sessionStorage.getItem('progress.token')") is None
    assert visitor.find_violations() == []
    assert fits(visitor.page)


def test_the_sign_in_s_title_names_nothing_of_the_view_that_it_hides(
    visit: Visits, demo: Stack
) -> None:
    page = (visitor := visit()).open(at="#/items")
    item = f"{page.locator('.item-list th a').first.get_attribute('href')}"
    visitor.move(item)
    expect(page).to_have_title(re.compile(r".+ · Progress"))
    page.get_by_role("link", name="What the terms mean").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_title("Progress")
    page.reload()  # what the list has told is forgotten
    visitor.move(item)
    field = page.get_by_label("Sign in with a token")
    field.fill("7")
    field.press("Enter")
    expect(page.get_by_role("heading", name="Your sign-in has ended")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_text("bad token: expected a JSON Web Token")
    expect(page).to_have_title("Progress")
    field.fill(f" {demo.token(browser.DEMO)}\n")
    page.get_by_role("button", name="Sign in with the token").click()
    expect(page).to_have_title(re.compile(r".+ · Progress"))


def test_signing_out_leaves_nothing_of_the_person_in_the_browser(visit: Visits) -> None:
    left, fresh = visit(), visit()
    page = left.open()
    page.locator("[data-key=levels]").scroll_into_view_if_needed()
    page.get_by_label("Scale").select_option("CEFR-J")
    page.get_by_label("a day until").fill("7")
    for view in ("#/items", "#/lists", "#/data", "#/terms", KNOWLEDGE):
        left.move(view)
    page.locator("[name=exam]").fill(f"{datetime.now(UTC).date() + timedelta(9)}")
    page.locator("[name=exam]").blur()
    kept = page.evaluate(_STORED)
    assert [len(kept["localStorage"]), *kept["others"]] == [3]
    page.get_by_role("button", name="Sign out").click()
    fresh.page.goto(fresh.stack.page)
    for one in (page, fresh.page):
        expect(one.get_by_role("button", name="Sign in with the token")).to_be_visible()
    kept, of_nobody = page.evaluate(_STORED), fresh.page.evaluate(_STORED)
    assert {*kept.pop("sessionStorage")} <= {*of_nobody.pop("sessionStorage")}
    assert kept == of_nobody == {"localStorage": [], "others": []}


def fits(page: Page) -> bool:
    """Return whether the page is no wider than the screen; wide tables scroll inside a frame."""
    root = "document.documentElement"
    return bool(page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"))


def test_no_line_of_a_header_ends_inside_a_word_on_a_small_phone(visit: Visits) -> None:
    visitor = visit(**SMALLEST)
    page = visitor.open(at="#/items?order=recall")
    broken = """[...document.querySelectorAll('thead th')].flatMap((header) => {
      const text = header.firstChild, range = document.createRange();
      return [...text.data.matchAll(/\\w+/g)].filter(({ 0: word, index }) => {
        range.setStart(text, index);
        range.setEnd(text, index + word.length);
        return range.getClientRects().length > 1 || range.getBoundingClientRect().right
          > header.getBoundingClientRect().right + 1;
      }).map(([word]) => word);
    })"""
    assert page.evaluate(broken) == []
    assert fits(page)


@pytest.mark.exhaustive
def test_colours_and_motion_follow_the_browser_and_the_documentation_s_picture_is_of_this_demo(
    visit: Visits, request: pytest.FixtureRequest
) -> None:
    page = visit().open()
    assert page.evaluate("document.getAnimations().length") == 0
    duration = "getComputedStyle(document.querySelector('.bar rect')).transitionDuration"
    assert page.evaluate(duration) == "0s"
    page.set_viewport_size({"width": 1280, "height": 1500})
    page.emulate_media(color_scheme="dark")
    expect(page.locator("body")).to_have_css("background-color", "rgb(15, 19, 18)")
    page.emulate_media(color_scheme="light")
    shown = page.locator(".half ~ .half .figure, [data-key=year] .note, [data-key=milestones] dt")
    expect(shown.nth(1)).to_contain_text("study days")
    goal, year, *milestones = shown.all_inner_texts()  # today's session is one of its hour
    today, days, answers = map(int, re.findall(r"\d+", f"{goal} {year}".replace(",", ""))[:3])
    text = f"tEXtComment\0{days - bool(today)}, {answers - today}, {sorted(milestones)}".encode()
    picture = ROOT / "docs" / "page-light.png"
    if request.config.getoption("--pictures"):
        png = page.screenshot()
        chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
        picture.write_bytes(png[:33] + chunk + png[33:])  # after the header
    assert text in picture.read_bytes()
    assert picture.stat().st_size < 300_000


@pytest.mark.exhaustive
def test_the_dark_scheme_changes_only_colours_and_shadows() -> None:
    """`find_violations` relies on this: in dark colours, it does not check the layout again."""
    files = [*static_page.FOLDER.glob("*.css"), *static_page.FOLDER.glob("*.js")]
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    (dark,) = re.findall(r"prefers-color-scheme(.*?)\n}\n", text, re.DOTALL)
    values = dict(re.findall(r"(--[\w-]+): ([^;]+);", dark))
    assert re.sub(r"--[\w-]+: [^;]+;", "", dark).split() == [":", "dark)", "{", ":root", "{", "}"]
    assert values.pop("--shadow") == "none"
    assert {*re.findall(r"([\w-]+): var\(--shadow\)", text)} == {"box-shadow"}
    assert [value for value in values.values() if not re.fullmatch("#[0-9a-f]{3,6}", value)] == []


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    "screen", [SMALLEST, PHONE, TABLET, WIDE], ids=["smallest", "phone", "tablet", "wide"]
)
def test_the_layout_stays_when_the_numbers_arrive(visit: Visits, screen: dict[str, Any]) -> None:
    """The scripts arrive after the browser has drawn the frame, as on a slow connection."""
    visitor = visit(**screen, reduced_motion="no-preference")
    page, release = visitor.page, visitor.hold("/main.js$")
    page.goto(visitor.return_url(visitor.stack.token(browser.DEMO)), wait_until="commit")
    page.evaluate(_DRAWN)
    release()
    visitor.settle()
    page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)))")
    shifts = visitor.shifts()
    expect(page.locator(".pills")).to_have_css("position", "fixed")  # so that they move nothing
    assert sum(shift[0] for shift in shifts) < 0.02, shifts
    assert page.evaluate(_MOVED_BY_NEWS, _NEWS) == 0


def test_a_page_whose_scripts_do_not_arrive_says_so(visitor: Visit) -> None:
    page = visitor.page
    page.route(re.compile("/main.js$"), lambda _: None)  # never answered
    page.goto(visitor.return_url(visitor.stack.token(browser.DEMO)), wait_until="commit")
    page.evaluate(_DRAWN)
    late = page.get_by_text("The page could not be loaded completely")
    expect(late).to_be_hidden()
    page.evaluate("document.getAnimations().forEach((animation) => animation.finish())")
    expect(late).to_be_visible()
    assert fits(page)
    page.unroute_all()


def test_touch_targets_are_large_enough(visit: Visits) -> None:
    visitor = visit(**PHONE)
    page = visitor.open(role="admin", at="#/")
    small = """() => [...document.querySelectorAll('a, button, input, select, summary')]
        .filter((target) => target.checkVisibility() && !target.matches('.skip, p a'))
        .filter((target) => Math.min(target.offsetWidth, target.offsetHeight) < 44)
        .map((target) => target.outerHTML)"""
    assert page.evaluate(small) == []
    visitor.move(ADMINISTRATION)
    page.get_by_role("region", name="Dead letters").wait_for()
    ticks = "[...document.querySelectorAll('.tick')].every((tick) => tick.offsetHeight >= 44)"
    assert page.evaluate(ticks)
    assert [target for target in page.evaluate(small) if "checkbox" not in target] == []


def test_on_a_phone_each_field_of_the_header_has_a_visible_label(visit: Visits) -> None:
    page = visit(**PHONE).open()
    page.get_by_label("More").click()
    for label in ("As of", "Language"):
        expect(page.locator("#controls").get_by_text(label)).to_be_in_viewport(ratio=1)
    hidden = "[...document.querySelectorAll('#controls .unseen')].filter((l) => l.offsetWidth < 9)"
    assert page.evaluate(f"{hidden}.length") == 0


@pytest.mark.first_in_gate
@pytest.mark.parametrize("screen", [PHONE, TABLET, WIDE], ids=["phone", "tablet", "wide"])
def test_text_of_twice_its_size_does_not_widen_the_page(
    visit: Visits, screen: dict[str, Any]
) -> None:
    visitor = visit(**screen)
    page = visitor.open()
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert fits(page)
    visitor.move(KNOWLEDGE)
    assert fits(page)


def test_forced_colours_cover_no_title_and_show_which_button_is_pressed(visit: Visits) -> None:
    page = visit(forced_colors="active").open()
    large = page.locator(".tile .figure strong").first
    expect(large).to_have_css("forced-color-adjust", "none")  # else the browser paints a ground
    of_text = page.locator(".tile h3").first.evaluate("e => getComputedStyle(e).color")
    expect(large).to_have_css("color", of_text)
    ground = "e => getComputedStyle(e).backgroundColor"
    buttons = [page.locator(f".switch [aria-pressed={name}]").first for name in ("true", "false")]
    assert len({button.evaluate(ground) for button in buttons}) == 2


def test_tab_reaches_every_control_and_first_a_link_that_skips_to_the_numbers(
    visit: Visits,
) -> None:
    # On this screen, what is loaded when it is seen has its controls before they are counted.
    page = visit(viewport={"width": 1280, "height": 9_000}).open(role="admin", at="#/")
    controls = page.evaluate(
        """[...document.querySelectorAll('a, button, input, select, summary, [tabindex="0"]')]
           .filter((element) => element.checkVisibility()).length"""
    )
    reached = []
    for _ in range(controls + 3):  # a date has four stops
        page.keyboard.press("Tab")
        reached.append(page.evaluate(_FOCUSED))
    names = [name for name, _ in reached]
    for name in ("Skip to the numbers", "Administration", "A learner’s name or id", "Year before",
                 "2024-10-06", "Day after", "Answers by week as a table", "Language"):  # fmt: skip
        assert name in names
    assert len(set(names)) == controls
    # The date has no name here. The browser marks the part of it that has the focus.
    assert {outline for name, outline in reached if name} == {"solid"}
    assert names[0] == "Skip to the numbers"
    link = page.get_by_role("link", name="Skip to the numbers")
    link.focus()
    expect(link).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()


def test_text_from_a_user_is_never_html_and_a_malformed_hash_shows_a_view(visitor: Visit) -> None:
    bad = "<img src=x onerror=alert(1)>"
    page = visitor.open("sam", "support")
    expect(page.get_by_role("link", name="Administration")).to_have_count(0)
    page.get_by_label("A learner’s name or id").fill(bad)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"Progress of {bad}")).to_be_visible()
    assert page.locator("img").count() == 0
    unknown = "This address does not exist"
    somebody = ("#/learner/somebody", "somebody · Progress", re.compile("Nothing|Welcome"))
    for at, title, heading in (
        ("#/learner/%", "% · Progress", re.compile("Nothing|Welcome")),
        *(
            step
            for lacking in ("nowhere", "session/", "item", "events")
            for step in ((f"#/{lacking}", f"{unknown} · Progress", unknown), somebody)
        ),
    ):
        page.evaluate("at => { location.hash = at }", at)
        expect(page).to_have_title(title)
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    visitor.requests.clear()
    page.evaluate("for (const at of ['#/item/no', '#/', '#/item/no']) location.hash = at")
    expect(page.get_by_role("heading", name="There is no such word")).to_be_visible()
    assert sum("query Item(" in str(query.post_data) for query in visitor.queries()) == 1
    visitor.move("#/nonsense/1")
    assert visitor.find_violations() == []
    page.get_by_role("main").get_by_role("link", name="My progress").click()
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()


def test_a_learner_has_no_access_to_the_views_of_other_roles(visit: Visits) -> None:
    page = visit().open()
    views = page.get_by_role("navigation", name="Views").get_by_role("link")
    expect(views).to_have_text(["My progress", "What I know", "All words"])
    for at in ("#/learner/somebody", "#/administration"):
        page.evaluate("at => { location.hash = at }", at)
        expect(page.get_by_role("heading", name="You may not see this")).to_be_visible()
    page.evaluate("location.hash = '#/group/class-1'")
    expect(page.get_by_role("alert")).to_contain_text("Only the teachers of this group may see it")
    page.get_by_role("link", name="To your own progress").click()
    expect(page.get_by_role("region", name="Today")).to_be_visible()


@pytest.mark.exhaustive
def test_an_arrow_key_selects_a_language_and_enter_shows_it_and_keeps_the_focus(
    visit: Visits,
) -> None:
    page = visit().open()
    field = page.get_by_label("Language")
    field.press("ArrowDown")
    expect(field).to_have_value("ja")
    page.evaluate("() => new Promise((later) => setTimeout(later, 200))")  # fails after a reload
    field.press("Enter")
    expect(page.get_by_label("言語")).to_be_focused()
    assert page.evaluate("history.state") is None, "the next reload moves no focus"
    # No line ends inside a word.
    expect(page.locator("html")).to_have_css("word-break", "auto-phrase")
    page.reload()
    today = page.get_by_role("region", name="今日")
    expect(today).to_contain_text("最後に学習した日：2024年10月6日")
    page.get_by_label("言語").select_option("en")
    expect(page.get_by_role("region", name="Today")).to_be_visible()


@pytest.mark.exhaustive
def test_example_queries_run_with_the_page_s_token_and_need_no_other_host(visit: Visits) -> None:
    visitor, stranger = visit(), visit()
    stranger.page.goto(f"{visitor.stack.page}graphql")
    link = stranger.page.get_by_role("link", name="Sign in on the page")
    expect(link).to_have_attribute("href", "./")
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


RUNNING = {
    "id": "0191f0c4-0000-7000-8000-000000000000", "kind": "EXPORT_USER", "state": "RUNNING",
    "progress": 0.5, "error": None, "result": None, "startedAt": "2026-01-01T00:00:00Z",
    "finishedAt": None, "steps": [], "download": None,
}  # fmt: skip
CANCELLED = RUNNING | {"state": "FAILED", "error": "cancelled"}


def test_a_learner_saves_their_record(visitor: Visit, demo: Stack) -> None:
    page = visitor.open(browser.create_learner(demo))
    page.get_by_role("button", name="Download my data").click()
    link = page.get_by_role("link", name="Save the file")
    expect(link).to_be_visible()
    with page.expect_download() as saved:
        link.click()
    assert saved.value.suggested_filename.startswith("progress-")
    with zipfile.ZipFile(saved.value.path()) as archive:
        assert archive.testzip() is None
        summary = json.loads(archive.read("summary.json"))
    assert summary["total_sessions_completed"] == 1


def test_staff_see_that_answers_come_from_the_learner_s_device(visit: Visits, demo: Stack) -> None:
    user = browser.create_learner(demo)
    first: dict[str, object] = {"event_id": str(uuid.uuid4()), "event_type": "GoalSet"}
    first["occurred_at"] = "2024-05-01T12:00:00Z"
    headers = http_client.headers(demo.token(user))
    for answers in (5, 6):
        body = json.dumps(first | {"data": {"answers_per_day": answers}}).encode()
        assert http_client.fetch(demo.port, "POST", "/events", body, headers)[0] == 202
    for caller, is_staff in ((("sue", "support", f"#/learner/{user}"), True), ((user,), False)):
        page = visit().open(*caller)
        page.get_by_role("link", name="What is kept").click()
        card = page.locator("[data-key=kept]")
        expect(card).to_contain_text("1 event from the learner’s device was dropped")
        expect(card.get_by_text("the learner’s own device")).to_have_count(int(is_staff))
        if is_staff:
            page.go_back()
            data = page.get_by_role("region", name="Their data")
            trail = data.get_by_role("link", name="Recorded events")
            expect(trail).to_have_attribute("href", f"#/events/{user}")
            expect(page.locator("[data-key=readers]")).to_have_count(0)
            expect(page.get_by_role("button", name="Download their data")).to_have_count(0)
            page.evaluate(f"location.hash = '#/items/{user}'")
            expect(page.get_by_role("heading", name=f"Words of {user}")).to_be_visible()
            expect(page.locator("#views [aria-current=page]")).to_have_text(user)


def test_a_learner_sees_who_has_read_their_record_and_when(visit: Visits, demo: Stack) -> None:
    """The hours are those of the browser's time zone, here 5½ hours before UTC."""
    user = browser.create_learner(demo)
    # Each hour has its trace.
    readiness.wait(lambda: time.time() % 3_600 < 3_580, "the hour", seconds=60)
    kolkata = {"timezone_id": "Asia/Kolkata"}
    page = visit(**kolkata).open("ada", "admin", f"#/learner/{user}")
    card = page.get_by_role("region", name="Their data").locator("[data-key=readers]")
    card.scroll_into_view_if_needed()
    expect(card).to_contain_text("The administrator ada read the record on ")
    card.get_by_role("link", name="ada").click()
    expect(page).to_have_title("What ada has read · Progress")
    row = page.locator("[data-key=accesses]").get_by_role("row", name=user)
    expect(row.get_by_role("cell").first).to_have_text("Administrator")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").click()
    assert f"{user},admin," in saved.value.path().read_text(encoding="utf-8")
    demo.progress("events", "--user", user)
    page = visit(**kolkata).open(user)
    card = page.get_by_role("region", name="My data").locator("[data-key=readers]")
    card.scroll_into_view_if_needed()
    expect(card.get_by_role("listitem")).to_have_count(2)
    when = r" on \w+day, \d+ \w+ \d{4} between \d\d:30 and \d\d:30"
    texts = card.get_by_role("listitem").all_text_contents()
    assert re.fullmatch(f"The administrator ada read your record{when}\\.", texts[0])
    assert re.fullmatch(
        f"The operator read your record{when}, with the command events\\.", texts[1]
    )
    with closing(database.connect(demo.database_url)) as connection:
        connection.run(
            "INSERT INTO event_store.accesses SELECT :user, now() - make_interval(days => d),"
            " 'Ms Lane', 'teacher' FROM generate_series(1, 25) d",
            user=user,
        )
    japanese = visit(locale="ja", **kolkata).open(user)
    card = japanese.get_by_role("region", name="自分のデータ").locator("[data-key=readers]")
    card.scroll_into_view_if_needed()
    expect(card.get_by_role("listitem")).to_have_count(20)
    expect(card).to_contain_text("あなたの先生Ms Laneがあなたの記録を閲覧しました。")
    card.get_by_role("button").click()
    expect(card.get_by_role("listitem")).to_have_count(27)
    expect(card.get_by_role("button")).to_have_count(0)


@pytest.mark.exhaustive
@pytest.mark.parametrize("found", [RUNNING, None])
def test_a_running_export_can_be_cancelled_and_tried_again(
    visitor: Visit, demo: Stack, found: dict[str, Any] | None
) -> None:
    page = visitor.open(browser.create_learner(demo))

    def answer(route: Route) -> None:
        query: str = (route.request.post_data_json or {})["query"]
        if "exportUser" in query:
            route.fulfill(json={"data": {"operation": RUNNING}})
        elif "query Export(" in query:
            route.fulfill(json={"data": {"operation": found}})
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


@pytest.mark.exhaustive
def test_an_administrator_finds_a_learner_and_saves_the_record_from_the_list_of_operations(
    visit: Visits, demo: Stack
) -> None:
    user = browser.create_learner(demo)
    page = visit().open("root", "admin")
    page.get_by_label("A learner’s name or id").fill(user)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(user)
    expect(page.locator("#views [aria-current=page]")).to_have_text(user)
    page.get_by_role("button", name="Download their data").click()
    expect(page.get_by_role("link", name="Save the file")).to_be_visible()
    page.goto(page.url.partition("#")[0] + "#/administration")
    button = page.locator(".operations > li").first.get_by_role("button", name="Download (")
    expect(button).to_be_visible()
    with page.expect_download() as saved:
        button.click()
    assert saved.value.suggested_filename.startswith("progress-")
