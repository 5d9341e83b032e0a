"""Events of the last days, which reach milestones that are told."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from tests.support import sample_events

T = TypeVar("T")


def ask_within(seconds: int, ask: Callable[[], T]) -> T:
    """Return the answer of a call that begins and ends in one clock minute, hour or day of UTC."""
    while True:
        began = time.time() // seconds
        answer = ask()
        if time.time() // seconds == began:
            return answer


def ago(days: int) -> datetime:
    return datetime.now(UTC) - timedelta(days=days, seconds=1)


def noon_zone() -> str:
    """Return a zone where it is about noon, on the day of UTC."""
    return f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"


def study(user: str, days: int, answers: int = 0) -> list[dict[str, Any]]:
    session = f"{uuid.uuid4()}"
    answer = {"session_id": session, "response_time_ms": 5}
    events = [
        ("SessionStarted", {"session_id": session, "user_id": user, "item_count": answers}),
        *(("CorrectAnswerGiven", {**answer, "item_id": f"i{n}"}) for n in range(answers)),
        ("SessionCompleted", {"session_id": session, "score": 80, "duration_seconds": 61}),
    ]
    return [sample_events.envelope(*each, at=ago(days)) for each in events]


def of(kind: str, user: str, days: int, **data: object) -> dict[str, Any]:
    return sample_events.envelope(kind, {"user_id": user, **data}, at=ago(days))
