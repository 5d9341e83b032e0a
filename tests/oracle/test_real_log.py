"""The oracle agrees with the published statistics of a real learner's review log."""

import csv
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests import oracle
from tests.oracle.days import answer_sums, zone
from tests.oracle.test_oracle import NOW, answer, done, event

ANKI = Path(__file__).resolve().parents[2] / "data" / "anki_reviews.csv"


def anki() -> Iterator[oracle.Event]:
    """Yield the completed sessions of the log, and its answers.

    A session ends with the last answer before a break of over 30 minutes, or with the last answer
    of the log.
    """
    with ANKI.open(encoding="utf-8") as file:
        rows = [(datetime.fromisoformat(r["review_time"]), r) for r in csv.DictReader(file)]
    rows.sort(key=lambda r: r[0])
    moments = [moment.replace(tzinfo=moment.tzinfo or UTC) for moment, _ in rows]
    for moment, following in itertools.zip_longest(moments, moments[1:]):
        if following is None or following - moment > timedelta(minutes=30):
            yield done(
                moment.astimezone(UTC).replace(tzinfo=None).isoformat(),
                moment.isoformat(),
            )
    for moment, (_, row) in zip(moments, rows, strict=True):
        at = moment.astimezone(UTC).replace(tzinfo=None).isoformat()
        yield answer(at, row["card_id"], right=row["review_rating"] != "1")


def test_the_oracle_agrees_with_the_published_statistics() -> None:
    zone_event = event("UserCreated", "2024-01-01", timezone="America/New_York", day_start_hour=4)
    log = list(anki())
    completions = [e for e in log if e.type == "SessionCompleted"]
    assert len(completions) == 64
    seen = oracle.see([zone_event, *completions], NOW)
    assert oracle.streak(seen, "ann")["longest"] == 24
    answers = [e for e in log if e.type != "SessionCompleted"]
    assert round(answer_sums(answers)["accuracy_rate"], 3) == 0.708
    local = zone("America/New_York")
    days = {
        (e.occurred_at.astimezone(local).replace(tzinfo=None) - timedelta(hours=4)).date()
        for e in answers
    }
    assert len(days) == 61
