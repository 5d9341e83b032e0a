"""The GraphQL scalars Date and DateTime, both sent as text. Times are in UTC."""

import contextlib
from datetime import UTC, date, datetime

import strawberry
from strawberry.types.scalar import ScalarDefinition

from progress.errors import SerializationError
from progress.event_store import timestamps


def _parse_date(text: object) -> date:
    if isinstance(text, str):
        with contextlib.suppress(ValueError):
            return timestamps.parse_day(text)
    raise ValueError("expected a day as in 2024-03-29")


def _parse_datetime(text: object) -> datetime:
    try:
        return timestamps.parse(text, "the value")
    except SerializationError:
        raise ValueError("expected a time as in 2024-03-29T20:32:32.250Z") from None


def format_datetime(moment: datetime) -> str:
    """Format a time in UTC as orjson does: with microseconds only if they are not zero."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


SCALARS: dict[object, ScalarDefinition] = {
    date: strawberry.scalar(name="Date", serialize=date.isoformat, parse_value=_parse_date),
    datetime: strawberry.scalar(
        name="DateTime", serialize=format_datetime, parse_value=_parse_datetime
    ),
}
