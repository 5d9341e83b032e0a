"""Compare events with the log before they are published, and wait until they have arrived."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.event_store.entries import ParsedEvent

_FILE = "event_store/arrivals"
_POLL_INTERVAL_S = 0.2
_STALL_TIMEOUT_S = 60.0
# The number of ids that one statement looks up. Messages arrive approximately in the order of their
# publication, so each poll looks up only the first missing ids. If none of these events has
# arrived, the next poll looks up the following ids.
_LOOKED_UP = 5_000
_COMPARED = 100  # events per statement; few, because one event may have a megabyte

_T = TypeVar("_T")


class Before(msgspec.Struct, frozen=True):
    """The newest dead letter before a publication, and the ids that were recorded or pending.

    A pending event has arrived, but is recorded only when its learner is known.
    """

    letter_id: int
    recorded: frozenset[str]
    pending: frozenset[str]


class PublishedCounts(msgspec.Struct, frozen=True):
    """The number of events by outcome.

    `recorded_before` counts the events that the log had already, with the same content. `missing`
    counts the events that had still not arrived after a minute without any arrival. An event of
    an erased learner stays missing, because ingest drops it. `waiting` maps each session without a
    SessionStarted to the number of its events that are pending.
    """

    recorded: int
    recorded_before: int
    pending: int
    dead_letters: int
    missing: int
    waiting: dict[str, int] = {}


def read_before(connection: Connection, event_ids: Iterable[str]) -> Before:
    """Read the state before events with these ids are published."""
    letter_id = database.run(connection, _FILE, "newest dead letter")[0][0]
    outcomes: dict[str, str] = {}
    for part in _slice([*dict.fromkeys(event_ids)], _LOOKED_UP):
        outcomes |= _read_outcomes(connection, part, letter_id, [])
    return Before(
        letter_id,
        frozenset(event_id for event_id in outcomes if outcomes[event_id] == "recorded"),
        frozenset(event_id for event_id in outcomes if outcomes[event_id] == "pending"),
    )


def find_conflicts(connection: Connection, events: list[ParsedEvent]) -> set[str]:
    """Return the ids of those events that are recorded with other content."""
    conflicts: set[str] = set()
    for part in _slice(events, _COMPARED):
        events_json = msgspec.json.encode(part).decode()
        rows = database.run(connection, _FILE, "conflicts", events=events_json)
        conflicts |= {event_id for (event_id,) in rows}
    return conflicts


def await_arrivals(
    connection: Connection,
    event_ids: Iterable[str],
    before: Before,
    conflicts: Iterable[str],
    on_arrival: Callable[[int], None],
) -> PublishedCounts:
    """Wait until all events have arrived, or until no event arrives for a minute.

    An event whose id is in `conflicts` counts as arrived when it has become a dead letter.
    `on_arrival` gets the number of events that have arrived so far.
    """
    wanted = [*dict.fromkeys(event_ids)]
    refused = [*dict.fromkeys(conflicts)]
    outcomes: dict[str, str] = {}
    left, moved = wanted, time.monotonic()
    while left and time.monotonic() - moved <= _STALL_TIMEOUT_S:
        arrived = _read_outcomes(connection, left[:_LOOKED_UP], before.letter_id, refused)
        if arrived:
            outcomes |= arrived
            left = [event_id for event_id in left if event_id not in arrived]
            moved = time.monotonic()
            on_arrival(len(outcomes))
        else:
            left = left[_LOOKED_UP:] + left[:_LOOKED_UP]  # the first ids may never arrive
            time.sleep(_POLL_INTERVAL_S)
    # An event that was pending or missing may be recorded by now.
    unsettled = [event_id for event_id in wanted if outcomes.get(event_id) in {None, "pending"}]
    for part in _slice(unsettled, _LOOKED_UP):
        outcomes |= _read_outcomes(connection, part, before.letter_id, refused)
    return _count_outcomes(connection, wanted, outcomes, before)


def _count_outcomes(
    connection: Connection, wanted: list[str], outcomes: dict[str, str], before: Before
) -> PublishedCounts:
    values = {"event_ids": wanted, "letter_id": before.letter_id}
    pending = [event_id for event_id in outcomes if outcomes[event_id] == "pending"]
    waiting = database.run(connection, _FILE, "waiting", event_ids=pending) if pending else []
    recorded = Counter(
        event_id in before.recorded for event_id in outcomes if outcomes[event_id] == "recorded"
    )
    return PublishedCounts(
        recorded=recorded[False],
        recorded_before=recorded[True],
        pending=len(pending),
        dead_letters=database.run(connection, _FILE, "dead letters", **values)[0][0],
        missing=len(wanted) - len(outcomes),
        waiting=dict(waiting),
    )


def _slice(rows: list[_T], size: int) -> list[list[_T]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _read_outcomes(
    connection: Connection, event_ids: list[str], letter_id: int, conflicts: list[str]
) -> dict[str, str]:
    values = {"event_ids": event_ids, "letter_id": letter_id, "conflicts": conflicts}
    return dict(database.run(connection, _FILE, "outcomes", **values))
