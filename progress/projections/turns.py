"""How much the project function of one machine does at the same time: its sessions are counted.

Under `progress serve`, each process calls it by itself, also for what another one called for.
"""

import contextlib
import threading
from collections.abc import Iterator

from progress.errors import OperationClaimed
from progress.projections import projector

OPERATIONS = 2  # each may have two sessions


class Turns:
    """So many wake-ups at a time, one for each shard; what has to wait is noted."""

    def __init__(self, wakes: int) -> None:
        self._wakes = wakes
        self._noted: dict[int, int] = {}  # the shards, with the delay of their events in ms
        self._busy: set[int] = set()
        self._mutex = threading.Lock()
        self._operations = 0

    def wake(self, shard: int, event_delay_ms: int) -> None:
        """Fold the shard, or let a wake-up that is under way do so; then do what was noted.

        After an error, what is noted waits for the next call.
        """
        with self._mutex:
            self._noted[shard] = event_delay_ms
        while taken := self._take():
            try:
                projector.wake(*taken)
            finally:
                with self._mutex:
                    self._busy.discard(taken[0])

    @contextlib.contextmanager
    def operation(self) -> Iterator[None]:
        """Let the block run one; raise OperationClaimed, without a note, if others are in place."""
        with self._mutex:
            if self._operations == OPERATIONS:
                raise OperationClaimed(f"{OPERATIONS} other operations run: call again later")
            self._operations += 1
        try:
            yield
        finally:
            with self._mutex:
                self._operations -= 1

    def _take(self) -> tuple[int, int] | None:
        with self._mutex:
            waiting = (shard for shard in self._noted if shard not in self._busy)
            shard = next(waiting, None) if len(self._busy) < self._wakes else None
            if shard is None:
                return None
            self._busy.add(shard)
            return shard, self._noted.pop(shard)
