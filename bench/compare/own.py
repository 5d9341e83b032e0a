"""Progress, as its functions use it."""

import asyncio
from collections.abc import Sequence

from bench import envelopes
from bench.compare.systems import Projected, measure
from bench.envelopes import Envelope
from bench.server import Store
from progress.event_store import log
from progress.event_store.log import Delivery, PostgresEventStore
from progress.projections.projector import Projector
from progress.query.read_models.queries import Queries
from progress.query.read_models.reader import Reader


class Own:
    """Progress; `project` folds all realtime read models."""

    def __init__(self, store: Store) -> None:
        self.store = store
        store.create_tables()
        self._connection = store.connect()
        self._projector = Projector(self._connection)
        self._loop = asyncio.Runner()
        self._reader = Reader(store.url)

    def encode(self, batch: Sequence[Envelope]) -> list[Delivery]:
        return [envelopes.delivery(list(batch))]

    def append(self, encoded: list[Delivery]) -> None:
        log.append(self._connection, encoded)

    def project(self) -> Projected:
        return measure(self.store, self._projector.catch_up_all)

    def read_streams(self, learners: Sequence[str]) -> list[int]:
        store = PostgresEventStore(self._connection)
        return [len(store.read_events(f"learner-{learner}")) for learner in learners]

    def count_sessions(self, learners: Sequence[str]) -> list[int]:
        return self._loop.run(self._count_sessions(learners))

    async def _count_sessions(self, learners: Sequence[str]) -> list[int]:
        queries, counts = Queries(self._reader), []
        for learner in learners:
            progress = await queries.get_current_progress(learner)
            assert progress, learner
            counts.append(progress.total_sessions_completed)
        return counts

    def close(self) -> None:
        self._loop.run(self._reader.close())
        self._loop.close()
        self._connection.close()
