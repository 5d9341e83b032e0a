"""Each mistake of a sender is found, alone and among others, as the oracle finds it."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from progress.demo import classes, loading
from progress.event_store.events import EVENT_TYPES
from progress.event_store.intake import IntakeKind
from progress.importers import anki_import, review_log
from progress.importers.anki_events import Learner
from progress.projections.projector import Projector
from progress.query.read_models import administration
from tests.oracle.intake import Sample
from tests.oracle.intake import intake as oracle_of
from tests.support import envelopes, model_rows
from tests.support.anki_files import Entry, make_collection
from tests.support.api import Api, QueryClient
from tests.support.event_logs import Envelope
from tests.support.stage import Stage, append, undeclared

pytestmark = [pytest.mark.timeout(900)]

NOW = datetime.now(UTC)
OWN = "learner"  # an envelope's key: what the learner posted
ALL = [*IntakeKind]


class Draw:
    """Draws what senders send; each call is about learners, sessions and items of its own."""

    def __init__(self, seed: int, spread: int = 0) -> None:
        self.random, self._spread, self._number = Random(seed), spread, itertools.count()
        self.ids = map(str, itertools.count())

    def event(self, kind: str, *, own: Any = False, **data: Any) -> Envelope:
        when = NOW - timedelta(days=3) + timedelta(seconds=20 * next(self._number))
        event = envelopes.envelope(kind, data, occurred_at=when.isoformat())
        return event | {OWN: own}

    def near(self, number: int) -> int:
        return number + self.random.randint(-self._spread, self._spread)

    def answers(self, user: str, count: int, **more: Any) -> list[Envelope]:
        """Return answers with a time, of an item of the catalogue, in a session of their own."""
        session = {"session_id": f"s{next(self.ids)}"}
        started = self.event("SessionStarted", user_id=user, **session)
        kind = self.random.choice(("IncorrectAnswerGiven", "CorrectAnswerGiven"))
        answer = {"item_id": "i1", "response_time_ms": self.random.randint(100, 5_000)}
        return [started, *(self.event(kind, **session | answer | more) for _ in range(count))]

    def learner(
        self, answers: int, *, zone: bool = True, review: bool = True, **more: Any
    ) -> tuple[str, list[Envelope]]:
        """Return a learner's id and events, without a mistake but those that are asked for."""
        user, item = f"u{next(self.ids)}", {"item_id": "i1"}
        zoned = {"timezone": "Asia/Tokyo"} if zone else {"day_start_hour": 4}
        reviewed = [self.event("ReviewProcessed", user_id=user, **item, new_interval=3)]
        events = [
            self.event("UserPreferencesChanged", user_id=user, **zoned),
            *self.answers(user, answers, **more),
            *(reviewed if review else []),
        ]
        done = self.event("SessionCompleted", session_id=events[1]["data"]["session_id"])
        return user, [*events, done]

    def plant(self, kind: IntakeKind) -> Iterator[Envelope]:
        events: Iterator[Envelope] = getattr(self, kind.lower())(*self.learner(5))
        return events

    def undeclared_type(self, user: str, events: list[Envelope]) -> Iterator[Envelope]:
        yield from events
        for name in ("correct_answer_givn", "Bob@example.com's", "SessionStarts", "GoalS"):
            for _ in range(self.random.randint(1, 3)):
                yield self.event(name, user_id=user)

    def refused_by_declaration(self, user: str, events: list[Envelope]) -> Iterator[Envelope]:
        yield from events
        for _ in range(self.random.randint(1, 3)):
            yield self.event("GoalSet", user_id=user, answers_per_day=1_001)
        yield self.event("GoalSet", user_id=user, answers_per_day=1)

    def undescribed_item(self, user: str, events: list[Envelope]) -> Iterator[Envelope]:
        yield from (*events, *self.answers(user, self.near(15)))
        yield from self.answers(user, 2, item_id="x1")
        yield from self.answers(user, 2, item_id="x2")
        other, theirs = self.learner(1, item_id="x3")
        yield from (*theirs, *self.answers(user, 1, item_id="x3"))
        for whose, item, word in ((user, "x2", "Wort"), (other, "x1", "Wort"), (user, "x3", "")):
            of_list = {"list_id": "l", "item_id": item, "headword": word}
            yield self.event("ItemListed", user_id=whose, **of_list)

    def no_zone(self, user: str, events: list[Envelope]) -> Iterator[Envelope]:
        yield from (*events, *self.learner(self.near(15), zone=False)[1])

    def no_review(self, user: str, events: list[Envelope]) -> Iterator[Envelope]:
        for count in (19, 20, 21):
            yield from self.learner(count, review=False)[1]

    def session_without_answers(self, user: str, events: list[Envelope]) -> Iterator[Envelope]:
        empty = {"session_id": f"s{next(self.ids)}"}
        yield from (*events, self.event("SessionStarted", user_id=user, **empty))
        yield from (self.event("SessionCompleted", **empty) for _ in range(2))
        taken = self.answers(user, 1)
        of_taken = {"session_id": taken[0]["data"]["session_id"]}
        retracted = {"retracted_event_id": taken[1]["event_id"]}
        yield from (*taken, self.event("SessionCompleted", **of_taken))
        yield self.event("EventRetracted", user_id=user, **retracted)
        yield from (one for one in self.learner(0)[1] if one["event_type"] != "ReviewProcessed")

    def one_instant(self, user: str, events: list[Envelope]) -> Iterator[Envelope]:
        for count in (9, self.near(10)):
            at = {"occurred_at": self.event("Now")["occurred_at"]}
            yield from (event | at for event in (*events, *self.answers(user, count)))
            events = []

    def time_in_seconds(self, user: str, events: list[Envelope]) -> Iterator[Envelope]:
        yield from events
        for time, count in ((99, self.near(44)), (100, self.near(5))):
            for one in self.answers(user, count, response_time_ms=time):
                yield one | {OWN: one["event_type"] != "SessionStarted"}
        card = {"item_id": "i1", "rating": 3, "interval_days": 1, "duration_ms": 99.5}
        yield self.event("CardReviewed", own=True, user_id=user, **card)

    def twice(self, user: str, events: list[Envelope]) -> Iterator[Envelope]:
        yield from events
        for one in events[2:7]:
            kinds = ("CorrectAnswerGiven", "IncorrectAnswerGiven", one["event_type"])
            for seconds, kind in itertools.product((1.9, -2, 2.1), kinds):
                at = datetime.fromisoformat(one["occurred_at"]) + timedelta(seconds=seconds)
                untimed = {**one["data"], "response_time_ms": None}
                again = self.event(kind, own=True, **untimed)
                yield again | {"occurred_at": at.isoformat()}

    def alike_learners(self, user: str, events: list[Envelope]) -> Iterator[Envelope]:
        yield from events
        for form in ("zoë", "ZOË", "\u00a0Zoë ", "bob", "bob2"):
            yield self.event("UserPreferencesChanged", user_id=form)

    def no_effect(self, user: str, events: list[Envelope]) -> Iterator[Envelope]:
        yield from events
        named = (events[n]["event_id"] for n in (0, 2, 2))  # the preferences, and an answer
        for target in ("unknown", *named):
            yield self.event("EventRetracted", user_id=user, retracted_event_id=target)

    def pending(self, user: str, events: list[Envelope]) -> Iterator[Envelope]:
        for _ in range(self.random.randint(1, 3)):
            yield self.answers(user, 1)[1]


def record(stage: Stage, events: list[Envelope], age: timedelta) -> None:
    """Record the events at this age, and fold them."""
    sent = [{key: value for key, value in event.items() if key != OWN} for event in events]
    ((head,),) = stage.admin.run("SELECT coalesce(max(global_position), 0) FROM event_store.events")
    for start in range(0, len(sent), 1_000):
        with undeclared():
            append(stage.admin, sent[start : start + 1_000])
    stage.admin.run(
        "UPDATE event_store.events SET created_at = :at, metadata = CASE WHEN event_id = "
        'ANY (CAST(:own AS uuid[])) THEN \'{"posted_by": "learner"}\' ELSE metadata END '
        "WHERE global_position > :head",
        at=NOW - age,
        own=[event["event_id"] for event in events if event.get(OWN)],
        head=head,
    )
    stage.admin.run("UPDATE event_store.pending SET received_at = :at", at=NOW - age)
    Projector(stage.admin).catch_up_all()


def forget(stage: Stage, head: int) -> None:
    """Remove the events after this position; no later event is about their learners."""
    stage.admin.run("DELETE FROM event_store.events WHERE global_position > :head", head=head)
    stage.admin.run("UPDATE checkpoints SET position = least(position, :head)", head=head)
    stage.admin.run("DELETE FROM event_store.pending")


def check(stage: Stage, fetch: QueryClient) -> list[str]:
    """Compare the findings with the oracle's; return their kinds."""
    posted = "SELECT event_id FROM event_store.events WHERE metadata ->> 'posted_by' = 'learner'"
    own = {event_id for (event_id,) in stage.admin.run(posted)}
    waiting = stage.admin.run("SELECT received_at, event_id FROM event_store.pending")
    found = fetch(administration.get_intake(fetch.queries.reader, at=NOW))
    sample = Sample(model_rows.read_events(stage.admin), own, NOW)
    expected = oracle_of(sample, map(tuple, waiting), EVENT_TYPES)
    for row in expected["findings"]:
        row["name"] = row["name"] and row["name"].replace("Bob@", "B***@")
    assert msgspec.to_builtins(found, builtin_types=(datetime,)) == expected
    return [*dict.fromkeys(finding.kind for finding in found.findings)]


def test_each_mistake_is_found_alone_and_all_at_once_among_500_learners(
    stage: Stage, fetch: QueryClient
) -> None:
    draw = Draw(105)
    record(stage, [draw.event("ItemPublished", item_id="i1", headword="one")], timedelta(days=8))
    gone, events = draw.learner(25, zone=False, review=False, item_id="x0")
    events += [draw.event("Gone", user_id=gone), draw.event("UserDeleted", user_id=gone)]
    for _ in range(500):
        events += draw.learner(draw.random.randint(13, 19))[1]
    record(stage, [draw.event("NotOfTheNewest"), *events], timedelta(hours=2))
    assert check(stage, fetch) == []
    ((head,),) = stage.admin.run("SELECT max(global_position) FROM event_store.events")
    assert head > 10_001
    for kind in ALL:
        record(stage, [*draw.plant(kind)], timedelta(hours=2))
        assert check(stage, fetch) == [kind]
        forget(stage, head)
    record(stage, [one for kind in ALL for one in draw.plant(kind)], timedelta(hours=2))
    assert check(stage, fetch) == ALL


def draw_class(_: Path) -> Iterable[Any]:
    return classes.messages(classes.SIZE, NOW.date() - timedelta(days=1), NOW)


def import_collection(folder: Path) -> Iterable[Any]:
    """Return the messages of a collection with the answers of the demo's log."""
    answers = [(int(one.card_id), one) for one in review_log.read(loading.LOG)]
    entries = [
        Entry(
            round(1_000 * one.at.timestamp()), card, one.rating, time_ms=one.response_time_ms or 0
        )
        for card, one in answers
    ]
    file = make_collection(folder / "a.anki2", {card: "word" for card, _ in answers}, entries)
    return anki_import.read(file, Learner("ann", "Asia/Tokyo")).messages()


@pytest.mark.parametrize("make", [draw_class, import_collection])
def test_nothing_of_a_class_and_of_a_collection_counts_wrongly(
    stage: Stage, fetch: QueryClient, tmp_path: Path, make: Callable[[Path], Iterable[Any]]
) -> None:
    events = [e for one in msgspec.to_builtins([*make(tmp_path)]) for e in one["events"]]
    record(stage, events, timedelta(hours=2))
    assert check(stage, fetch) == []


@pytest.mark.parametrize("seed", range(12))
def test_near_each_limit_the_findings_are_the_oracle_s(
    stage: Stage, fetch: QueryClient, seed: int
) -> None:
    draw = Draw(seed, spread=1)
    some = [IntakeKind.TIME_IN_SECONDS, *draw.random.sample(ALL, 3)]
    old = [draw.event("ItemPublished", item_id="i1", headword="one"), draw.event("TooOld")]
    record(stage, old, timedelta(days=7, seconds=draw.random.randint(0, 1)))
    events = [one for kind in some for one in draw.plant(kind)]
    if seed % 2:
        events += [one | {OWN: not one[OWN]} for one in draw.plant(IntakeKind.TIME_IN_SECONDS)]
    if seed % 3 == 0:
        events += draw.answers("quick", 999, response_time_ms=9)
    learners = {
        event["data"]["session_id"]: event["data"]["user_id"]
        for event in events
        if event["event_type"] == "SessionStarted"
    }
    for event in [*events]:
        user = learners.get(event["data"].get("session_id"))
        if user and draw.random.random() < seed / 200:
            named = {"user_id": user, "retracted_event_id": event["event_id"]}
            events.append(draw.event("EventRetracted", **named))
    record(stage, events, timedelta(minutes=59 + 2 * draw.random.randint(0, 1)))
    check(stage, fetch)


FINDINGS = "{ intake { events since findings { kind name meant count newest example } } }"
EVENT = '{ events(eventId: "%s"%s) { edges { node { eventType streamId } } } }'


def test_support_reads_the_findings_and_the_event_of_an_example(
    query_api: Api, stage: Stage
) -> None:
    draw = Draw(0)
    record(stage, [*draw.plant(ALL[0]), draw.event("ItemPublished", item_id="i1")], timedelta(0))
    for role in ("learner", "teacher"):
        for query in (FINDINGS, EVENT % ("x", "")):
            assert query_api.error(query, "ann", roles=role)[0] == "FORBIDDEN"
    rows = query_api.data(FINDINGS, "ada", roles="support")["intake"]["findings"]
    (found,) = (row for row in rows if row["name"] == "SessionStarts")
    assert (found["kind"], found["meant"]) == ("UNDECLARED_TYPE", "SessionStarted")
    assert query_api.error(EVENT % ("x", ', userId: "ann"'), "ada", roles="support")[0] == (
        "BAD_USER_INPUT"
    )
    ((user, event, item),) = stage.admin.run(
        "SELECT max(stream_id), max(event_id::text) FILTER (WHERE event_type = 'ReviewProcessed'), "
        "max(event_id::text) FILTER (WHERE event_type = 'ItemPublished') FROM event_store.events "
        "WHERE stream_id LIKE 'learner-%' OR event_type = 'ItemPublished'"
    )
    for id_, kind, others in (
        (event, "ReviewProcessed", ', types: ["ReviewProcessed"]'),
        (found["example"], found["name"], ""),
        (item, "ItemPublished", ""),
        (event, None, ', types: ["GoalSet"]'),
        ("unknown", None, ""),
    ):
        stage.admin.run("DELETE FROM event_store.accesses")
        edges = query_api.data(EVENT % (id_, others), id_, roles="support")["events"]["edges"]
        assert [edge["node"]["eventType"] for edge in edges] == [kind] * (kind is not None)
        traces = stage.admin.run("SELECT 'learner-' || user_id, role FROM event_store.accesses")
        is_of_learner = kind not in (None, "ItemPublished")
        assert [tuple(row) for row in traces] == [(user, "support")] * is_of_learner
