"""Denominators count only items of a learner's pairs of language and kind, live and in the past."""

import random
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from progress.projections import batch
from progress.projections.projector import Projector
from progress.query.live.sources import Learners
from progress.query.read_models import rows
from progress.recovery import checks
from tests import oracle
from tests.oracle.events import CARD
from tests.support import model_rows, sample_events
from tests.support.api import QueryClient, plain
from tests.support.sample_events import Envelope
from tests.support.stage import Stage, append

USERS = ("ann", "bob", "una")  # ann and una are in one shard; una meets only what nobody describes
CARDS = tuple(f"c{number}" for number in range(9))
NOW = sample_events.BEGIN + timedelta(days=9)


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
        expected = oracle.user_progress(now, user)
        assert unlearned == (expected and expected["mastery_stats"]["unlearned"])
        assert as_of or states[user].progress == standing
        languages = fetch(queries.run(rows.languages(user, **moment)))
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
