"""What arguments may be; BadInput says which one is not, and what was expected."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from progress import masking
from progress.errors import BadInput
from progress.query import auth

_LONGEST = 731  # days of a range
_LARGEST = 200  # entries of a page
_FARTHEST = 366  # days of a forecast
_MOST = 200  # letters of a mutation
_TYPES = 50  # of events: each recorded event is compared with each
_WORDY = 1_000  # characters of a reason


def check_range(first_day: date, last_day: date) -> None:
    """From and to: in this order, not too far apart, and away from the ends of the calendar."""
    if first_day > last_day:
        raise BadInput(f"from: expected a day that is not after to - found {first_day}, {last_day}")
    days = (last_day - first_day).days + 1
    if days > _LONGEST:
        raise BadInput(f"from, to: expected at most {_LONGEST} days - found {days}")
    if first_day.year == date.min.year or last_day.year == date.max.year:
        raise BadInput(f"from, to: expected the years 2 to 9998 - found {first_day}, {last_day}")


def page_size(first: int | None, *, default: int = 50) -> int:
    """How many entries of a list to answer."""
    if first is None:
        return default
    if not 1 <= first <= _LARGEST:
        raise BadInput(f"first: expected an integer from 1 to {_LARGEST} - found {first}")
    return first


def forecast_days(days: int | None, *, default: int = 14) -> int:
    """How many days to look ahead."""
    if days is None:
        return default
    if not 1 <= days <= _FARTHEST:
        raise BadInput(f"days: expected an integer from 1 to {_FARTHEST} - found {days}")
    return days


def identity(name: str, text: str) -> str:
    """The id of a learner or an item."""
    if not auth.is_id(text):
        raise BadInput(f"{name}: expected 1 to 200 characters, none of them U+0000")
    return text


def event_types(types: Sequence[str] | None) -> list[str] | None:
    """The types of events to list; None: all."""
    if types is None:
        return None
    if len(types) > _TYPES:
        raise BadInput(f"types: expected at most {_TYPES} of them - found {len(types)}")
    return [identity("types", each) for each in types]


def operation_id(text: str) -> UUID:
    """The id of an operation."""
    try:
        found = UUID(text)
    except ValueError:
        found = None
    if found is None or str(found) != text.lower():
        raise BadInput(f"id: expected the id of an operation, a UUID - found {text[:50]!r}")
    return found


def letter_ids(ids: Sequence[str]) -> list[int]:
    """The numbers of dead letters, each once, in their order."""
    if not 1 <= len(ids) <= _MOST:
        raise BadInput(f"ids: expected 1 to {_MOST} ids - found {len(ids)}")
    for each in ids:
        if not (each.isascii() and each.isdigit() and len(each) < 20 and 1 <= int(each) < 2**63):
            raise BadInput(f"ids: expected ids of dead letters, as 17 - found {each[:50]!r}")
    return sorted({int(each) for each in ids})


def reason(text: str) -> str:
    """Why something is done, as it is kept: without an address."""
    if not text.strip() or len(text) > _WORDY or not auth.is_text(text):
        raise BadInput(
            f"reason: expected 1 to {_WORDY} characters that say why, none of them U+0000"
        )
    return masking.mask_shapes(text.strip())
