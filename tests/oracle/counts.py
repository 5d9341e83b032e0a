"""What became of each recorded event in the numbers, by the log alone."""

from collections.abc import Callable, Collection, Sequence
from datetime import date, datetime
from uuid import UUID

from tests.oracle.days import day_of
from tests.oracle.events import (
    ASSIGNMENTS,
    CATALOGUE,
    LEARNERS,
    RETRACTABLE,
    Event,
    event_uuid,
    is_acceptable,
    rest_date,
    see,
)
from tests.oracle.standing import rest_days

_DECLARED = (*LEARNERS, *CATALOGUE, *ASSIGNMENTS)


class Counts:
    """A log, the events of which make a fold fail (`poisoned`), and whether it is folded."""

    def __init__(
        self, log: Sequence[Event], poisoned: Collection[UUID], now: datetime, *, is_folded: bool
    ) -> None:
        self.log, self.poisoned, self.is_folded = log, poisoned, is_folded
        self.valid = [e for e in log if e.event_id not in poisoned and is_acceptable(e)]
        self.world = see(self.valid if is_folded else [], now)

    def day(self, event: Event) -> date:
        user = event.user_id
        if user is None or user in self.world.deleted:
            return event.occurred_at.date()
        return day_of(self.world, user, event.occurred_at)

    def of(self, event: Event) -> str:
        """Return the first answer that is true of the event."""
        user = event.user_id or ""
        answers: dict[str, Callable[[], bool]] = {
            "NOBODYS": lambda: user in self.world.deleted,
            "POISONED": lambda: event.event_id in self.poisoned,
            "UNDECLARED": lambda: event.type not in _DECLARED,
            "REFUSED": lambda: not is_acceptable(event),
            "NOT_YET": lambda: not self.is_folded,
            "RETRACTED": lambda: self.is_retracted(event),
            "SECOND_COMPLETION": lambda: (
                event.type == "SessionCompleted" and event not in self.world.completions(user)
            ),
            "WITHOUT_EFFECT": lambda: self._is_vain(event, user),
            "COUNTED": lambda: True,
        }
        return next(name for name, is_true in answers.items() if is_true())

    def is_retracted(self, event: Event) -> bool:
        """Return whether a recorded retraction takes the event out, folded or not."""
        return event.type in RETRACTABLE and bool(
            self._retractions(event.user_id or "", event.event_id)
        )

    def _retractions(self, user: str, event_id: UUID) -> list[Event]:
        """Return the retractions of an event, the first one first."""
        of_user = (e for e in self.valid if (e.user_id, e.type) == (user, "EventRetracted"))
        found = (e for e in of_user if event_uuid(e.data["retracted_event_id"]) == event_id)
        return sorted(found, key=lambda e: e.when)

    def _is_vain(self, event: Event, user: str) -> bool:
        if event.type == "EventRetracted":
            named = event_uuid(event.data["retracted_event_id"])
            there = [e for e in self.log if (e.user_id, e.event_id) == (user, named)]
            is_first = self._retractions(user, named)[0] is event
            return not is_first or not any(e.type in RETRACTABLE for e in there)
        if event.type == "RestDayTaken":
            taken = self.world.of(user, "RestDayTaken")
            same = [e for e in taken if rest_date(e) == rest_date(event)]
            return rest_date(event) not in rest_days(self.world, user) or same[0] is not event
        return False
