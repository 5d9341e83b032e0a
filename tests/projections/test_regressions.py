"""Former defects, each with the smallest log that exposes the defect."""

import pytest

from progress.event_store import dead_letters
from progress.projections import batch
from tests.conftest import Store
from tests.support import sample_events
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
