"""`progress publish --wait` finds conflicts before it publishes, and counts arrived events."""

import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.event_store import arrivals, envelope, log
from progress.event_store.entries import Message, ParsedEvent
from progress.event_store.log import Delivery
from tests.support import envelopes

Event = dict[str, Any]

contents = st.fixed_dictionaries(
    {"event_type": st.sampled_from(["CorrectAnswerGiven", "Unheard"])},
    optional={
        "occurred_at": st.just("2024-03-29T20:32:32Z"),
        "metadata": st.sampled_from([{"user_id": "u"}, {"user_id": "v"}]),
    },
)


@given(first=contents, second=contents, is_started=st.booleans(), delay_s=st.integers(0, 1))
def test_a_conflict_is_found_if_and_only_if_ingest_reports_it(
    connection: Connection, first: Event, second: Event, is_started: bool, delay_s: int
) -> None:
    run = str(uuid.uuid4())
    if is_started:
        append(connection, parse(envelopes.session_started(run), 0))
    data = {"session_id": run, "item_id": "i", "response_time_ms": 5}
    append(connection, parse({"event_id": run, "data": data} | first, 0))
    repeated = parse({"event_id": run, "data": data} | second, delay_s)
    found = arrivals.find_conflicts(connection, [repeated])
    outcomes = append(connection, repeated)
    assert found == ({run} if outcomes.get("conflict") else set())


def test_arrived_events_are_counted_even_if_earlier_events_never_arrive(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events of an erased learner never arrive, because ingest drops them."""
    monkeypatch.setattr(arrivals, "_LOOKED_UP", 1)
    started = parse(envelopes.session_started("run"), 0)
    event_ids = [*(str(uuid.uuid4()) for _ in range(3)), started.event_id]
    before = arrivals.read_before(connection, event_ids)
    append(connection, started)

    def stop(arrived: int) -> None:
        raise KeyboardInterrupt(arrived)

    with pytest.raises(KeyboardInterrupt, match="1"):
        arrivals.await_arrivals(connection, event_ids, before, [], stop)


def parse(event: Event, second: int) -> ParsedEvent:
    published_at = datetime(2024, 3, 30, second=second, tzinfo=UTC)
    (parsed,) = envelope.decode(msgspec.json.encode(event), Message(published_at=published_at))
    assert isinstance(parsed, ParsedEvent)
    return parsed


def append(connection: Connection, event: ParsedEvent) -> dict[str, int]:
    delivery = Delivery(Message(message_id=str(uuid.uuid4())), [event])
    return log.append(connection, [delivery]).outcomes


def test_events_are_counted_by_what_has_become_of_them(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "_STALL_TIMEOUT_S", 2)
    monkeypatch.setattr(arrivals, "_POLL_INTERVAL_S", 0.01)
    monkeypatch.setattr(arrivals, "_LOOKED_UP", 2)
    earlier, waiting, new, odd, late, lost = (
        parse(envelopes.session_started(f"s{n}") if n < 4 else envelopes.answer(f"s{n}"), 0)
        for n in (1, 5, 2, 3, 4, 6)
    )
    append(connection, earlier)
    append(connection, waiting)  # its session is not known
    wanted = [event.event_id for event in (earlier, waiting, new, odd, late, lost)]
    before = arrivals.read_before(connection, wanted)
    assert before.recorded == {earlier.event_id}
    assert before.pending == {waiting.event_id}

    append(connection, new)
    append(connection, late)
    other = parse(envelopes.session_started("s3", items=7) | {"event_id": odd.event_id}, 0)
    append(connection, odd)
    append(connection, other)  # a conflict, which becomes a dead letter
    seen: list[int] = []

    def find_session(arrived: int) -> None:
        if not seen:  # `waiting` was pending when it was looked up
            append(connection, parse(envelopes.session_started("s5"), 0))
        seen.append(arrived)

    found = arrivals.await_arrivals(connection, wanted, before, [odd.event_id], find_session)
    assert found == arrivals.PublishedCounts(
        recorded=2, recorded_before=1, pending=1, dead_letters=1, missing=1, waiting={"s4": 1}
    )
    assert seen == [2, 4, 5]
