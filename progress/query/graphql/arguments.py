"""Arguments: the scalars Date and DateTime, which are sent as text, and the checks of values.

Each BadInput names the argument, the allowed values and the value found.
"""

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import strawberry
from strawberry import ID, UNSET
from strawberry.types.scalar import ScalarDefinition

from progress import auth, masking
from progress.errors import BadInput, SerializationError
from progress.event_store import timestamps
from progress.query.read_models import coverage, rows

MAX_RANGE_DAYS = 731
_MAX_PAGE_SIZE = 200
_MAX_TASKS = 20  # of a page
_MAX_CATALOGUE = 1_000  # items of a page
_MAX_COUNT = 1_000_000  # of an item in a text
_MAX_LIST_ID = 204  # with the prefix `own:`
MAX_FORECAST_DAYS = 366
MAX_CURVE_DAYS = 5_117  # 731 weeks
_MAX_LETTERS = 200
_MAX_LEARNERS = 1_000
_MAX_EVENT_TYPES = 50  # Few, because the query compares every recorded event with every type.
_MAX_REASON_LENGTH = 1_000  # Characters.


def _parse_date(text: object) -> date:
    day = _parse_day(text) if isinstance(text, str) else None
    if day is None:
        raise ValueError("expected a day as in 2024-03-29")
    return day


# Most queries ask for the same days; a cache hit saves 80 % of the parsing time.
@functools.lru_cache(maxsize=2_048)
def _parse_day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if day.isoformat() == text else None  # fromisoformat also accepts 2024-W13-5


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


def check_range(first_day: date, last_day: date, most: int = MAX_RANGE_DAYS) -> None:
    """Raise BadInput unless the range has 1 to `most` days, within the years 2 to 9998."""
    if first_day > last_day:
        raise BadInput(f"from: expected a day not later than `to` - found {first_day}, {last_day}")
    days = (last_day - first_day).days + 1
    if days > most:
        raise BadInput(f"from, to: expected at most {most} days - found {days}")
    check_years("from, to", first_day, last_day)


def check_years(names: str, *days: date) -> None:
    """Raise BadInput unless the days are in the years 2 to 9998.

    For the database, the first and the last day that Python knows are infinite.
    """
    if any(day.year in (date.min.year, date.max.year) for day in days):
        found = ", ".join(map(str, days))
        raise BadInput(f"{names}: expected the years 2 to 9998 - found {found}")


def _parse_local_day(day: date) -> date:
    """Return the day; raise BadInput if it is not in the years 2000 to 2099 of a RestDayTaken."""
    if not 2000 <= day.year <= 2099:
        raise BadInput(f"date: expected a day from 2000-01-01 to 2099-12-31 - found {day}")
    return day


def parse_day(name: str, day: date | None) -> date | None:
    if day:
        check_years(name, day)
    return day or None


def parse_page_size(first: int | None, *, default: int = 50) -> int:
    return _parse_count("first", first, most=_MAX_PAGE_SIZE, default=default)


def parse_tasks_size(first: int | None, *, default: int = 20) -> int:
    return _parse_count("first", first, most=_MAX_TASKS, default=default)


def parse_catalogue_size(first: int | None) -> int:
    return _parse_count("first", first, most=_MAX_CATALOGUE, default=_MAX_CATALOGUE)


def parse_list(name: str, list_id: str) -> str:
    return auth.parse_id(name, list_id, _MAX_LIST_ID)


@strawberry.input
class CoverageItem:
    item_id: ID
    count: int | None = 1


# strawberry looks up the fields' names and types again for each of a thousand entries.
CoverageItem.__strawberry_definition__.from_input = (  # type: ignore[attr-defined]
    lambda type_, entry, _: type_(item_id=entry["itemId"], count=entry["count"])
)


def parse_text(items: Sequence[CoverageItem]) -> coverage.Text:
    """Return how often each item occurs; raise BadInput, naming a bad entry by its index."""
    if not 1 <= len(items) <= coverage.MOST_ITEMS:
        expected = f"items: expected 1 to {coverage.MOST_ITEMS} entries"
        raise BadInput(f"{expected} - found {len(items)}")
    text: dict[str, int] = {}
    for place, item in enumerate(items):
        item_id = auth.parse_id(f"items[{place}].itemId", item.item_id)
        count = _parse_count(f"items[{place}].count", item.count, most=_MAX_COUNT, default=1)
        text[item_id] = text.get(item_id, 0) + count
    return text


def parse_scale(scale: str | None) -> str | None:
    """Return the scale whose lists to return; None for the own lists and those of the groups."""
    if scale == "":
        raise BadInput('scale: expected the name of a scale, such as JLPT - found ""')
    return parse_filter("scale", scale)


def parse_since(day: date | None, days: int | None) -> date | int:
    """Return the one that is given, the first day or the number of days up to today."""
    if bool(day) == isinstance(days, int):
        raise BadInput(f"date, days: expected one of them - found {'both' if day else 'neither'}")
    return day or _parse_count("days", days, most=MAX_FORECAST_DAYS, default=0)


def check_forecast_year(today: datetime) -> None:
    """Raise BadInput if the days of a forecast or the weeks up to this time may have no date."""
    if not 4 <= today.year < 9988:
        raise BadInput(f"asOf, knownAt: expected the years 4 to 9987 - found {today.year}")


def _parse_count(name: str, count: int | None, *, most: int, default: int, least: int = 1) -> int:
    if count is None:
        return default
    if not least <= count <= most:
        raise BadInput(f"{name}: expected an integer from {least} to {most} - found {count}")
    return count


def parse_language(tag: str | None) -> str | None:
    """Return the primary subtag of a language in lower case; None for all languages."""
    if not isinstance(tag, str):
        return None
    if not re.fullmatch("[A-Za-z]{1,8}", tag):
        raise BadInput(
            "language: expected a primary subtag of 1 to 8 letters, such as de - "
            f"found {tag[:50]!r}"
        )
    return tag.lower()


def parse_id_search(text: str) -> str:
    if len(text) < 2 or not auth.is_text(text):
        raise BadInput("text: expected at least 2 characters, none of them U+0000")
    return text


def parse_learners(ids: Sequence[str] | None) -> list[str] | None:
    """Return the ids of learners, sorted and without duplicates; None for all learners."""
    if ids is None:
        return None
    if not 1 <= len(ids) <= _MAX_LEARNERS:
        raise BadInput(
            f"learners: expected 1 to {_MAX_LEARNERS:,} ids, or null for all - found {len(ids)}"
        )
    return sorted({auth.parse_id("learners", text) for text in ids})


def parse_event_types(types: Sequence[str] | None) -> list[str] | None:
    """Return the event types to list; None for all types."""
    if types is None:
        return None
    if len(types) > _MAX_EVENT_TYPES:
        raise BadInput(f"types: expected at most {_MAX_EVENT_TYPES} types - found {len(types)}")
    return [auth.parse_id("types", name) for name in types]


def parse_operation_id(text: str) -> UUID:
    try:
        operation_id = UUID(text)
    except ValueError:
        operation_id = None
    if operation_id is None or str(operation_id) != text.lower():
        raise BadInput(f"id: expected the id of an operation, a UUID - found {text[:50]!r}")
    return operation_id


def parse_letter_ids(ids: Sequence[str]) -> list[int]:
    """Return the numbers of dead letters, sorted and without duplicates."""
    if not 1 <= len(ids) <= _MAX_LETTERS:
        raise BadInput(f"ids: expected 1 to {_MAX_LETTERS} ids - found {len(ids)}")
    for text in ids:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) < 2**63):
            raise BadInput(f"ids: expected ids of dead letters, such as 17 - found {text[:50]!r}")
    return sorted({int(text) for text in ids})


def parse_filter(name: str, text: str | None) -> str | None:
    """Return the text to compare with, or None; raise BadInput if PostgreSQL cannot store it."""
    if not isinstance(text, str):
        return None
    if not auth.is_text(text):
        raise BadInput(f"{name}: expected a text without U+0000 - found one")
    return text


def parse_reason(text: str) -> str:
    """Return the reason as it is stored: stripped, with e-mail addresses masked."""
    if not text.strip() or len(text) > _MAX_REASON_LENGTH or not auth.is_text(text):
        raise BadInput(
            f"reason: expected 1 to {_MAX_REASON_LENGTH} characters that say why, "
            "none of them U+0000"
        )
    return masking.mask_shapes(text.strip())


class Argument(NamedTuple):
    """An argument of a field: its GraphQL type, its default, and what a query gets for a value.

    Without a default, the argument is required. `name` is that in GraphQL, if it is another one.
    """

    type: object
    default: object = inspect.Parameter.empty
    parse: Callable[[Any], object] = lambda value: None if value is UNSET else value
    name: str | None = None


def counted(name: str, default: int, *, most: int = _MAX_PAGE_SIZE, least: int = 1) -> Argument:
    parse = functools.partial(_parse_count, name, most=most, default=default, least=least)
    return Argument(int | None, default, parse)


def _parse_length(by: str | None) -> rows.PeriodLength:
    return rows.PeriodLength(by or "DAY")


# The arguments of fields about one learner, by the names of the queries' parameters (`rows`).
OF_LEARNERS = {
    "start_date": Argument(date, name="from"),
    "end_date": Argument(date, name="to"),
    "zero_fill": Argument(bool | None, False, bool),
    "item_id": Argument(ID, parse=functools.partial(auth.parse_id, "itemId")),
    "list_id": Argument(ID, parse=functools.partial(parse_list, "listId")),
    "session_id": Argument(ID, parse=functools.partial(auth.parse_id, "id"), name="id"),
    "language": Argument(str | None, UNSET, parse_language),
    "scale": Argument(str | None, UNSET, parse_scale),
    "by": Argument(rows.PeriodLength | None, rows.PeriodLength.DAY, _parse_length),
    "kinds": Argument(list[rows.MilestoneKind] | None, UNSET),
    "on": Argument(date | None, UNSET, functools.partial(parse_day, "on")),
    "date": Argument(date, parse=_parse_local_day),
    "first": counted("first", 50),
    "as_of": Argument(datetime | None, UNSET),
    "known_at": Argument(datetime | None, UNSET),
}
