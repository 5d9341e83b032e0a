"""How long it takes to find what senders send and does not count, in a short and in a long log."""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from datetime import time as midnight

from bench import logs
from bench.lines import Line, Rounds
from bench.server import Server
from progress.adapters.postgres import database
from progress.event_store import intake

_DAYS, _ROUNDS = 18, 20
_LEARNERS = {"short": 130, "long": 13_000}  # with 770 events each


def compare_logs(server: Server) -> Iterator[Line]:
    """Compare the findings of a log of 10,000,000 events with those of one of 100,000."""
    stores, rounds = {name: server.create_store() for name in _LEARNERS}, Rounds()
    for name, learners in _LEARNERS.items():
        logs.fill_studies(stores[name], learners=learners, days=_DAYS, answers=20, fresh=2)
    asked = {
        "now": datetime.combine(logs.last_day() + timedelta(days=1), midnight(), UTC),
        "declared": intake.declared_types(),
    }
    for number in range(_ROUNDS + 2):
        for name, store in stores.items():
            with closing(store.connect()) as connection:
                for _ in range(2):  # the first one fills the session's caches
                    begin = time.perf_counter()
                    database.run(connection, "query/intake", "findings", **asked)
                    milliseconds = 1_000 * (time.perf_counter() - begin)
            if number > 1:
                rounds.add(name, milliseconds)
    what, against = "findings of senders in 10,000,000 events", "in 100,000:"
    yield rounds.compare_costs(what, "long", "short", against=against, bar=1.2)
