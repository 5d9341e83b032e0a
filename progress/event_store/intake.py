"""What of the newest events does not count, or counts wrongly."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from progress import masking
from progress.event_store.events import EVENT_TYPES

_MOST_EDITS = 2


class IntakeKind(StrEnum):
    """What is wrong, in the order of findings."""

    UNDECLARED_TYPE = "UNDECLARED_TYPE"
    REFUSED_BY_DECLARATION = "REFUSED_BY_DECLARATION"
    UNDESCRIBED_ITEM = "UNDESCRIBED_ITEM"
    NO_ZONE = "NO_ZONE"
    NO_REVIEW = "NO_REVIEW"
    SESSION_WITHOUT_ANSWERS = "SESSION_WITHOUT_ANSWERS"
    ONE_INSTANT = "ONE_INSTANT"
    TIME_IN_SECONDS = "TIME_IN_SECONDS"
    TWICE = "TWICE"
    ALIKE_LEARNERS = "ALIKE_LEARNERS"
    NO_EFFECT = "NO_EFFECT"
    PENDING = "PENDING"


class IntakeFinding(msgspec.Struct, frozen=True):
    """Events that do not count, or count wrongly; without the id of a learner."""

    kind: IntakeKind
    name: str | None
    meant: str | None
    count: int
    newest: datetime
    example: str


class Intake(msgspec.Struct, frozen=True):
    """The findings among the newest 10,000 events of the last seven days."""

    events: int
    since: datetime | None
    findings: list[IntakeFinding]


def declared_types() -> list[str]:
    return [*EVENT_TYPES]


def from_rows(rows: Iterable[Sequence[Any]]) -> Intake:
    """Return the findings of the rows of sql/query/intake.sql; addresses in names are masked."""
    (_, _, events, since, _), *found = rows
    return Intake(events, since, [_finding(*row) for row in found])


def _finding(
    kind: str, name: str | None, count: int, newest: datetime, example: str
) -> IntakeFinding:
    meant = find_meant(name) if name and kind == IntakeKind.UNDECLARED_TYPE else None
    shown = name and masking.mask_shapes(name)
    return IntakeFinding(IntakeKind(kind), shown, meant, count, newest, example)


def find_meant(name: str) -> str | None:
    """Return the declared type with the nearest letters and digits; None if it is not near."""
    letters = _letters(name)
    near = [(_count_edits(letters, _letters(one)), one) for one in EVENT_TYPES]
    edits, nearest = min(near)
    return nearest if edits <= _MOST_EDITS else None


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold()


def _count_edits(one: str, other: str) -> int:
    """Return the Levenshtein distance."""
    if abs(len(one) - len(other)) > _MOST_EDITS:
        return _MOST_EDITS + 1
    row: list[int] = [*range(len(other) + 1)]
    for n, letter in enumerate(one, 1):
        edits = [n]
        for m, wanted in enumerate(other):
            edits.append(min(row[m] + (letter != wanted), row[m + 1] + 1, edits[m] + 1))
        row = edits
    return row[-1]
