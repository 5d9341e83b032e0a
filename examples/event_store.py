"""Read a learner's events, and the progress before the last: python examples/event_store.py ID"""

import asyncio
import sys
from datetime import timedelta

from progress import settings
from progress.adapters.postgres import database
from progress.event_store import EventStore
from progress.event_store.log import PostgresEventStore
from progress.query.read_models.queries import Queries
from progress.query.read_models.reader import Reader

learner = sys.argv[1]
connection = database.connect(settings.current(), name="example")
store: EventStore = PostgresEventStore(connection)
queries = Queries(Reader(settings.current()))


async def print_progress() -> None:
    """Print the events of the learner's stream, and the progress before the newest of them."""
    events = store.read_events(f"learner-{learner}")
    for event in events:
        print(event.stream_version, event.event_type)
    before = max(event.occurred_at for event in events) - timedelta(microseconds=1)
    for when, as_of in (("now", None), ("before the last event", before)):
        progress = await queries.get_current_progress(learner, as_of=as_of)
        print(f"{when}: {progress.total_sessions_completed if progress else 0} sessions completed")
    await queries.reader.close()


asyncio.run(print_progress())
connection.close()
