"""How long the events of one day take, of a learner with a long history and of one with a short."""

import asyncio
import time
from collections.abc import Iterator

from bench import logs
from bench.lines import Line, Rounds
from bench.server import Server, Store
from progress.query.read_models.queries import Queries
from progress.query.read_models.reader import open_reader

_ROUNDS = 40
_DAYS = {"short": 24, "long": 4_650}  # with 43 events each


def compare_histories(server: Server) -> Iterator[Line]:
    """Compare the last day of a learner with 200,000 events with that of one with 1,000."""
    stores, rounds = {name: server.create_store() for name in _DAYS}, Rounds()
    learners = {
        name: logs.fill_studies(stores[name], learners=1, days=days, answers=20, fresh=2)[0]
        for name, days in _DAYS.items()
    }
    for number in range(_ROUNDS):
        for name, store in stores.items():
            milliseconds = asyncio.run(_measure(store, learners[name]))
            if number > 1:
                rounds.add(name, milliseconds)
    what, against = "events of a day of a learner with 200,000", "with 1,000:"
    yield rounds.compare_costs(what, "long", "short", against=against, bar=1.5)


async def _measure(store: Store, learner: str) -> float:
    async with open_reader(store.url) as reader:
        for _ in range(2):  # the first one fills the session's caches
            begin = time.perf_counter()
            queries = Queries(reader)
            found = await queries.get_recorded_events(learner, first=200, day=logs.last_day())
            milliseconds = 1_000 * (time.perf_counter() - begin)
    if not found:
        raise RuntimeError(f"there are no events of {learner} on {logs.last_day()}")
    return milliseconds
