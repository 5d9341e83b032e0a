"""Wait until published events have arrived: recorded, pending, or as dead letters."""

import time
from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks

_POLL_INTERVAL_S = 0.2
_STALL_TIMEOUT_S = 60.0
_LOOKED_UP = 5_000  # events per statement; messages arrive approximately in order


class Arrivals(msgspec.Struct, frozen=True):
    """The number of events by outcome; a conflict is both recorded and a dead letter.

    `missing` events did not arrive within a minute after the last other one. An event of an erased
    learner stays missing, because ingest drops it.
    """

    recorded: int
    pending: int
    dead_letters: int
    missing: int


def find_newest_dead_letter(connection: Connection) -> int:
    """Return the number of the newest dead letter; read it before the events are published."""
    letter_id: int = connection.run(blocks("event_store/arrivals")["newest dead letter"])[0][0]
    return letter_id


def await_arrivals(
    connection: Connection,
    event_ids: Iterable[str],
    letter_id: int,
    on_arrival: Callable[[int], None],
) -> Arrivals:
    """Wait until all events have arrived, or until no event arrives for a minute.

    `letter_id` is the result of `find_newest_dead_letter`; `on_arrival` gets the number of events
    that have arrived so far.
    """
    outcomes: dict[str, str] = {}
    wanted = left = [*dict.fromkeys(event_ids)]
    moved = time.monotonic()
    while left and time.monotonic() - moved <= _STALL_TIMEOUT_S:
        arrived = _read_outcomes(connection, left[:_LOOKED_UP], letter_id)
        if arrived:
            outcomes |= arrived
            left = [event_id for event_id in left if event_id not in arrived]
            moved = time.monotonic()
            on_arrival(len(outcomes))
        elif left:
            time.sleep(_POLL_INTERVAL_S)
    # An event that was pending or missing may be recorded by now.
    unsettled = [event_id for event_id in wanted if outcomes.get(event_id) in {None, "pending"}]
    for start in range(0, len(unsettled), _LOOKED_UP):
        outcomes |= _read_outcomes(connection, unsettled[start : start + _LOOKED_UP], letter_id)
    counts = Counter(outcomes.values())
    letters = blocks("event_store/arrivals")["dead letters"]
    return Arrivals(
        recorded=counts["recorded"],
        pending=counts["pending"],
        dead_letters=connection.run(letters, event_ids=wanted, letter_id=letter_id)[0][0],
        missing=len(wanted) - len(outcomes),
    )


def _read_outcomes(connection: Connection, event_ids: list[str], letter_id: int) -> dict[str, str]:
    rows = connection.run(
        blocks("event_store/arrivals")["outcomes"], event_ids=event_ids, letter_id=letter_id
    )
    return dict(rows)
