"""learner-progress/reminder plans what the oracle says of its instant, on the log as it is."""

import contextlib
import functools
import json
import random
import re
from collections import Counter
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import oracle
from tests.oracle import tasks
from tests.oracle.days import zone
from tests.support import local_stack, model_rows, node
from tests.support.envelopes import Envelope, envelope
from tests.support.local_stack import Stack

DAY = timedelta(days=1)
# Near these instants, the clocks of the zone change: by an hour, at midnight, by half an hour.
CHANGES = {
    "Europe/Berlin": ("2025-03-30T01:00Z", "2025-10-26T01:00Z"),
    "America/St_Johns": ("2025-03-09T05:30Z", "2025-11-02T04:30Z"),
    "Africa/Cairo": ("2025-04-24T22:00Z", "2025-10-30T21:00Z"),
    "Australia/Lord_Howe": ("2025-04-05T15:00Z", "2025-10-04T15:30Z"),
}
ZONES = (*CHANGES, "UTC", "Asia/Kathmandu", "Pacific/Kiritimati", "Pacific/Pago_Pago")
ITEMS = [f"i{n}" for n in range(8)]
# One is no plural.
ENGLISH = (
    r"(?:(1 word is|(?!1 )\d+ words are) due today(, about (?:1 minute|(?!1 )\d+ minutes))?\. ?)?"
    r"(One answer makes a streak of \d+ days\. ?)?"
    r"(1 task ends today or tomorrow\.|(?!1 )\d+ tasks end today or tomorrow\.)?"
)
JAPANESE = (
    r"(?:今日の復習は(\d+)語です(（約\d+分）)?。)?"
    r"(1問答えると、連続\d+日になります。)?(今日か明日までの課題が\d+件あります。)?"
)
FAILURES = """import { reminder } from "learner-progress/reminder";
const [url, good] = process.argv.slice(2);
const asked = [];
const answer = (fresh) => (asked.push(fresh), fresh ? good : "bad");
console.log(await reminder({ url: `${url}/`, token: answer, hour: 19 }), asked);
const refused = { url, token: () => "bad", hour: 19 };
const offline = { ...refused, url: "http://127.0.0.1:1" };
for (const options of [refused, offline, { ...refused, hour: 24 }, { ...refused, hour: 7.5 }])
  await reminder(options).then(console.log, ({ name, message }) => console.log(name, message));
"""


stack = pytest.fixture(local_stack.started, scope="module", name="stack")


class Given(NamedTuple):
    """A learner, the clock and zone of their device, and what was recorded until then."""

    user: str
    now: datetime
    zone: str
    hour: int
    language: str | None
    events: list[Envelope]


def draw(chance: random.Random, user: str) -> Given:
    pick, changing = chance.choice, chance.choice([*CHANGES])
    home = pick((changing, pick(ZONES)))
    device = pick((home, changing, pick(ZONES)))
    minutes = chance.randrange(*pick(((-60, 60), (-36 * 60, 12 * 60))))
    now = datetime.fromisoformat(pick(CHANGES[changing])) + timedelta(minutes=minutes)
    if chance.random() < 0.2:
        now = datetime.now(UTC)
    events: list[Envelope] = []

    def tell(kind: str, ago: timedelta, **data: Any) -> None:
        events.append(envelope(kind, data, occurred_at=(now - ago).isoformat()))

    def hours(least: int, most: int) -> timedelta:
        return timedelta(minutes=chance.randrange(least * 60, most * 60))

    def near(least: int, most: int) -> str:
        return f"{(now + chance.randint(least, most) * DAY).date()}"

    own = functools.partial(tell, user_id=user)
    for ago, place in ((40 * DAY, home), (hours(0, 48), pick(ZONES)))[: pick((0, 1, 1, 1, 2))]:
        hour = pick((0, 4, 12, 23))
        own("UserPreferencesChanged", ago, timezone=place, day_start_hour=hour)
    begin = hours(0, 60)
    for number in range(pick((0, 0, 1, 3, 6))):
        ago, due = begin + number * hours(12, 26), (now + hours(-48, 72)).isoformat()
        answer = {"rating": pick((1, 3)), "duration_ms": pick((9_000, 60_000))}
        own("CardReviewed", ago, item_id=pick(ITEMS), due=due, **answer)
        if chance.random() < 0.2:
            own("EventRetracted", timedelta(0), retracted_event_id=events[-1]["event_id"])
    if chance.random() < 0.5:
        own("RestDayTaken", DAY, date=near(-2, 2))
        own("RestDayTaken", hours(0, 24), date=near(-1, 1))
        own("GoalSet", DAY, answers_per_day=2)
        own("ItemSetAside", hours(0, 24), item_id=pick(ITEMS))
    own("LearnerJoinedGroup", DAY, group_id=user)
    for number in range(pick((0, 0, 0, 0, 1, 1, 2, 2, 2, 25))):  # a page has twenty
        task, due_on = f"{user}-{number}", near(-2, 3 if number < 2 else 30)
        tell("ListPublished", DAY, list_id=task, name="Words")
        tell("ItemListed", DAY, list_id=task, item_id=pick(ITEMS))
        tell("ListAssigned", DAY, list_id=task, group_id=user, due_on=due_on)
    hour = pick((0, 1, 2, chance.randrange(24)))  # clocks change at night
    return Given(user, now, device, hour, pick((None, "en-GB", "de", "ja-JP", "ja-JP")), events)


def next_instant(given: Given) -> datetime:
    """Return when the device's clock next reads the hour; a clock may skip it, or read it twice."""
    local = given.now.astimezone(zone(given.zone)).date()
    instants = [
        datetime.combine(local + n * DAY, time(given.hour, fold=fold), zone(given.zone))
        for n in range(4)
        for fold in (0, 1)
    ]
    ahead = [at.astimezone(UTC) for at in instants if at.astimezone(UTC) > given.now]
    read = [at for at in ahead if at.astimezone(zone(given.zone)).time() == time(given.hour)]
    return min(read)


def expect(world: oracle.World, user: str) -> tuple[int, int | None, int, int] | None:
    """Return the due items, their minutes, the ending streak and the tasks; None if all are 0."""
    today = oracle.day_of(world, user, world.now)
    (work,), (streak,) = (
        oracle.compute_field(world, name, user) for name in ("workload", "streak")
    )
    ending = [
        task
        for task in tasks.of_learner(world, user)
        if task["done"] is False and today <= task["due_on"] <= today + DAY
    ]
    counts = work["due"], streak["current"] if streak["at_risk"] else 0, len(ending)
    return (counts[0], work["minutes"], *counts[1:]) if any(counts) else None


def test_a_reminder_is_right_at_its_instant_by_the_oracle(
    stack: Stack, client_app: Path, tmp_path: Path
) -> None:
    chance = random.Random(4)
    days = [draw(chance, f"u{number}") for number in range(200)]
    archived = envelope("ItemArchived", {"item_id": ITEMS[0]})
    stack.publish(archived, *(event for day in days for event in day.events))
    devices = [
        {**day._asdict(), "now": day.now.timestamp() * 1000, "token": stack.token(day.user)}
        for day in days
    ]
    (tmp_path / "days.json").write_text(json.dumps(devices))
    planned = json.loads(
        node.run(client_app, "node", "reminders.mjs", stack.page, f"{tmp_path}/days.json")
    )
    with contextlib.closing(stack.connect()) as connection:
        log = model_rows.read_events(connection)
    seen: Counter[str] = Counter()
    for day in days:
        at = next_instant(day)
        told, requests = planned[day.user]["plan"], planned[day.user]["requests"]
        owners = [e.user_id or e.data.get("list_id", day.user).split("-")[0] for e in log]
        own = [event for event, owner in zip(log, owners, strict=True) if owner == day.user]
        world = oracle.see(own, at)
        expected = expect(world, day.user)
        seen["none" if expected is None else "plan"] += 1
        seen["further requests"] += requests - 1
        seen["skipped hours"] += at - day.now > DAY + timedelta(hours=1)
        seen["second readings"] += at.astimezone(zone(day.zone)).fold
        if expected is None:
            assert told is None, day
            continue
        due, minutes, streak, ending = expected
        assert told["at"] == at.strftime("%Y-%m-%dT%H:%M:%S.000Z"), day
        assert (told["due"], told["streak"], told["tasks"]) == (due, streak, ending), day
        body, form = told["text"]["body"], JAPANESE if day.language == "ja-JP" else ENGLISH
        assert re.fullmatch(form, body), body
        numbers = [due, minutes if due else 0, streak + 1 if streak else 0, ending]
        assert [*map(int, re.findall(r"\d+(?!問)", body))] == [n for n in numbers if n], body
        seen.update({"due": due > 0, "streak": streak > 0, "tasks": ending > 0})
    assert len(seen) == 8
    assert min(seen.values()) > 1, seen


def test_a_reminder_that_cannot_be_asked_leaves_the_former_plan(
    stack: Stack, client_app: Path
) -> None:
    """The promise rejects. A token that the server does not accept is asked for once again."""
    (client_app / "failures.mjs").write_text(FAILURES, encoding="utf-8")
    told = node.run(client_app, "node", "failures.mjs", stack.page, stack.token("nobody"))
    assert told.splitlines() == [
        "null [ false, true ]",
        "Error bad token: expected a JSON Web Token",
        "TypeError fetch failed",
        "TypeError hour: expected an integer from 0 to 23 - found 24",
        "TypeError hour: expected an integer from 0 to 23 - found 7.5",
    ]
