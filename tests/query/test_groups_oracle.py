"""The API's groups, members and item difficulties equal the oracle's results."""

import functools
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import example, given, settings
from hypothesis import strategies as st

from progress.query.read_models import groups
from progress.query.read_models.groups import ItemDifficulty, LearnerOrder
from progress.query.read_models.rows import CefrLevel, Domain
from tests import oracle
from tests.support import model_rows
from tests.support.api import QueryClient, plain
from tests.support.event_logs import Disturbance, Log, Published
from tests.support.stage import Stage

LEARNERS = ("ann", "bob", "cid", "dan", "eve", "fay", "una")
GROUPS = ("g1", "g2")
ZONES = ("UTC", "Pacific/Kiritimati", "America/New_York", "Asia/Kathmandu")
NOW = datetime(2024, 6, 12, 11, tzinfo=UTC)
KINDS = {
    "CorrectAnswerGiven": 40,
    "IncorrectAnswerGiven": 35,
    "SessionCompleted": 20,
    "ReviewProcessed": 8,
    "LearnerJoinedGroup": 16,
    "LearnerLeftGroup": 5,
    "UserPreferencesChanged": 4,
    "RestDayTaken": 24,
    "UserDeleted": 1,
    "UserCreated": 1,
    "ItemPublished": 2,
    "ItemArchived": 1,
}
PLAINLY = Disturbance(sizes=(7, 1, 30), every=2, limit=9, workers=1, tasks=1, crashes=())


def generate_log(seed: int) -> Log:
    """Return a log of 7 learners, 3 items and 2 groups. The events arrive in random order."""
    chance = random.Random(seed)
    # A low accuracy puts a learner at risk only after 20 answers, so one learner gets more events.
    busy = chance.choice(LEARNERS)
    kinds = chance.choices(list(KINDS), weights=list(KINDS.values()), k=130)
    # Some events happen at the same moment, some after NOW.
    moments = [NOW + timedelta(hours=chance.randint(-24 * 9, 30)) for _ in range(40)]
    published = []
    for number, kind in enumerate(kinds):
        user, at = chance.choice((busy, *LEARNERS)), chance.choice(moments)
        event = generate_event(number, kind, user, at, chance)
        published.append(Published(event, (chance.randint(0, 99),)))
    # These preference events happen at NOW and arrive last. If a learner has no earlier time zone,
    # the new one also applies to all earlier answers. Otherwise, earlier answers keep their days.
    for number, user in enumerate(chance.sample(LEARNERS, 3)):
        event = generate_event(200 + number, "UserPreferencesChanged", user, NOW, chance)
        published.append(Published(event, (100,)))
    return Log(tuple(published), NOW)


def generate_event(
    number: int, kind: str, user: str, at: datetime, chance: random.Random
) -> dict[str, Any]:
    """Return an event's envelope."""
    owner = {} if kind.startswith("Item") else {"user_id": user}
    return {
        "event_id": str(UUID(int=chance.getrandbits(8) << 120 | number)),
        "event_type": kind,
        "occurred_at": at.isoformat(),
        "data": {**owner, **generate_data(kind, chance)},
        "metadata": {},
    }


def generate_data(kind: str, chance: random.Random) -> dict[str, Any]:
    """Return the `data` of an event without the learner's id."""
    item = {"item_id": chance.choice(("i1", "i2", "i3"))}
    zone = {"timezone": chance.choice(ZONES), "day_start_hour": chance.choice((0, 4))}
    answer = {"session_id": "s1", "response_time_ms": chance.randint(0, 3), **item}
    session = f"s{chance.randint(1, 99)}"
    group = {"group_id": chance.choice(GROUPS)}
    level = chance.choice(("A1", "B2"))
    fields: dict[str, dict[str, Any]] = {
        "CorrectAnswerGiven": answer,
        "IncorrectAnswerGiven": answer,
        "SessionCompleted": {"session_id": session, "score": 50, "duration_seconds": 60},
        "ReviewProcessed": {"new_interval": chance.choice((3, 8)), "easiness_factor": 2.5, **item},
        "LearnerJoinedGroup": group,
        "LearnerLeftGroup": group,
        "UserPreferencesChanged": zone,
        "UserCreated": {**zone, "email": "a@example.com"},
        "RestDayTaken": {"date": f"2024-06-{chance.choice((5, 8, 9, 10, 11, 12)):02}"},
        "ItemPublished": {"domains": ["R"], "cefr_level": level, "headword": "word", **item},
        "ItemArchived": item,
    }
    return fields.get(kind, {})


@settings(max_examples=max(6, settings().max_examples // 4))
@given(seed=st.integers(0, 2**32))
@example(seed=16395869)  # a member's zone changes after the last answers
def test_groups_and_difficulties_equal_the_oracle_s_results(
    stage: Stage, fetch: QueryClient, seed: int
) -> None:
    log = generate_log(seed)
    stage.sweep()
    stage.deliver(log, PLAINLY)
    world = oracle.see(model_rows.read_events(stage.admin), log.now)
    reader = fetch.queries.reader
    assert stage.differences(log.now) == []
    for group in (*GROUPS, "nobody's"):
        standing = plain(fetch(groups.get_group(reader, group, at=log.now)))
        assert standing == oracle.group(world, group)
        hardest = fetch(groups.get_hardest_items(reader, group, 200))
        assert [*map(plain, hardest)] == difficulties(oracle.hardest_items(world, group, 200))
        assert fetch(groups.get_hardest_items(reader, group, 1)) == hardest[:1]
        for order in LearnerOrder:
            learners = functools.partial(
                groups.get_learners, reader, group, order_by=order, first=2, at=NOW
            )
            assert list_all(fetch, learners) == oracle.learners(world, group, order)
    for level, domain in (
        (None, None),
        (CefrLevel.A1, None),
        (None, Domain.R),
        (CefrLevel.UNKNOWN, Domain.UNKNOWN),
    ):
        items = functools.partial(
            groups.get_item_difficulty, reader, level=level, domain=domain, first=1
        )
        listed = list_all(fetch, items)
        assert listed == difficulties(oracle.item_difficulty(world, level, domain))


def list_all(fetch: QueryClient, query: Callable[..., Any]) -> list[Any]:
    """Return the records of all pages; assert that the last page's total count is correct."""
    found: list[Any] = []
    after = None
    while True:
        page = fetch(query(after=after))
        found += [plain(record) for _, record in page.items]
        if not page.has_next:
            assert page.total_count == len(found)
            return found
        after = page.items[-1][0]


def difficulties(rows: list[oracle.Row]) -> list[oracle.Row]:
    """Return the oracle's rows with the fields of the API."""
    return [{name: row[name] for name in ItemDifficulty.__struct_fields__} for row in rows]


def test_the_generated_logs_contain_the_interesting_cases() -> None:
    worlds = [see_all(generate_log(seed)) for seed in range(120)]
    rows = [r for world in worlds for g in GROUPS for r in oracle.learners(world, g, "AT_RISK")]
    assert {row["at_risk"] for row in rows} == {True, False}
    assert any(row["last_study_date"] is None for row in rows)
    assert any(row["current_streak"] > 1 for row in rows)
    # These learners last studied at least three days ago, so only rest days can keep a streak.
    early = [row for row in rows if row["last_study_date"] and row["last_study_date"].day < 10]
    assert any(row["current_streak"] > 0 for row in early)
    assert any(oracle.hardest_items(world, "g1") for world in worlds)
    assert any(oracle.item_difficulty(world) for world in worlds)


def see_all(log: Log) -> oracle.World:
    """Return the oracle's view of the log after all its events were recorded."""
    return oracle.see(
        [
            oracle.Event(
                UUID(event["event_id"]),
                event["event_type"],
                event["data"],
                datetime.fromisoformat(event["occurred_at"]),
                NOW,
                event["data"].get("user_id"),
            )
            for event in log.envelopes
        ],
        log.now,
    )
