"""The texts and charts of the demo."""

from datetime import date, timedelta

from rich.console import Console
from rich.text import Text

from progress.demo import catalogue, charts
from progress.demo.graphql_client import GraphqlClient, History, Overview


def introduce(console: Console) -> None:
    """Print what the demo shows, and which parts of the data are invented."""
    console.print(
        "A real learner's record: 12,580 answers to 1,205 cards, March to October 2024 (an Anki "
        "review log, from Open Spaced Repetition). The words are replaced: each card is given a "
        f"headword of the CEFR word lists ({catalogue.RULE}). The review intervals are those of "
        "the SM-2 algorithm. "
        "See data/README.md.",
        style="dim",
    )


def report_new(console: Console, new: int, total: int) -> None:
    """Print how many of the published events were new."""
    if new:
        console.print(f"  New: {new:,} of {total:,} events.")
    else:
        console.print(
            f"  New: nothing. All {total:,} events were recorded before; no event is counted twice."
        )


def show_charts(console: Console, client: GraphqlClient) -> None:
    """Query GraphQL, and draw the results."""
    overview = client.overview()
    last = overview.streak.last_study_date or overview.due_forecast[0].date
    history = client.history(date(last.year, 1, 1) - timedelta(6), date(last.year, 12, 31))
    for title, chart in _charts(overview, history, last):
        console.print()
        console.rule(f"[bold]{title}", align="left", style="dim")
        console.print(chart)


def _charts(overview: Overview, history: History, last: date) -> list[tuple[str, Text]]:
    drawn = [
        (f"The year {last.year}", charts.year(history.daily_stats, last.year)),
        ("Answers by week", charts.weeks(history.weekly_stats)),
        ("Levels", charts.levels(overview.level_stats)),
        ("Skills", charts.domains(overview.domain_stats)),
        ("Weakest items", charts.weakest(overview.weakest)),
        ("Falling due", charts.due(overview.due_forecast, overview.streak.last_study_date)),
    ]
    if overview.user_progress:
        drawn.insert(0, ("Streak", charts.streak(overview.streak, overview.user_progress)))
    return drawn


def show_next_steps(console: Console, url: str, code: str) -> None:
    """Print the next steps, but no token, because terminal output is often shared."""
    console.print()
    console.rule("[bold]Next", align="left", style="dim")
    console.print("  The learner's page. This address signs in once, within ten minutes:")
    console.print(f"{url.removesuffix('graphql')}#sign-in={code}", soft_wrap=True, highlight=False)
    console.print(f"  GraphiQL, in the tab that is signed in: {url}", highlight=False)
    console.print("  The stack keeps running. To stop it: .venv/bin/progress down")
