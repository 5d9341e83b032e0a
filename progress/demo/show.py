"""The texts and charts of the demo."""

import shlex
from datetime import date, timedelta

from rich.text import Text

from progress.adapters.terminal import Console
from progress.demo import catalogue, charts
from progress.demo.graphql_client import GraphqlClient, History, Overview
from progress.importers.anki_import import Record

_PRESENT_DAYS = 60  # the charts end today if the last study day is at most this many days ago


def introduce(console: Console, shifted_days: int) -> None:
    """Print what the demo shows, and which parts of the data are invented."""
    moved = (
        f"All dates are shifted by {shifted_days:,} days: the record ends on the day before it was "
        "loaded. A daily goal and a rest day are added. "
        if shifted_days
        else ""
    )
    console.print(
        "A real learner's record: 12,580 answers to 1,205 cards, March to October 2024 (an Anki "
        f"review log, from Open Spaced Repetition). {moved}"
        "The words are replaced: each card is given a headword of the CEFR word lists "
        f"({catalogue.RULE}). The review intervals are those of the SM-2 algorithm. "
        "See data/README.md.",
        style="dim",
    )


def introduce_own(console: Console, record: Record) -> None:
    """Print what the user's own file contains."""
    cards = len({answer.card_id for answer in record.answers})
    levels = (
        f" {len(record.words):,} of {len(record.cards):,} cards have a word of the CEFR lists, "
        "which state its level."
        if record.words
        else " The cards' words are not those of the English CEFR lists, so no card has a level."
    )
    console.print(
        f"Your record: {len(record.answers):,} answers to {cards:,} cards."
        f"{levels if record.cards else ''}",
        style="dim",
    )


def report_new(console: Console, new: int, total: int) -> None:
    """Print how many of the published events were new."""
    if new:
        console.print(f"  New: {new:,} of {total:,} events.")
    else:
        console.print("  New: nothing. All events were recorded before; no event is counted twice.")


def show_charts(console: Console, client: GraphqlClient) -> None:
    """Query GraphQL, and draw the results."""
    overview = client.overview()
    first, last = _choose_period(overview)
    history = client.history(first - timedelta(6), last)
    for title, chart in _charts(overview, history, first, last):
        console.print()
        console.rule(Text(title, "bold"), align="left", style="dim")
        console.print(chart)


def _choose_period(overview: Overview) -> tuple[date, date]:
    """Return the year that ends today; for an old record, the calendar year of its last day."""
    today = overview.due_forecast[0].date
    last = overview.streak.last_study_date or today
    if (today - last).days <= _PRESENT_DAYS:
        return today - timedelta(364), today
    return date(last.year, 1, 1), date(last.year, 12, 31)


def _charts(
    overview: Overview, history: History, first: date, last: date
) -> list[tuple[str, Text]]:
    is_calendar_year = (first.month, first.day, last.month) == (1, 1, 12)
    title = f"The year {last.year}" if is_calendar_year else "The last year"
    drawn = [
        (title, charts.year(history.daily_stats, first, last)),
        ("Answers by week", charts.weeks(history.weekly_stats)),
        ("Levels", charts.levels(overview.level_stats)),
        ("Skills", charts.domains(overview.domain_stats)),
        ("Weakest items", charts.weakest(overview.weakest)),
        ("Falling due", charts.due(overview.due_forecast, overview.streak.last_study_date)),
    ]
    if overview.user_progress:
        drawn.insert(0, ("Streak", charts.streak(overview.streak, overview.user_progress)))
    return drawn


def show_next_steps(console: Console, url: str, user: str, code: str) -> None:
    """Print the next steps.

    The address contains a one-time code instead of a token, because output is often shared.
    """
    console.print()
    console.rule(Text("Next", "bold"), align="left", style="dim")
    console.print("  The learner's page. Open this address within ten minutes; it works only once:")
    console.print(f"{url.removesuffix('graphql')}#sign-in={code}", soft_wrap=True)
    again = f"  A new address: .venv/bin/progress open --user {shlex.quote(user)}"
    console.print(again, soft_wrap=True)
    console.print(f"  GraphiQL (open it in the signed-in tab): {url}")
    console.print("  The stack keeps running. To stop it: .venv/bin/progress down")
