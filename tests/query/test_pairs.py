"""Denominators count only items of a learner's pairs of language and kind, live and in the past."""

import random
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.projections import batch, rebuild
from progress.projections.projector import Projector
from progress.query.live.sources import Learners
from progress.query.read_models import rows
from progress.recovery import checks
from tests import oracle
from tests.conftest import Store
from tests.oracle.events import CARD
from tests.support import model_rows, sample_events
from tests.support.api import Api, QueryClient, plain
from tests.support.sample_events import Envelope
from tests.support.stage import Stage, append

USERS = ("ann", "bob", "una")  # ann and una are in one shard; una meets only what nobody describes
CARDS = tuple(f"c{number}" for number in range(9))
NOW = sample_events.BEGIN + timedelta(days=9)


KINDS = ("reading", "meaning", "typing")
WORDS: tuple[tuple[str, dict[str, Any]], ...] = (
    *(("ItemPublished", {"item_id": f"{n}:{kind}", "headword": f"Wort {n}", "language": "de",
                         "kind": kind, "cefr_level": "A1"}) for n in range(10) for kind in KINDS),
    *(("ListPublished", {"list_id": one, "name": one, "scale": "Book"}) for one in ("u1", "u2")),
    *(("ItemListed", {"list_id": "u1", "item_id": f"{n}:{kind}"})
      for n in range(10) for kind in KINDS),
    *(("ItemListed", {"list_id": "u2", "item_id": f"{n}:typing"}) for n in range(10)),
    *(("ListAssigned", {"list_id": one, "group_id": "g1", "due_on": "2024-04-09"})
      for one in ("u1", "u2")),
    *(("LearnerJoinedGroup", {"user_id": user, "group_id": "g1"}) for user in ("ann", "bob")),
    *((CARD, {"user_id": "ann", "item_id": f"{n}:{kind}", "rating": 4, "interval_days": 30})
      for n in range(10) for kind in KINDS[:2]),
)  # fmt: skip


def test_a_level_a_list_and_a_task_count_the_cards_that_the_learner_gets(
    store: Store, connection: Connection, query_api: Api
) -> None:
    events = [
        sample_events.envelope(kind, data, at=sample_events.BEGIN + timedelta(seconds=n))
        for n, (kind, data) in enumerate(WORDS)
    ]
    append(connection, events)
    batch.run(connection)

    def nodes(found: Any) -> list[Any]:
        return [[*edge["node"].values()] for edge in found["edges"]]

    task = "items known knownNow done"
    of_group = (
        f"edges {{ node {{ items done members {{ edges {{ node {{ userId {task} }} }} }} }} }}"
    )
    query = f"""{{ levelStats {{ catalogueItems progressRate reached }}
        lists(scale: "Book") {{ edges {{ node {{ items longTermMastered reached }} }} }}
        tasks {{ edges {{ node {{ {task} }} }} }}
        list(listId: "u1") {{ members {{ totalCount }} }} }}"""
    found = query_api.data(query)
    assert found["levelStats"] == [{"catalogueItems": 20, "progressRate": 1, "reached": True}]
    assert nodes(found["lists"]) == [[20, 20, True], [10, 0, False]]
    assert nodes(found["tasks"]) == [[20, 20, 20, True], [10, 0, 0, False]]
    assert found["list"] == {"members": {"totalCount": 20}}
    group = query_api.post(
        f'{{ group(groupId: "g1") {{ tasks {{ {of_group} }} }} }}', roles=["admin"]
    )
    (items, done, members), cards = nodes(group["data"]["group"]["tasks"])
    assert (items, done, *cards[:2]) == (30, 1, 10, 0)
    assert nodes(members) == [["bob", 30, 0, 0, False], ["ann", 20, 20, 20, True]]
    rebuild.run(store.connect, workers=1)
    assert query_api.data(query) == found


def draw_events(chance: random.Random) -> list[Envelope]:
    """Return events that describe, archive or review some of the cards at a time."""
    events = []
    for number in range(28):
        kind = chance.choice((*["ItemPublished"] * 2, "ItemArchived", *[CARD] * 4))
        at = sample_events.BEGIN + timedelta(hours=chance.randint(0, 200), seconds=number)
        user, interval = chance.choice(USERS), chance.choice((1, 30, 30, 30))
        for card in chance.sample(CARDS, chance.randint(1, 5)):
            is_own = kind == CARD and (user == "una" or chance.random() < 0.1)
            data: dict[str, Any] = {"item_id": "own" if is_own else card}
            if kind == "ItemPublished":
                data["cefr_level"] = chance.choice(("A1", "A1", "A1", "B2", None))
                data["domains"] = chance.choice((["R"], ["R", "L"], []))
                data["language"] = chance.choice(("en", "en", "EN-gb", "pt", None))
                data["kind"] = chance.choice(("reading", "reading", "Reading", None))
            if kind == CARD:
                data |= {"user_id": user, "rating": 3, "interval_days": interval}
            events.append(sample_events.envelope(kind, data, at=at))
    return events


def compare(
    fetch: QueryClient, now: oracle.World, run: oracle.World, as_of: datetime | None = None
) -> None:
    """Compare what is computed from the present rows with `now`, and the run's with `run`."""
    queries = fetch.queries
    moment: Any = {"at": NOW, "as_of": as_of}
    states = fetch(Learners(queries.reader).fetch_states(USERS, at=NOW))
    for user in USERS:
        standing = fetch(queries.get_current_progress(user, **moment))
        unlearned = standing and standing.mastery_stats.unlearned
        assert unlearned == (oracle.user_progress(now, user) or {}).get("unlearned")
        assert as_of or states[user].progress == standing
        languages = fetch(queries.run(user, rows.select_languages(rows.Moment(NOW, as_of))))
        assert [*map(plain, languages)] == oracle.items_by_language(now, user)
        for language in (None, "en", "und"):
            levels = fetch(queries.get_level_stats(user, language=language, **moment))
            assert {d.level: plain(d) for d in levels} == oracle.level_stats(run, user, language)
            domains = fetch(queries.get_domain_stats(user, language=language, **moment))
            assert {d.domain: plain(d) for d in domains} == oracle.domain_stats(run, user, language)


@given(seed=st.integers(0, 2**32))
def test_only_items_of_the_learner_s_pairs_count_now_at_the_last_run_and_in_the_past(
    stage: Stage, fetch: QueryClient, seed: int
) -> None:
    chance = random.Random(seed)
    events = draw_events(chance)
    stage.sweep()
    first, second = sorted(chance.sample(range(len(events)), 2))
    for part in (events[:first], events[first:second]):
        append(stage.admin, part)
        batch.run(stage.admin)
    last_run = oracle.see(model_rows.read_events(stage.admin), NOW)
    append(stage.admin, events[second:])
    Projector(stage.admin).catch_up_all()
    stored = model_rows.read_events(stage.admin)
    compare(fetch, oracle.see(stored, NOW), last_run)
    batch.run(stage.admin)
    assert stage.differences(NOW) == []
    assert checks.find_differences(stage.admin) == []
    as_of = sample_events.BEGIN + timedelta(hours=chance.randint(0, 200))
    then = oracle.see(stored, NOW, as_of=as_of)
    compare(fetch, then, then, as_of)
