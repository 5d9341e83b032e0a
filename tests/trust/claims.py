"""Bugs and limits that users reported to other systems, as claims that they do not occur here."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.mutants import broken_folds
from tests.mutants.broken_folds import Mutant
from tests.support.event_logs import Envelope
from tests.support.postgres_servers import Server
from tests.trust import logs, place, schedules
from tests.trust.place import Place


@dataclass(frozen=True)
class Claim:
    """A report to another system, with the log or the schedule that shows what was reported.

    `see` says what is seen at `now`: `right`, or `reported` if the reported behaviour is planted.
    Without a log, it runs a schedule first.
    """

    name: str  # the system and the number of the report
    title: str  # what holds here
    thread: str  # the address of the report
    see: Callable[[Place, datetime], str]
    now: datetime
    right: str
    reported: str
    log: Callable[[], list[Envelope]] | None = None

    @property
    def fault(self) -> list[Mutant]:
        """The reported behaviour, as edits of the SQL (faults.toml)."""
        return [one for one in load_faults() if one.name.startswith(f"{self.name}: ")]


@dataclass(frozen=True)
class Finding:
    """What was seen, and how the events and rows of the database differ from the oracle's."""

    seen: str
    differences: list[str]


@functools.cache
def load_faults() -> list[Mutant]:
    return broken_folds.load_mutants(Path(__file__).with_name("faults.toml"))


def check(
    claim: Claim, server: Server, *, seed: int | None = None, is_planted: bool = False
) -> Finding:
    """Check the claim in a new database; with a seed, deliver its log in another way."""
    fault = claim.fault if is_planted else []
    with place.open_place(server, fault=fault) as opened:
        if claim.log:
            opened.deliver(claim.log(), claim.now, seed)
        return Finding(claim.see(opened, claim.now), opened.find_differences(claim.now))


CLAIMS = (
    Claim(
        "anki-2801",
        "A past day keeps the offset that its clocks had",
        "https://github.com/ankitects/anki/issues/2801",
        logs.see_empty_days,
        datetime(2023, 11, 3, 12, tzinfo=UTC),
        right="days without answers: none",
        reported="days without answers: 2023-08-02, 2023-10-11",
        log=logs.study_before_five,
    ),
    Claim(
        "anki-1025",
        "A day of 23 hours is a day",
        "https://github.com/ankitects/anki/issues/1025",
        logs.see_empty_days,
        datetime(2023, 3, 25, 4, 30, tzinfo=UTC),
        right="days without answers: none",
        reported="days without answers: 2023-03-12",
        log=logs.study_over_the_short_day,
    ),
    Claim(
        "review-heatmap-212",
        "A trip to another zone breaks no streak",
        "https://github.com/glutanimate/review-heatmap/issues/212",
        logs.see_streak,
        datetime(2025, 8, 7, 8, tzinfo=UTC),
        right="a streak of 37 days, 0 days without answers",
        reported="a streak of 13 days, 8 days without answers",
        log=logs.study_on_a_trip,
    ),
    Claim(
        "anki-2062",
        "An answer keeps the hour at which it was given",
        "https://github.com/ankitects/anki/issues/2062",
        logs.see_hours,
        datetime(2022, 9, 11, 12, tzinfo=UTC),
        right="answers at 23 h: 20",
        reported="answers at 0 h: 20",
        log=logs.study_at_eleven,
    ),
    Claim(
        "anki-3453",
        "An interval that is set by hand is no failed answer",
        "https://github.com/ankitects/anki/issues/3453",
        logs.see_retention,
        datetime(2024, 9, 28, 12, tzinfo=UTC),
        right="recalled 17 of 20",
        reported="recalled 17 of 25",
        log=logs.set_intervals_by_hand,
    ),
    Claim(
        "marten-3321",
        "No projection skips an event that commits late",
        "https://github.com/JasperFx/marten/issues/3321",
        schedules.commit_the_ninth_last,
        datetime(2024, 7, 18, 20, tzinfo=UTC),
        right="stored 12, projected 12, missing: none",
        reported="stored 12, projected 11, missing: 9",
    ),
    Claim(
        "kurrentdb-4970",
        "No checkpoint is past the last event",
        "https://github.com/kurrent-io/KurrentDB/issues/4970",
        schedules.read_to_the_end_and_restart,
        datetime(2024, 9, 1, tzinfo=UTC),
        right="ahead in 0 of 20 rounds, projected 80 of 80",
        reported="ahead in 10 of 20 rounds, projected 70 of 80",
    ),
    Claim(
        "wanikani-40",
        "Every answer that was ever recorded can be read",
        "https://github.com/tofugu/wanikani-api-v2-doc/pull/40",
        schedules.ask_for_all_answers,
        datetime(2023, 4, 28, tzinfo=UTC),
        right="answers that can be read: 24",
        reported="answers that can be read: 0",
    ),
)
