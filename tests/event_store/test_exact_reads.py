"""Events are read exactly as the columns of the log have them, whatever the session's settings."""

import asyncio
import json
import uuid
from contextlib import closing
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from progress.adapters.postgres.database import Connection
from progress.event_store import StoredEvent
from progress.event_store.log import PostgresEventStore
from progress.event_store.timestamps import EARLIEST
from progress.query.read_models.queries import Queries
from progress.query.read_models.reader import open_reader
from progress.query.read_models.rows import RecordedEvent
from tests.conftest import Store
from tests.support.pushes import record_push

LARGEST, STREAM = 10**308, "learner-ann"
STORED = """
SELECT global_position, event_id, stream_id, stream_version, event_type, event_data, metadata,
    occurred_at, created_at
FROM event_store.events ORDER BY global_position
"""
RECORDED = """
SELECT event_id::text, stream_id, stream_version, global_position::text, event_type, false,
    event_data::text, metadata ->> 'correlation_id', metadata ->> 'causation_id', 'UNDECLARED',
    metadata ->> 'posted_by', metadata ->> 'source_id', occurred_at, created_at
FROM event_store.events ORDER BY stream_version DESC
"""


def write_object(fields: dict[str, str]) -> str:
    return f"{{{','.join(f'{key}:{value}' for key, value in fields.items())}}}"


# JSON texts, because Python's numbers have fewer digits.
numbers = (
    st.integers(-LARGEST, LARGEST)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(-LARGEST, LARGEST)
    | st.sampled_from(["1.0", "1.00", "-0", "-0.0", "1e2", "1e308", "5e-324", "9" * 20])
).map(str)
texts = (
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
    | st.text('\u2028\u2029\x7f\x1f\r\n"\\/語😀')
).map(json.dumps)
values = st.recursive(
    numbers | texts | st.sampled_from(["null", "true", "false"]),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda found: f"[{','.join(found)}]")
        | st.dictionaries(texts, inner, max_size=4).map(write_object)
    ),
    max_leaves=9,
)
objects = st.dictionaries(texts, values, max_size=4)
events = st.fixed_dictionaries(
    {
        '"event_id"': st.builds(uuid.uuid4).map(lambda found: f'"{found}"'),
        '"event_type"': st.sampled_from(["Noted", '\u2028 "noted"']).map(json.dumps),
        '"occurred_at"': st.timedeltas(timedelta(), timedelta(days=9_000)).map(
            lambda since: f'"{(EARLIEST + since).isoformat()}"'
        ),
        '"data"': objects.map(lambda data: write_object({**data, '"user_id"': '"ann"'})),
        '"metadata"': objects.map(write_object),
    }
).map(write_object)


@given(
    appended=st.lists(events, min_size=1, max_size=4),
    setting=st.sampled_from(
        [
            "timezone = 'UTC'",
            "timezone = 'Pacific/Chatham'",
            "datestyle = 'SQL, DMY'",
            "intervalstyle = 'sql_standard'",
            "extra_float_digits = -15",
            "default_transaction_read_only = on",
        ]
    ),
)
def test_events_are_read_as_their_columns_have_them(
    store: Store, connection: Connection, appended: list[str], setting: str
) -> None:
    """Progress reads one JSON text for each event; the test reads the columns."""
    outcomes = record_push(connection, f"[{','.join(appended)}]".encode()).outcomes
    assert outcomes["appended"] == len(appended)
    stored = [StoredEvent(*row) for row in connection.run(STORED)]
    with closing(store.connect()) as session:
        session.run(f"SET {setting}")
        reader = PostgresEventStore(session)
        for _ in range(2):  # the second time, the statements are prepared
            assert exactly(reader.read_all_events(1, len(stored))) == exactly(stored)
            assert exactly(reader.read_events(STREAM)) == exactly(stored)
        noted = reader.read_events_by_type("Noted", EARLIEST, limit=len(stored))
    assert exactly(noted) == exactly([event for event in stored if event.event_type == "Noted"])
    assert asyncio.run(read_trail(store)) == [
        RecordedEvent(*row) for row in connection.run(RECORDED)
    ]


def exactly(found: list[StoredEvent]) -> list[tuple[StoredEvent, str]]:
    """Return each event with a text that tells 1 from 1.0, and shows the order of fields."""
    return [(event, f"{event.event_data} {event.metadata}") for event in found]


async def read_trail(store: Store) -> list[RecordedEvent]:
    async with open_reader(store.url) as reader:
        return await Queries(reader).get_recorded_events("ann", first=10_000)
