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
from progress.event_store.envelope import Message, ParsedEvent
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
