"""Every published payload is recorded, as events or as dead letters."""

import json

from hypothesis import given
from hypothesis import strategies as st

from progress.event_store import log
from progress.ingest import push
from tests.conftest import Store
from tests.support.pushes import encode_push

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.text('\0\ud800@{"\\'),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)
near_events = st.fixed_dictionaries(
    {},
    optional={
        "event_id": st.uuids().map(str) | json_values,
        "event_type": st.sampled_from(["UserCreated", "ItemPublished", "New"]) | json_values,
        "occurred_at": st.datetimes().map(lambda t: t.isoformat() + "Z") | json_values,
        "data": st.dictionaries(
            st.sampled_from(["user_id", "item_id", "email", "domains", "timezone", "type"]),
            json_values,
        )
        | json_values,
        "metadata": json_values,
    },
)
payloads = (
    st.binary(max_size=60)
    | json_values.map(lambda v: json.dumps(v).encode())
    | near_events.map(lambda v: json.dumps(v).encode())
    | st.lists(near_events | json_values, max_size=4).map(lambda v: json.dumps(v).encode())
)


@given(
    payload=payloads,
    attributes=st.dictionaries(
        st.sampled_from(["event_id", "event_type", "occurred_at", "user_id"]),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9),
    ),
)
def test_every_entry_of_any_payload_is_recorded(
    store: Store, payload: bytes, attributes: dict[str, str]
) -> None:
    connection = store.connect()
    delivery = push.parse_delivery(encode_push(payload, attributes=attributes))
    appended = log.append(connection, [delivery])
    connection.close()
    assert sum(appended.outcomes.values()) == len(delivery.entries)
