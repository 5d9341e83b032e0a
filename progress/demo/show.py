"""The texts and charts of the demo."""

import os
import shlex
import sys
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path

from rich.text import Text

from progress.adapters import terminal
from progress.adapters.pubsub.publisher import Message
from progress.adapters.terminal import Console
from progress.demo import classes, loading
from progress.demo.graphql_client import (
    Day,
    DueDay,
    GraphqlClient,
    History,
    Knowledge,
    KnowledgePoint,
    Overview,
    Share,
    Standing,
    Streak,
    Weakest,
    Week,
)
from progress.importers.anki_import import Record

# What a person types to run another command: `.venv/bin/progress` in a clone.
_PROGRAM = os.path.relpath(sys.argv[0]) if Path(sys.argv[0]).name == "progress" else "progress"
_PRESENT_DAYS = 60  # the charts end today if the last study day is at most this many days ago
_SHADES = "·░▒▓█"
_GREENS = ("grey42", "green4", "green3", "chartreuse3", "chartreuse1")
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_BAR_WIDTH = 26
_MASTERY = (
    ("long term", "█", "green3"),
    ("short term", "▓", "yellow3"),
    ("learning", "▒", "orange3"),
)
_DOMAINS = {"R": "reading", "W": "writing", "L": "listening", "S": "speaking"}


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
        f"({loading.RULE}). The review intervals are those of the SM-2 algorithm. "
        "See data/README.md.",
        style="dim",
    )


def introduce_classes(console: Console, messages: Sequence[Message], learners: int) -> None:
    """Print how the learners were generated."""
    kinds = [event["event_type"] for message in messages for event in message.events]
    answers = sum(kind.endswith("AnswerGiven") for kind in kinds)
    made = len(classes.groups(learners))
    console.print(
        f"{learners:,} generated learners in {made} {'class' if made == 1 else 'classes'}: "
        f"{answers:,} answers in {classes.WEEKS} weeks, until yesterday. Nobody has given these "
        "answers: each learner has habits, pauses and an ability, reviews when SM-2 says so, and "
        "forgets as FSRS-6 estimates.",
        style="dim",
    )


def introduce_own(console: Console, record: Record) -> None:
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
    if new:
        console.print(f"  New: {new:,} of {total:,} events.")
    else:
        console.print("  New: nothing. All events were recorded before; no event is counted twice.")


def show_charts(console: Console, client: GraphqlClient) -> None:
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
        (title, year(history.daily_stats, first, last)),
        ("Answers by week", weeks(history.weekly_stats)),
        ("Expected to know", knowledge(overview.knowledge, history.knowledge_curve)),
        ("Levels", levels(overview.level_stats)),
        ("Skills", domains(overview.domain_stats)),
        ("Weakest items", weakest(overview.weakest)),
        ("Falling due", due(overview.due_forecast, overview.streak.last_study_date)),
    ]
    if overview.user_progress:
        drawn.insert(0, ("Streak", streak(overview.streak, overview.user_progress)))
    return drawn


def show_next_steps(console: Console, url: str, user: str, code: str) -> None:
    """Print the next steps.

    The address contains a one-time code instead of a token, because output is often shared.
    """
    console.print()
    console.rule(Text("Next", "bold"), align="left", style="dim")
    console.print("  The learner's page. Open this address within ten minutes; it works only once:")
    console.print(f"{url.removesuffix('graphql')}#sign-in={code}", soft_wrap=True)
    again = f"  A new address: {_PROGRAM} open --user {shlex.quote(user)}"
    console.print(again, soft_wrap=True)
    console.print(f"  GraphiQL (open it in the signed-in tab): {url}")
    console.print(f"  The stack keeps running. To stop it: {_PROGRAM} down")


def show_class_steps(console: Console, url: str, code: str) -> None:
    """Print the next steps of a teacher."""
    console.print()
    console.rule(Text("Next", "bold"), align="left", style="dim")
    console.print("  The teacher's page. Open this address within ten minutes; it works only once:")
    console.print(f"{url.removesuffix('graphql')}#sign-in={code}", soft_wrap=True)
    again = f"  A new address: {_PROGRAM} open --user teacher --role teacher --group class-1"
    console.print(again, soft_wrap=True)
    console.print(f"  A learner's page: {_PROGRAM} open --user {classes.FIRST}")
    console.print("  Charts about all learners: docs/analysis.md")
    console.print(f"  The stack keeps running. To stop it: {_PROGRAM} down")


def streak(streak: Streak, standing: Standing) -> Text:
    """Draw the current streak, the longest streak, and the totals."""
    text = Text("  ").append(_format_days(streak.current), "bold").append(" in a row")
    text.append(", but no answer yet today: the streak is at risk.\n" if streak.at_risk else ".\n")
    if streak.last_study_date and not streak.current:
        text.append(
            f"  The record ends on {_format_date(streak.last_study_date)}; what was learned "
        )
        text.append("is kept.\n")
    if streak.longest_start and streak.longest_end:
        text.append("  " + "■" * min(streak.longest, 70), "green3").append("\n")
        text.append("  The longest run: ").append(_format_days(streak.longest), "bold green3")
        text.append(
            f", {_format_date(streak.longest_start)} to {_format_date(streak.longest_end)}.\n"
        )
    hours, minutes = divmod(standing.total_study_time_minutes, 60)
    text.append(f"  {standing.total_sessions_completed:,} sessions, {hours} h {minutes:02} min, ")
    text.append(f"{_format_percent(standing.accuracy_rate)} of all answers right, ")
    text.append(f"{standing.total_items_learned:,} items learned.")
    return text


def year(days: Iterable[Day], first: date, last: date) -> Text:
    """Draw a heatmap: a column for each week, a row for each weekday, a shade for the answers."""
    answers = {day.date: day.answers for day in days if first <= day.date <= last}
    active = sorted(count for count in answers.values() if count)
    monday = first - timedelta(first.weekday())
    weeks = range((last - monday).days // 7 + 1)
    ends = [min(monday + timedelta(7 * week + 6), last) for week in weeks]
    text = Text("      " + _months(ends, 1) + "\n")
    for weekday, name in enumerate(("Mon", "   ", "Wed", "   ", "Fri", "   ", "Sun")):
        text.append(f"  {name} ", "dim")
        for week in weeks:
            day = monday + timedelta(7 * week + weekday)
            shade = _shade(answers.get(day, 0), active)
            is_shown = first <= day <= last
            text.append(*((_SHADES[shade], _GREENS[shade]) if is_shown else (" ", "")))
        text.append("\n")
    text.append("      no answers ")
    for glyph, colour in zip(_SHADES, _GREENS, strict=True):
        text.append(glyph, colour)
    text.append(f" {max(active, default=0):,} answers in a day; {len(active)} days with answers.")
    return text


def weeks(weeks: Sequence[Week]) -> Text:
    """Draw the answers of each week as columns, and the accuracy below them."""
    active = [at for at, week in enumerate(weeks) if week.answers]
    shown = weeks[active[0] : active[-1] + 1] if active else []
    wide = 2 if len(shown) <= 35 else 1
    text = _columns([week.answers for week in shown], wide, 6)
    text.append("        " + _months([week.start for week in shown], wide) + "\n")
    text.append("  right ", "dim")
    for week in shown:
        text.append(_block(week.accuracy_rate or 0), "cyan")
        text.append(" " * (wide - 1))
    first, last = (week.accuracy_rate for week in (shown[0], shown[-1])) if shown else (None, None)
    text.append(f"\n        {_format_percent(first)} right in the first week, ")
    text.append(f"{_format_percent(last)} in the last.")
    for week in shown[-2:]:
        text.append(f"\n        The week of {_format_date(week.start)}: {week.answers:,} answers, ")
        text.append(f"{_format_percent(week.accuracy_rate)} right.")
    return text


def knowledge(now: Knowledge, curve: Sequence[KnowledgePoint]) -> Text:
    """Draw how many items the learner was expected to know at the end of each week."""
    wide = 2 if len(curve) <= 35 else 1
    text = _columns([round(point.expected) for point in curve], wide, 6)
    text.append("        " + _months([point.start for point in curve], wide) + "\n")
    text.append("  Now about ").append(f"{now.expected:,.0f}", "bold")
    text.append(f" of {now.items:,} answered items; {now.fading:,} are fading (under 70 %).")
    return text


def levels(shares: Iterable[Share]) -> Text:
    """Draw how many catalogue items of each level are known, being learned, or not studied yet."""
    return _shares((f"{_known(share.level) or 'no level':<9}", share) for share in shares)


def _known(value: str) -> str:
    """Return the level or skill; empty if the items' descriptions do not name it."""
    return "" if value == "UNKNOWN" else value


def domains(shares: Iterable[Share]) -> Text:
    """Draw the same numbers as `levels`, but for each skill; an item counts for all its skills."""
    named = ((_DOMAINS.get(share.domain, "no skill"), share) for share in shares)
    return _shares((f"{name:<9}", share) for name, share in named)


def weakest(items: Weakest) -> Text:
    """Draw the items with the lowest accuracy, each with a bar for its accuracy."""
    text = Text()
    for item in (edge.node for edge in items.edges):
        right = round(20 * item.correct_answers / max(item.answers, 1))
        name = _shorten(terminal.escape(item.headword or item.item_id), 18)
        text.append(f"  {name:<18} {_known(item.level):<8}")
        text.append("█" * right, "red3").append("·" * (20 - right), "grey42")
        text.append(f" {item.correct_answers} of {item.answers} right")
        text.append(f", lapsed {item.lapses} ×\n" if item.lapses else "\n")
    text.append(f"  {items.total_count:,} items have 3 answers or more and under 60 % right.")
    return text


def due(forecast: Sequence[DueDay], last_study: date | None) -> Text:
    """Draw how many items fall due on each coming day; overdue items count for today."""
    text = _columns([day.items for day in forecast], 4, 4)
    text.append("        " + "".join(f"{day.date.day:<4}" for day in forecast) + "\n", "dim")
    today, later = (forecast[0].items if forecast else 0), sum(day.items for day in forecast[1:])
    text.append(f"  {today:,} items due today, {later:,} in the {len(forecast) - 1} days after.")
    if today and last_study and (forecast[0].date - last_study).days > 30:
        text.append(f"\n  Most have waited since {last_study:%Y}.")
    return text


def _shares(rows: Iterable[tuple[str, Share]]) -> Text:
    text = Text("  ")
    for name, glyph, colour in _MASTERY:
        text.append(glyph, colour).append(f" {name}  ")
    text.append("·", "grey42").append(" not studied\n")
    for name, share in rows:
        known = share.long_term_mastered + share.short_term_mastered
        counts = (share.long_term_mastered, share.short_term_mastered, share.learning)
        text.append(f"  {name} ")
        text.append(_stack(counts, share.catalogue_items or share.items_studied))
        text.append(f" {_format_share(known, share.catalogue_items)} known ")
        text.append(f"{_format_percent(share.progress_rate):>5}")
        text.append(f", {_format_percent(share.accuracy_rate):>4} right\n")
    text.right_crop(1)
    return text


def _stack(counts: Sequence[int], whole: int) -> Text:
    """Draw a stacked bar; each count above 0 gets at least one cell."""
    cells = [max(round(_BAR_WIDTH * count / max(whole, 1)), int(count > 0)) for count in counts]
    cells[cells.index(max(cells))] -= max(sum(cells) - _BAR_WIDTH, 0)
    bar = Text()
    for cell, (_, glyph, colour) in zip(cells, _MASTERY, strict=True):
        bar.append(glyph * cell, colour)
    return bar.append("·" * (_BAR_WIDTH - sum(cells)), "grey42")


def _columns(values: Sequence[int], wide: int, high: int) -> Text:
    """Draw columns; the highest value is `high` rows high and has a label at the left."""
    highest = max(values, default=0)
    text = Text()
    for row in range(high, 0, -1):
        text.append(f"{format(highest, ',') if row == high else '':>7} ", "dim")
        for value in values:
            filled = _block(
                value / max(highest, 1) * high - row + 1, visible=value > 0 and row == 1
            )
            text.append(filled * max(wide - 1, 1), "green3").append(" " * (wide > 1))
        text.append("\n")
    return text


def _block(share: float, *, visible: bool = False) -> str:
    """Return the block that fills `share` (0 to 1) of a cell, at least 1/8 if `visible`."""
    return _EIGHTHS[min(max(round(share * 8), int(visible)), 8)]


def _shade(answers: int, active: Sequence[int]) -> int:
    """Return the quartile of `answers` (1 to 4) in the sorted `active`, or 0 if `answers` is 0."""
    return 1 + 4 * bisect_left(active, answers) // len(active) if answers else 0


def _months(days: Sequence[date], wide: int) -> str:
    """Return a line of month names, with `wide` columns for each element of `days`.

    The name of a month begins at the first element of `days` that lies in this month. A name is
    omitted if the previous name occupies its place.
    """
    line = ""
    for place, day in enumerate(days):
        changed = place == 0 or days[place - 1].month != day.month
        if changed and len(line) <= place * wide:
            line = line.ljust(place * wide) + f"{day:%b} "
    return line.rstrip()


def _format_share(part: int, whole: int | None) -> str:
    return f"{part:>5,} of {'?' if whole is None else format(whole, ','):>5}"


def _format_percent(rate: float | None) -> str:
    return "–" if rate is None else f"{terminal.whole_percent(rate)} %"


def _format_days(number: int) -> str:
    return f"{number:,} day" if number == 1 else f"{number:,} days"


def _format_date(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _shorten(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
