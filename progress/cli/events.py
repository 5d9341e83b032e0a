"""`progress events` and `progress explain`: the audit trail, and what of a day counts."""

import asyncio
import json
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from progress.adapters import terminal
from progress.adapters.terminal import Console
from progress.cli import connections
from progress.cli.shared_options import AsJsonLines
from progress.event_store import EventStore, StoredEvent, intake, log
from progress.event_store.events import EVENT_TYPES
from progress.event_store.log import PostgresEventStore
from progress.event_store.timestamps import EARLIEST
from progress.importers import envelope_lines
from progress.operations import accesses

_PAGE = 1_000
_MOST_OF_DAY = 1_000_000
_POLL_INTERVAL_S = 0.5
_AGE = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _parse_time(value: str | None) -> datetime | None:
    """Parse an age such as 15m, or an ISO 8601 time; a time without an offset is in UTC."""
    if value is None:
        return None
    try:
        if age := _AGE.fullmatch(value):
            return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
        at = datetime.fromisoformat(value)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            "expected a time, or an age such as 30s, 15m, 2h or 7d", param_hint="'--since'"
        ) from None


def events(
    user: Annotated[str | None, typer.Option(help="Only this learner's events.")] = None,
    kind: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Only events of this type.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME|AGE", help="Only events recorded since TIME or in the last AGE (e.g. 2h)."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The number of newest events.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Also print new events, until Ctrl-C.")
    ] = False,
    _as_json: AsJsonLines = False,  # has no effect: the output is always JSON lines
) -> None:
    """Print the audit trail: every event as it was recorded, one JSON object per line."""
    begin = _parse_time(since)
    if kind and kind not in EVENT_TYPES and intake.find_meant(kind):
        # No error, because events of undeclared types are recorded too.
        typer.echo(envelope_lines.describe_unknown_type(kind), err=True)
    with connections.open_to_read() as connection:
        position = log.find_position(connection, begin) if begin else 1
        if limit and user is None:
            position = log.find_newest(connection, position, kind, limit)
        pages = _read_pages(PostgresEventStore(connection), user, kind, position)
        recorded: Iterable[StoredEvent] = _read_recorded(pages)

        def print_(events: Iterable[StoredEvent]) -> None:
            for number, event in enumerate(events):
                if number == 0 and user is not None:
                    accesses.write_trail(connection, "events", user)
                terminal.print_json(event)

        print_(deque(recorded, maxlen=limit) if limit else recorded)
        while follow:
            print_(_read_recorded(pages))
            time.sleep(_POLL_INTERVAL_S)


def explain(
    user: Annotated[str, typer.Option(help="The learner's id.")],
    day: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The learner's local day.")],
) -> None:
    """Print the events of a learner's day, and what became of each in the numbers."""
    # Importing the API takes 300 ms, so only this command imports it.
    from progress.query.read_models.queries import Queries
    from progress.query.read_models.reader import open_reader
    from progress.query.read_models.rows import RecordedEvent

    async def read() -> list[RecordedEvent]:
        async with open_reader(connections.target().database()) as reader:
            queries = Queries(reader)
            return await queries.get_recorded_events(user, first=_MOST_OF_DAY, day=day.date())

    found = sorted(asyncio.run(read()), key=lambda event: (event.occurred_at, event.event_id))
    if found:
        with connections.open_to_read() as connection:
            accesses.write_trail(connection, "explain", user)
    table = Table("time (UTC)", "type", "item", "counted", box=None)
    for event in found:
        at, item = f"{event.occurred_at:%Y-%m-%d %H:%M:%S}", json.loads(event.data).get("item_id")
        table.add_row(at, event.event_type, str(item or ""), event.counted)
    Console().print(table if found else "There are no events of this day.")


def _read_recorded(pages: Iterator[list[StoredEvent] | None]) -> Iterator[StoredEvent]:
    while (page := next(pages)) is not None:
        yield from page


def _read_pages(
    store: EventStore, user: str | None, kind: str | None, position: int
) -> Iterator[list[StoredEvent] | None]:
    """Yield pages of matching events from `position` on, and None at the end of the log."""
    version = 1
    while True:
        if user is None and kind is None:
            page = matching = store.read_all_events(position, _PAGE)
        elif user is None and kind is not None:
            page = matching = store.read_events_by_type(
                kind, EARLIEST, limit=_PAGE, from_position=position
            )
        else:
            page = store.read_events(f"learner-{user}", version, version + _PAGE - 1)
            matching = [
                event
                for event in page
                if event.global_position >= position and kind in {None, event.event_type}
            ]
        yield matching if page else None
        if page and user is None:
            position = page[-1].global_position + 1
        elif page:
            version = page[-1].stream_version + 1
