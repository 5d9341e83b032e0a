"""`progress import`: publish a learner's Anki record or review log, or a list, as events."""

import contextlib
import itertools
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from progress.adapters import terminal
from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub.publisher import Message
from progress.adapters.terminal import Console
from progress.cli import publishing
from progress.cli.publishing import Publication, ToPubsub
from progress.cli.shared_options import AsJson, Yes
from progress.errors import ReviewLogError, SettingsError
from progress.event_store import events, time_zones
from progress.importers import (
    anki_collection,
    anki_import,
    envelope_lines,
    lists,
    review_log,
    review_rows,
    roster,
    shifts,
)
from progress.importers.anki_events import Learner
from progress.importers.anki_import import Record
from progress.importers.review_log import Fault
from progress.importers.review_rows import Row
from progress.projections import schema

_UNKNOWN_RECORD = (
    "no database is configured, so what the log has of this learner is unknown: set DATABASE_URL "
    "or, if the learner is new, add --first"
)
Faults = dict[str, tuple[Fault, int]]  # the first of each kind, and how many there are
_MOST_NAMED = 10
_ROWS_AT_A_TIME = 5_000
OWN_USER = "me"  # the learner of a file without learners

_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")


# What the summary says of the numbers in the report that are not always shown.
_NOTES = {
    "crammed": "answers in filtered decks that do not reschedule are left out.",
    "set_aside": "suspended, deleted or forgotten cards are set aside: not due.",
    "moved": "cards were moved or forgotten without an answer.",
    "unmoved": "changes of a card's day, which no longer decide, are left out.",
    "manual": "rows with the rating 0 are left out.",
    "repeated": "repeated rows are left out.",
    "faulty": "rows have a fault, and are left out; the first of each kind is named.",
    "lists": "decks are new, renamed or archived.",
    "listed": "cards are new in a deck, or have another word.",
    "unlisted": "cards have left a deck.",
}

import_group = typer.Typer(
    help="Publish the records of another program as domain events.", no_args_is_help=True
)


def check_user(value: str | None) -> str | None:
    if value is not None and (not 1 <= len(value) <= 200 or review_rows.DAMAGED.search(value)):
        raise typer.BadParameter("expected 1 to 200 characters of UTF-8")
    return value


def _zone(value: str | None) -> str | None:
    if value is not None and value not in time_zones.names():
        raise typer.BadParameter(f"{value} is not a time zone of the IANA database")
    return value


def _language(value: str | None) -> str | None:
    if value is not None and not (2 <= len(value) <= 35 and _LANGUAGE.fullmatch(value)):
        raise typer.BadParameter("expected a language tag such as en or pt-BR")
    return value


File = Annotated[
    Path,
    typer.Argument(
        help="An export from Anki (.colpkg, .apkg), its collection.anki2, or a CSV or Parquet "
        "file: card_id, review_rating (1 to 4), review_time and, where it has them, "
        "review_duration (ms), interval (days) or due (the time of the next review), kind, "
        "headword, id, deck, deck_id; for several learners user_id, and timezone."
    ),
]
User = Annotated[
    str | None,
    typer.Option(
        help=f"The learner's id; else the row's user_id or, without this column, {OWN_USER}.",
        callback=check_user,
    ),
]
Zone = Annotated[
    str | None,
    typer.Option(
        help="The learner's IANA time zone. A first import of a collection takes this machine's "
        "zone; a later import changes it, from its first new answer on, only with --zone.",
        callback=_zone,
    ),
]
DayStart = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=23,
        help="The hour at which days begin. A first import of a collection takes its hour; a later "
        "import changes it only with --day-start.",
    ),
]
Language = Annotated[
    str | None,
    typer.Option(help="The language of the cards' words, such as de.", callback=_language),
]


ListFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="A text file with an item id in each line, or a CSV file: item_id and, where it has "
        "them, position, headword, kind.",
    ),
]
Catalogue = Annotated[
    bool,
    typer.Option(
        "--catalogue",
        help="Publish the words in the catalogue that everybody reads, with levels; new cards of a "
        "collection get their numbers as ids. Without it, words and items are the learner's own.",
    ),
]
KeepFloats = Annotated[
    bool,
    typer.Option(
        "--keep-floats", help="Go on with ids that a version up to 0.4 recorded with .0 at the end."
    ),
]
First = Annotated[bool, typer.Option("--first", help="Without a database: the learner is new.")]


@import_group.command(
    "reviews",
    help="Publish the review log of any app, with all its learners: a CSV or Parquet file.",
)
@import_group.command()
def anki(
    file: File,
    *,
    user: User = None,
    zone: Zone = None,
    day_start: DayStart = None,
    language: Language = None,
    in_catalogue: Catalogue = False,
    is_first: First = False,
    keep_floats: KeepFloats = False,
    to_pubsub: ToPubsub = False,
    as_json: AsJson = False,
) -> None:
    """Publish a learner's answers from Anki, or those of all learners in a review log.

    A second import of a file adds nothing. An answer that the log has, from another file or from
    the learner's device, is not published again. It keeps its session and its interval. The command
    finds the recorded answers in the log. Therefore, with --pubsub, wait until one import is
    recorded before you start the next. A faulty row or optional field is left out; the first of
    each kind is named.
    """
    console, faults = Console(stderr=as_json), Faults()
    with (
        publishing.explain_interrupt(to_pubsub=to_pubsub) as publication,
        _open_log(publication) as connection,
    ):
        learner = Learner(user or "", zone, day_start)
        if anki_collection.is_collection(file):
            learner = msgspec.structs.replace(learner, user_id=user or OWN_USER)
            known = anki_import.find_zone(connection, learner.user_id) if connection else None
            record = anki_import.read(
                file, learner, language, in_catalogue=in_catalogue, zone=known
            )
            if connection is None and not is_first:
                raise SettingsError(_UNKNOWN_RECORD)
            total, records = record.rows, iter([record])
        else:
            total, rows, columns, learner = _read_log(console, file, learner)
            records = anki_import.read_rows(
                *(rows, columns, learner, language),
                in_catalogue=in_catalogue,
                connection=connection,
                keep_floats=keep_floats,
            )
        publication.open()
        try:
            report = _publish(console, records, total, publication, connection, faults=faults)
        finally:
            _name_faults(faults)
    if not report["answers"] + report["recorded_before"]:
        faulty = report["faulty"]
        why = f": all {faulty:,} rows have a fault" if faulty and faulty == total else ""
        raise ReviewLogError(f"{file}: {anki_import.NO_ANSWERS}{why}")
    fields = _count_fields(faults)
    if as_json:
        del report["words"], report["levels"]
        terminal.print_json({**report, "fields": fields, **publication.report()})
    else:
        _show(console, report, fields)
        publication.tell()


@import_group.command("list")
def import_list(
    file: ListFile,
    *,
    name: Annotated[str, typer.Option(help="The list's name, such as HSK 3.")],
    scale: Annotated[str | None, typer.Option(help="What the list is a level of.")] = None,
    rank: Annotated[int | None, typer.Option(help="The level's place in its scale.")] = None,
    list_id: Annotated[
        str | None, typer.Option("--id", help="The list's id.", show_default="SCALE: NAME")
    ] = None,
    by_headword: Annotated[
        str | None,
        typer.Option(
            metavar="LANGUAGE",
            help="Lines are headwords: list the catalogue's items of each in this language.",
            callback=_language,
        ),
    ] = None,
    to_pubsub: ToPubsub = False,
    as_json: AsJson = False,
) -> None:
    """Publish a list of the catalogue, such as a level or a unit.

    A second import changes the list: what is no longer in the file is unlisted.
    """
    console = Console(stderr=as_json)
    id_ = list_id or (f"{scale}: {name}" if scale else name)
    fields = {"name": name, "scale": scale or None, "rank": rank}
    events.check(events.ListPublished, {"list_id": id_} | fields)
    with publishing.explain_interrupt(to_pubsub=to_pubsub) as publication:
        items = lists.read_file(file, "headword" if by_headword else "item_id")
        publication.open()
        with contextlib.closing(publication.connect()) as connection:
            schema.set_search_path(connection)
            found = lists.find_items(connection, items, by_headword)
            recorded = lists.read(connection, f"list-{id_}")
        if by_headword:
            items = {item: place for of_word in found.values() for item, place in of_word.items()}
        if not items:
            raise ReviewLogError(f"{file}: expected a line with an item of the catalogue")
        described = {field: value for field, value in fields.items() if value is not None}
        placed = lists.place(id_, items, recorded)
        changes = lists.change_catalogue(id_, described, placed, datetime.now(UTC), recorded)
        messages = [*anki_import.pack(events.USER, changes)]
        publication.send_all(console, messages)
    kinds = Counter(event["event_type"] for event in changes)
    report = {
        "list_id": id_,
        "published": len(changes),
        "items": len(items),
        "listed": kinds["ItemListed"],
        "unlisted": kinds["ItemUnlisted"],
        "missing": [word for word, of_word in found.items() if not of_word],
        "several": [word for word, of_word in found.items() if len(of_word) > 1],
        "over": max(len(items) - lists.MOST_ITEMS, 0),
    }
    if as_json:
        terminal.print_json(report | publication.report())
    else:
        none = "headwords have no item in" if by_headword else "lines are no item of"
        _show_list(console, report, none)
        publication.tell()


def _show_list(console: Console, report: dict[str, Any], none: str) -> None:
    console.print(
        f"{report['list_id']} has {report['items']:,} items: {report['listed']:,} are new or "
        f"changed, and {report['unlisted']:,} are unlisted."
    )
    if over := report["over"]:
        console.print(f"A list has its first {lists.MOST_ITEMS:,} items: {over:,} are over it.")
    for words, note in (
        (report["missing"], none),
        (report["several"], "headwords have several items in"),
    ):
        if words:
            named = ", ".join(words[:_MOST_NAMED]) + ", …" * (len(words) > _MOST_NAMED)
            console.print(f"{len(words):,} {note} the catalogue: {named}")


@import_group.command("roster")
def import_roster(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.csv",
            help="A CSV file: user_id, group_id and, where it has them, group_name, display_name.",
        ),
    ],
    *,
    yes: Yes = False,
    to_pubsub: ToPubsub = False,
    as_json: AsJson = False,
) -> None:
    """Publish the classes of a school: the members of each group, and names.

    Whoever is a member of a group that the file names, and is not in the file, leaves. A second
    import publishes nothing.
    """
    console = Console(stderr=as_json)
    with publishing.explain_interrupt(to_pubsub=to_pubsub) as publication:
        wanted = roster.read_file(file)
        publication.open()
        with contextlib.closing(publication.connect()) as connection:
            schema.set_search_path(connection)
            found = roster.read(connection, wanted)
        changes = roster.compare(wanted, found)
        for change in roster.describe(changes, wanted, found):
            console.print(terminal.escape(change))
        if changes.events:
            if not yes:
                typer.confirm(f"Publish {len(changes.events):,} events?", abort=True, err=as_json)
            publication.send_all(console, [*anki_import.pack(events.USER, changes.events)])
    report = {"published": len(changes.events), "joins": changes.joins, "leaves": changes.leaves}
    if as_json:
        named = {"groups": changes.groups, "learners": changes.learners}
        terminal.print_json({**report, **named, **publication.report()})
    elif changes.events:
        publication.tell()


def _read_log(
    console: Console, file: Path, learner: Learner
) -> tuple[int, Iterator[Row], dict[str, int], Learner]:
    """Return the number of rows, the rows, their columns, and the learner; sort them if needed."""
    rows, columns = review_log.open_rows(file)
    total, learners, is_grouped = review_rows.survey(review_log.open_rows(file)[0])
    if learner.user_id and learners > 1:
        raise ReviewLogError(f"{file}: found {learners:,} learners: import it without --user")
    if not learners:
        learner = msgspec.structs.replace(learner, user_id=learner.user_id or OWN_USER)
    if not is_grouped:
        with terminal.progress_bar(console, "sorting", total) as show_progress:
            rows, size = review_rows.sort(file, rows, show_progress)
        console.print(
            f"The rows are not sorted by {review_rows.USER}: sorting them takes "
            f"{size / 1e6:,.1f} MB in {tempfile.gettempdir()}, until the command ends."
        )
    return total, rows, columns, learner


def _count_fields(faults: Faults) -> Counter[str]:
    """Return how many values of each optional field are left out."""
    fields = Counter[str]()
    for fault, count in faults.values():
        fields.update({fault.column: count} if fault.column in review_log.SPARED else {})
    return fields


def _name_faults(faults: Faults) -> None:
    for fault, count in itertools.islice(faults.values(), _MOST_NAMED):
        more = f" (and {count - 1:,} more of this kind)" if count > 1 else ""
        typer.echo(f"{fault}{more}", err=True)
    if (kinds := len(faults) - _MOST_NAMED) > 0:
        typer.echo(f"and {kinds:,} more kinds of faults", err=True)


def _open_log(publication: Publication) -> AbstractContextManager[Connection | None]:
    """Connect to the database for a `with` block; give None if none is configured."""
    try:
        return contextlib.closing(publication.connect())
    except SettingsError:
        return contextlib.nullcontext()


def _publish(
    console: Console,
    records: Iterable[Record],
    total: int,
    publication: Publication,
    connection: Connection | None,
    *,
    faults: Faults,
) -> Counter[str]:
    """Publish what is new of each learner, and of several with few rows at once; count it."""
    if connection is None:
        typer.echo(
            "No database is configured, so events are published even if they are recorded already.",
            err=True,
        )
    report, new, rows = Counter[str](), list[Message](), 0
    publication.total, publication.of = total, "rows"
    with terminal.progress_bar(console, "importing", total) as show_progress:
        for record in records:
            for fault in record.faults:
                first, number = faults.get(fault.kind, (fault, 0))
                faults[fault.kind] = (first, number + 1)
            adopted = anki_import.adopt(connection, record)
            messages = _select_new(connection, adopted) if record.answers else []
            report.update(_summarize(adopted, messages))
            new, rows = new + messages, rows + record.rows
            if rows - publication.stored < _ROWS_AT_A_TIME and rows < total:
                continue
            warn_of_future(new)
            publication.send(new)
            new, publication.stored = [], rows
            show_progress(rows)
    return report


def warn_of_future(messages: list[Message]) -> None:
    times = (event["occurred_at"] for message in messages for event in message.events)
    if warning := envelope_lines.find_warning(times, datetime.now(UTC)):
        typer.echo(warning, err=True)


def _select_new(connection: Connection | None, record: Record) -> list[Message]:
    """Omit what the log has; shift a record that the demo has loaded with shifted dates."""
    if connection is None:
        return record.messages()
    stored = shifts.find_stored(connection, record.learner, record.answers)
    if stored and stored.days:
        record = msgspec.structs.replace(
            record,
            answers=shifts.shift(record.answers, stored.days, stored.timezone),
            learner=msgspec.structs.replace(record.learner, shifted_days=stored.days),
        )
    return anki_import.select_new(connection, record)


def _summarize(record: Record, messages: list[Message]) -> dict[str, int]:
    """Count what is published and left out; the log has the answers in `recorded_before`."""
    published = [event for message in messages for event in message.events]
    answers = [event for event in published if event["event_type"] == "CardReviewed"]
    kinds = Counter(event["event_type"] for event in published)
    return {
        "published": len(published),
        "learners": 1 if record.answers else 0,
        "answers": len(answers),
        "cards": len({event["data"]["item_id"] for event in answers}),
        "sessions": len({event["data"].get("session_id") for event in answers} - {None}),
        "recorded_before": len(record.answers) - len(answers),
        **dict.fromkeys(_NOTES, 0),
        "set_aside": kinds["ItemSetAside"],
        "moved": kinds["ReviewProcessed"],
        "lists": kinds["ListPublished"] + kinds["ListArchived"],
        "listed": kinds["ItemListed"],
        "unlisted": kinds["ItemUnlisted"],
        **record.left_out,
        "words": len(record.cards) if record.in_catalogue else 0,
        "levels": len(record.words),
    }


def _show(console: Console, report: dict[str, int], fields: dict[str, int]) -> None:
    of_whom = f" of {report['learners']:,} learners" if report["learners"] > 1 else ""
    console.print(
        f"{report['published']:,} events published: {report['answers']:,} answers{of_whom} to "
        f"{report['cards']:,} cards in {report['sessions']:,} sessions."
    )
    if count := report["recorded_before"]:
        other = "other answers" if report["answers"] else "answers"
        console.print(f"{count:,} {other} were recorded before and are left out.")
    for name, note in _NOTES.items():
        if report[name]:
            console.print(f"{report[name]:,} {note}")
    if fields:
        named = ", ".join(f"{count:,} {column}" for column, count in fields.items())
        console.print(f"Fields with a fault are left out, and their answers count: {named}.")
    if words := report["words"]:
        console.print(
            f"{words:,} cards have a word; {report['levels']:,} of these cards get a level from "
            "the CEFR word lists."
        )
