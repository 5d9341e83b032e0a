"""The texts and numbers that the demo prints."""

import asyncio
import os
import shlex
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from progress.adapters import terminal
from progress.adapters.pubsub.publisher import Message
from progress.adapters.terminal import Console
from progress.demo import classes, loading
from progress.importers.anki_import import Record

if TYPE_CHECKING:  # the command starts without the query API
    from progress.query.read_models.rows import LevelStats, Streak, UserProgress

# What a person types to run another command: `.venv/bin/progress` in a clone.
_PROGRAM = os.path.relpath(sys.argv[0]) if Path(sys.argv[0]).name == "progress" else "progress"


def introduce(console: Console, shifted_days: int) -> None:
    moved = (
        f"All dates are shifted by {shifted_days:,} days: the record ends on the day before it was "
        "loaded. A daily goal, a rest day, a task of a group and a session of today are added. "
        if shifted_days
        else ""
    )
    console.print(
        "A real learner's record: 12,580 answers to 1,205 cards, March to October 2024 (an Anki "
        f"review log, from Open Spaced Repetition). {moved}"
        "The words are replaced: each card is given a headword of the CEFR word lists "
        f"({loading.RULE}). The review intervals are those of FSRS-6. "
        "See data/README.md.",
        style="dim",
    )


def introduce_classes(console: Console, messages: Sequence[Message], learners: int) -> None:
    kinds = [event["event_type"] for message in messages for event in message.events]
    answers = kinds.count("CardReviewed")
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


def show_numbers(console: Console, database_url: str, user: str) -> None:
    console.print()
    for line in asyncio.run(_read_numbers(database_url, user)):
        console.print(f"  {line}")


async def _read_numbers(database_url: str, user: str) -> list[str]:
    from progress.query.read_models.queries import Queries
    from progress.query.read_models.reader import open_reader

    async with open_reader(database_url) as reader:
        queries = Queries(reader)
        streak, record = await queries.get_streak(user), await queries.get_current_progress(user)
        due, levels = await queries.get_due_forecast(user, 14), await queries.get_level_stats(user)
        known = await queries.get_knowledge(user)
        last = streak.last_study_date or due[0].date
        year = await queries.get_stats_range(user, last - timedelta(364), last)
    answers, studied = sum(day.answers for day in year), sum(day.answers > 0 for day in year)
    today, *later = due
    after = sum(day.items for day in later)
    return [
        *_describe_record(streak, record),
        f"The year to {last.day} {last:%B %Y}: {answers:,} answers on {_format_days(studied)}.",
        (
            f"Expected to know: {known.expected:,.0f} of {known.items:,} answered words; "
            f"{known.fading:,} are fading (under 70 %)."
        ),
        f"Falling due: {today.items:,} words today, {after:,} in the {len(later)} days after.",
        *(_describe_level(level) for level in levels if level.catalogue_items),
    ]


def _describe_record(streak: "Streak", record: "UserProgress | None") -> list[str]:
    rest = f"; one answer today makes it {streak.current + 1}" if streak.at_risk else ""
    lines = [f"{_format_days(streak.current)} in a row{rest}."]
    if streak.longest:
        lines.append(f"The longest run: {_format_days(streak.longest)}.")
    if record:
        hours, minutes = divmod(record.total_study_time_minutes, 60)
        lines.append(
            f"{record.total_sessions_completed:,} sessions, {hours} h {minutes:02} min, "
            f"{_format_percent(record.accuracy_rate)} of all answers right, "
            f"{record.total_items_learned:,} words learned."
        )
    return lines


def _describe_level(level: "LevelStats") -> str:
    mastered = level.long_term_mastered + level.short_term_mastered
    return (
        f"{level.level}: {mastered:,} of {level.catalogue_items:,} words known, "
        f"{_format_percent(level.accuracy_rate)} of their answers right."
    )


def show_next_steps(console: Console, url: str, user: str, token: str) -> None:
    graphiql = f"GraphiQL (open it in the signed-in tab): {url}"
    _show_page(console, url, token, "learner", f"--user {shlex.quote(user)}", graphiql)


def show_class_steps(console: Console, url: str, token: str) -> None:
    learner = f"A learner's page: {_PROGRAM} open --user {classes.FIRST}"
    options = "--user teacher --role teacher --group class-1"
    questions = "Questions about all learners: docs/analysis.md"
    _show_page(console, url, token, "teacher", options, learner, questions)


def _show_page(
    console: Console, url: str, token: str, whose: str, options: str, *steps: str
) -> None:
    """Print the page's address. Its token works only once, because output is often shared."""
    console.print()
    console.print("Next")
    console.print(
        f"  The {whose}'s page. Open this address within ten minutes; it works only once:"
    )
    console.print(f"{url.removesuffix('graphql')}#sign-in={token}", soft_wrap=True)
    console.print(f"  A new address: {_PROGRAM} open {options}", soft_wrap=True)
    for step in (*steps, f"The stack keeps running. To stop it: {_PROGRAM} down"):
        console.print(f"  {step}")


def _format_percent(rate: float | None) -> str:
    return "-" if rate is None else f"{terminal.whole_percent(rate)} %"


def _format_days(number: int) -> str:
    return f"{number:,} day" if number == 1 else f"{number:,} days"
