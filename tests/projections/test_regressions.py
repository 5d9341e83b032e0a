"""Former defects, each with the smallest log that exposes the defect."""

import itertools

import pytest

from progress.adapters.postgres.database import Connection
from progress.event_store import dead_letters
from progress.projections import batch
from progress.projections.projector import Projector
from tests.conftest import Store
from tests.support import model_rows, sample_events
from tests.support.stage import append, connect

NUMBERS = ("response_time_ms", "new_interval", "easiness_factor", "score", "duration_seconds")


@pytest.mark.parametrize("extra", ["good", "", 0.5, True, [1], {"a": 1}, 1e300])
def test_a_field_that_only_another_event_type_declares_is_ignored(
    store: Store, extra: object
) -> None:
    events = [
        *sample_events.lesson("ann", 1),
        sample_events.item_published("i1"),
        sample_events.envelope("SessionAbandoned", {"session_id": "ann-1"}, at=sample_events.BEGIN),
        sample_events.envelope(
            "UserPreferencesChanged", {"user_id": "ann"}, at=sample_events.BEGIN
        ),
        sample_events.envelope("NobodyDeclaredIt", {"user_id": "ann"}, at=sample_events.BEGIN),
    ]
    for event in events:
        event["data"] = {**dict.fromkeys(NUMBERS, extra), **event["data"]}
    connection = connect(store.url)
    append(connection, events)
    batch.run(connection)
    assert not dead_letters.list_letters(connection)
    assert not sample_events.find_differences(connection)
    connection.close()


def test_the_order_in_which_preferences_arrive_does_not_change_the_zones_in_force(
    connection: Connection,
) -> None:
    # The zones of three simultaneous events, in the order of the events' ids.
    zones = ("UTC", "Asia/Kathmandu", "UTC")
    orders = list(itertools.permutations(enumerate(zones)))
    for turn in range(len(zones)):
        append(connection, [_preference(f"l{n}", *order[turn]) for n, order in enumerate(orders)])
        Projector(connection).catch_up_all()
    append(connection, [_preference("at-once", *preference) for preference in enumerate(zones)])
    Projector(connection).catch_up_all()
    rows = {row.pop("user_id"): row for row in model_rows.read_table(connection, "zones_in_force")}
    assert len(rows) == len(orders) + 1
    assert len({str(row) for row in rows.values()}) == 1


def _preference(user: str, number: int, zone: str) -> sample_events.Envelope:
    """Return a preference event whose id begins with `number`."""
    data = {"user_id": user, "timezone": zone}
    event = sample_events.envelope("UserPreferencesChanged", data, at=sample_events.BEGIN)
    return event | {"event_id": f"{number}{event['event_id'][1:]}"}
