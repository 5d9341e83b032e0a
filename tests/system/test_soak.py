"""The soak test: its checks, events and report."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from bench.soak import report
from bench.soak.events import Source
from bench.soak.plan import Plan
from bench.soak.samples import Sample
from progress.event_store import events

PLAN = Plan(
    minutes=1, events=100, queries=1, kill_interval_s=1, learners=3, seed=1, out=Path(),
    begin=datetime(2025, 1, 1, tzinfo=UTC),
)  # fmt: skip


def sample(number: int) -> Sample:
    """Return the sample of minute `number`, with memory that grows by 60 MB per hour."""
    return Sample(
        at_s=60.0 * number, events=number, lag=0, lag_ms=0, undelivered=0, dead_letters=0,
        database_mb=1, files_mb=1, queries=0, query_p95_ms=0, kills=0,
        memory_mb={"query": 100.0 + number},
    )  # fmt: skip


SAMPLES = [sample(number) for number in range(30)]


def test_every_event_is_published_and_some_are_repeated_or_reordered() -> None:
    source = Source(PLAN)
    published = [event for now in range(40) for event in source.take(100, now)]
    published += source.take_rest()
    ids = [event["event_id"] for event in published]
    assert len(set(ids)) < len(ids)
    assert [event["occurred_at"] for event in published] != sorted(
        event["occurred_at"] for event in published
    )
    started = {e["data"]["session_id"] for e in published if e["event_type"] == "SessionStarted"}
    assert started == {
        e["data"]["session_id"] for e in published if "session_id" in e["data"]
    }  # every session has a SessionStarted; otherwise its events would stay pending
    of_the_leaver = {
        UUID(e["event_id"]).bytes for e in published if e["data"].get("user_id") == source.leaver
    }
    assert of_the_leaver <= source.leavers[source.leaver]


def test_events_of_every_type_are_published_and_valid() -> None:
    source = Source(PLAN)
    published = [event for now in range(80) for event in source.take(100, now)]
    assert {event["event_type"] for event in published} == events.CATALOGUE.keys()
    for event in published:
        events.check(events.CATALOGUE[event["event_type"]], {"user_id": "u", **event["data"]})
    of_leaver = {e["event_type"] for e in published if e["data"].get("user_id") == source.leaver}
    assert of_leaver >= {"LearnerJoinedGroup", "LearnerLeftGroup", "GoalSet", "RestDayTaken"}


def test_the_growth_of_the_memory_is_reported_per_hour() -> None:
    assert report.compute_slope(SAMPLES, "query") == pytest.approx(60)
    memory, defects = report.lines(SAMPLES, ["one"])
    assert memory.value == pytest.approx(124.5 / 104.5)
    assert not memory.passes
    assert defects.verdict == "no"


def test_the_table_has_a_row_for_each_minute() -> None:
    head, _, *rows = report.minutes(SAMPLES).splitlines()
    assert head.endswith("| query, MB |")
    assert len(rows) == len(SAMPLES)
    assert rows[-1].endswith("| 129.0 |")
