"""The code of docs/from-an-app.md and docs/skill.md, and that of the README, works on a stack."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from progress import files
from progress.event_store import events
from tests.support import local_stack, node, token_issuer
from tests.support.envelopes import envelope
from tests.support.local_stack import Stack

README, PAGE, SKILL = (
    (files.ROOT / name).read_text(encoding="utf-8")
    for name in ("README.md", "docs/from-an-app.md", "docs/skill.md")
)
# What the calls of the page's table take from their app.
_GIVEN = """const user = { uid: learner, getIdToken: token };
const item_id = "house-reading", timezone = "Europe/Berlin";
const id = await client.reviewed({ itemId: "undone", rating: 1, intervalDays: 0 });
"""
# Prints the bodies of the program's posts, and sends none.
_NOTING = """const posted = [];
globalThis.fetch = async (url, { body } = {}) => {
  const events = body && url.endsWith("/events") ? JSON.parse(body) : [];
  if (events.length) posted.push(events);
  const told = { now: new Date().toISOString(), accepted: events.length, refused: [] };
  return Response.json(told, { status: events.length ? 202 : 200 });
};
process.on("exit", () => console.log(JSON.stringify(posted)));
"""
_DECK = 'list(listId: "own:d-91f2c") { archived members { edges { node { headword own } } } }'
_SITTINGS = "{ sessions { edges { node { completedAt durationSeconds answers itemCount } } } }"

# A device at the end of the hour before its learner's reminder; it tells what is planned.
_NOTIFICATIONS = """const tell = (name) => (...values) => void told.push([name, ...values]);
export const LocalNotifications = { cancel: tell("cancel"), schedule: tell("schedule") };
export const cancelScheduledNotificationAsync = tell("cancel");
export const scheduleNotificationAsync = tell("schedule");
"""
_DEVICE = """globalThis.told = [];
const at = Math.ceil(Date.now() / 3_600_000) * 3_600_000;
Date.now = () => at - 20;
const shown = new Promise((resolve) => {
  const showNotification = (...values) => resolve(told.push(["show", ...values]));
  const serviceWorker = { ready: Promise.resolve({ showNotification }) };
  Object.defineProperty(globalThis, "navigator", { value: { serviceWorker } });
});
const hour = new Date(at).getUTCHours();
const options = { url: process.env.URL, token: () => process.env.TOKEN, hour };
for (const module of ["./plan0.mjs", "./plan1.mjs", "./plan2.mjs"]) {
  const { plan } = await import(module);
  for (const isOn of [false, true]) await plan({ isOn, ...options });
}
await shown;
console.log(JSON.stringify({ at: new Date(at), told }));
"""


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}(?: title=\S+)?\n(.*?)^```", text)


stack = pytest.fixture(local_stack.started, scope="module", name="stack")


def posted_bodies(app: Path) -> list[list[Any]]:
    """Return the bodies that the pages post: by hand, and by their programs."""
    (line,), (*_, post) = blocks(SKILL, "json"), blocks(PAGE, "sh")
    bodies = [[json.loads(line)], json.loads(post.split("--json '")[1].rpartition("'")[0])]
    for program in (*blocks(SKILL, "js"), calls().replace("2_000", "0")):
        (app / "noting.mjs").write_text(_NOTING + program)
        printed = node.run(app, "node", "noting.mjs", TOKEN=token_issuer.token("ann"))
        bodies += json.loads(printed.splitlines()[-1])
    return bodies


def calls() -> str:
    """Return a program with each call of the page and of the README."""
    first, decks, sitting, *_ = blocks(PAGE, "js")
    shown = README.split("\n## Send an answer\n")[1].split("\nBy hand, ")[0]
    of_readme = "".join(re.findall(r"^    (.+\n)", shown, re.MULTILINE))
    assert "reviewed" in of_readme
    program = f"{first}{_GIVEN}{{ {of_readme} await client.flush(); }}\n{decks}{sitting}"
    program += "".join(
        f"await client.{call};\n" for call in re.findall(r"`(record\([^`]+\))`", PAGE)
    )
    return f"{program}console.log(await client.flush(), await client.refused());\n"


def run(stack: Stack, app: Path, program: str, user: str) -> list[str]:
    (app / "page.mjs").write_text(
        program.replace("8080", str(stack.port)).replace('ann"', f'{user}"')
    )
    printed = node.run(app, "node", "page.mjs", TOKEN=stack.token(user))
    return printed.splitlines()


@pytest.mark.exhaustive
def test_the_first_program_leads_to_a_number_in_thirty_lines(
    stack: Stack, client_app: Path
) -> None:
    (program, *_) = blocks(PAGE, "js")
    (start, *_) = blocks(PAGE, "sh")
    assert len((program + start).splitlines()) <= 30
    assert "npm install ./learner-progress-*.tgz ts-fsrs" in start
    (token,) = re.findall(r"\$\((.*token.*)\)", start)
    assert stack.shell(token).count(".") == 2
    delivered, answer = run(stack, client_app, program, "ann")
    assert f"`{delivered}`" in PAGE
    numbers = json.loads(answer)["data"]
    assert numbers["userProgress"] == {"totalItemsLearned": 1}
    assert sum(day["items"] for day in numbers["dueForecast"]) == 1
    assert numbers["knowledge"] == {"expected": 1}


@pytest.mark.exhaustive
def test_no_call_of_the_page_and_of_the_readme_is_refused(stack: Stack, client_app: Path) -> None:
    *_, delivered = run(stack, client_app, calls(), "bea")
    assert re.fullmatch(r"\{ accepted: \d+, refused: 0, waiting: 0 \} \[\]", delivered)
    stack.await_projection()
    (edge,) = stack.ask("bea", _SITTINGS)["sessions"]["edges"]
    assert edge["node"].pop("completedAt")
    assert edge["node"] == {"durationSeconds": 300, "answers": 1, "itemCount": 20}
    deck = stack.ask("bea", f"{{ {_DECK} }}")["list"]
    words = [member["node"] for member in deck["members"]["edges"]]
    assert (deck["archived"], words) == (True, [{"headword": "ir", "own": True}])
    assert stack.find_mistakes() == []


@pytest.mark.exhaustive
def test_eight_lines_plan_a_reminder_on_each_device(stack: Stack, client_app: Path) -> None:
    card = {"user_id": "eva", "item_id": "house", "rating": 3, "interval_days": 0}
    stack.publish(envelope("CardReviewed", card))
    plans = [block for block in blocks(PAGE, "js") if "learner-progress/reminder" in block]
    for number, block in enumerate(plans):
        assert len(block.splitlines()) <= 8
        (client_app / f"plan{number}.mjs").write_text(block)
    for name in ("@capacitor/local-notifications", "expo-notifications"):
        package = client_app / "node_modules" / name
        package.mkdir(parents=True)
        (package / "package.json").write_text('{"type": "module", "exports": "./index.js"}')
        (package / "index.js").write_text(_NOTIFICATIONS)
    (client_app / "device.mjs").write_text(_DEVICE)
    given = {"URL": stack.page, "TOKEN": stack.token("eva"), "TZ": "UTC"}
    printed = json.loads(node.run(client_app, "node", "device.mjs", **given))
    at, text = printed["at"], {"title": "Words for today", "body": "1 word is due today."}
    study = {"identifier": "study", "content": text, "trigger": {"type": "date", "date": at}}
    assert printed["told"] == [
        *[["cancel", {"notifications": [{"id": 1}]}]] * 2,
        ["schedule", {"notifications": [{"id": 1, **text, "schedule": {"at": at}}]}],
        *[["cancel", "study"]] * 2,
        ["schedule", study],
        ["show", text["title"], {**text, "tag": "study"}],
    ]


@pytest.mark.exhaustive
def test_a_post_by_hand_is_answered_as_the_page_shows(stack: Stack) -> None:
    *_, describe, post = blocks(PAGE, "sh")
    (answer,) = blocks(PAGE, "json")
    assert json.loads(stack.shell(describe))["appended"] == 1
    told = stack.shell(post, TOKEN=stack.token("cem"))
    assert json.loads(told) == json.loads(answer)
    stack.await_projection()
    (edge,) = stack.ask("cem", "{ itemStats { edges { node { kind } } } }")["itemStats"]["edges"]
    assert edge["node"] == {"kind": "reading"}


@pytest.mark.exhaustive
def test_the_first_example_of_publishing_ends_without_a_finding(stack: Stack) -> None:
    page = (files.ROOT / "docs" / "publishing.md").read_text(encoding="utf-8")
    post, ask = re.findall(r"^    (curl (?:.+\n)+)", page.partition("\n## ")[0], re.MULTILINE)
    assert json.loads(stack.shell(post))["appended"] == 1
    assert json.loads(stack.shell(ask))["data"]["intake"]["findings"] == []


@pytest.mark.exhaustive
def test_the_skill_leads_to_a_number(stack: Stack, client_app: Path, tmp_path: Path) -> None:
    (program,) = blocks(SKILL, "js")
    _, check, number = blocks(SKILL, "sh")
    (event,) = blocks(SKILL, "json")
    (tmp_path / "events.jsonl").write_text(event)
    assert stack.shell(check, tmp_path) == "no fault in 1 event\n"
    assert run(stack, client_app, program, "dag") == ["{ accepted: 1, refused: 0, waiting: 0 } []"]
    stack.await_projection()
    told = json.loads(stack.shell(number, TOKEN=stack.token("dag")))
    assert told["data"]["userProgress"] == {"totalItemsLearned": 1, "accuracyRate": 1.0}
    (query,) = re.findall(r"`(\{ events\(.+?)`", SKILL)
    (recorded,) = stack.ask("dag", query)["events"]["edges"]
    assert recorded["node"]["eventType"] == "CardReviewed"
    assert stack.find_mistakes() == []


def test_the_pages_name_the_types_that_learners_post_and_no_undeclared_one() -> None:
    assert [name for name in events.LEARNERS_POST if f"{name}" not in PAGE] == []
    for text in (PAGE, SKILL):
        table = text.split("## Which event when\n")[1].split("\n## ")[0]
        named = re.findall(r"(?<!\w)[`\"]([A-Z][a-z]+(?:[A-Z][a-z]+)+)[`\"]", table)
        assert len(named) > 5
        assert {*named} <= events.EVENT_TYPES.keys()
