"""What the compared systems have in common: they append events, project them, and answer queries.

Each system has its own database on the same server, and calls it from this process.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from bench.envelopes import Envelope
from bench.server import Server, Store

SESSION = "SessionCompleted"  # the type that `count_sessions` counts


class Projected(NamedTuple):
    """The folded events, the seconds, and the CPU time of the database's sessions."""

    events: int
    seconds: float
    cpu_seconds: float


class System(Protocol):
    """A system with an empty database."""

    store: Store

    def encode(self, batch: Sequence[Envelope]) -> Any:
        """Return new events in the form that `append` takes; the time for this is not measured."""
        ...

    def append(self, encoded: Any) -> None:
        """Store the events in one transaction."""
        ...

    def project(self) -> Projected:
        """Fold all new events into the read models."""
        ...

    def read_streams(self, learners: Sequence[str]) -> list[int]:
        """Read all events of each learner, one learner after the other; return their numbers."""
        ...

    def count_sessions(self, learners: Sequence[str]) -> list[int]:
        """Read each learner's completed sessions from a read model, one after the other."""
        ...

    def close(self) -> None: ...


@contextlib.contextmanager
def open_all(
    server: Server, kinds: Mapping[str, Callable[[Store], System]], *, waits_for_disk: bool = True
) -> Iterator[dict[str, System]]:
    """Create a database for each system; drop the databases after the `with` block."""
    with contextlib.ExitStack() as cleanup:
        opened: dict[str, System] = {}
        for name, kind in kinds.items():
            store = server.create_database(waits_for_disk=waits_for_disk)
            cleanup.callback(server.drop, store)
            opened[name] = kind(store)
            cleanup.callback(opened[name].close)
        yield opened


def measure(store: Store, project: Callable[[], int]) -> Projected:
    """Measure a call that folds events in the store's open sessions and returns their number."""
    spent, begin = store.cpu_microseconds(), time.perf_counter()
    events = project()
    seconds = time.perf_counter() - begin
    return Projected(events, seconds, (store.cpu_microseconds() - spent) / 1e6)
