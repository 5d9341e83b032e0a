"""Events with times in the future: ingest records them later, and first makes dead letters."""

from collections.abc import Iterable
from datetime import datetime, timedelta

_MAX_AHEAD = timedelta(minutes=10)


def is_future(at: datetime, now: datetime) -> bool:
    """Return whether ingest makes a `future` dead letter of an event with this time."""
    return at > now + _MAX_AHEAD


def find_warning(times: Iterable[datetime], now: datetime) -> str | None:
    """Return a sentence about the future times and what happens to their events; None if none."""
    future = [at for at in times if is_future(at, now)]
    if not future:
        return None
    return (
        f"{len(future):,} of the events have a time more than 10 minutes ahead of the clock, the "
        f"first {min(future):%Y-%m-%dT%H:%M:%SZ}: they become dead letters of the kind `future`, "
        "and the scheduled job records each of them when its time is near"
    )
