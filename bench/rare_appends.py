"""The append of 10,000 unusual events in one message, compared with that of 10,000 new events."""

import itertools
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from bench import envelopes
from bench.append import measure_call
from bench.envelopes import Envelope
from bench.lines import Line, Rounds
from bench.server import Server
from progress.adapters.postgres.database import Connection
from progress.event_store import log

_EVENTS, _ROUNDS = 10_000, 3
_BAR = 20.0
_KINDS = (
    "redelivered",
    "conflicts",
    "recorded before their session's start",
    "recorded before their session's start, then redelivered",
    "released by their session's start",
)


def compare_with_new(server: Server) -> Iterator[Line]:
    """Compare the append of each kind of unusual event with the append of new events.

    The last kind is one session start, which releases all answers that wait for it.
    """
    store, rounds = server.create_store(), Rounds()
    source = envelopes.endless(seed=7)
    with closing(store.connect()) as connection:
        for number in range(_ROUNDS):
            new = list(itertools.islice(source, _EVENTS))
            waiting = [_answer(f"late-{number}") for _ in range(_EVENTS)]
            others = [event | {"occurred_at": "2024-01-01T00:00:00Z"} for event in new]
            start = [_start(f"late-{number}")]
            messages = (new, new, others, waiting, waiting, start)
            for what, events in zip(("new", *_KINDS), messages, strict=True):
                rounds.add(what, _append(connection, events))
    server.drop(store)
    for what in _KINDS:
        yield Line(
            f"append of {_EVENTS:,} events, {what}",
            f"{rounds.median(what):.2f} s",
            f"new events: {rounds.median('new'):.2f} s",
            rounds.ratio(what, "new"),
            _BAR,
            at_most=True,
        )


def _append(connection: Connection, events: list[Envelope]) -> float:
    delivery = envelopes.delivery(events)
    return measure_call(lambda message: log.append(connection, [message]), delivery)


def _answer(session: str) -> Envelope:
    data = {"session_id": session, "item_id": "item-1", "response_time_ms": 900}
    return _event("CorrectAnswerGiven", data)


def _start(session: str) -> Envelope:
    data = {"session_id": session, "user_id": session, "item_count": 1}
    return _event("SessionStarted", data)


def _event(kind: str, data: dict[str, Any]) -> Envelope:
    return {
        "event_id": str(uuid.uuid4()),
        "event_type": kind,
        "occurred_at": "2024-03-01T00:00:00Z",
        "data": data,
    }
