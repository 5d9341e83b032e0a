"""Chunks of work: each chunk is one transaction, and should take about a quarter of a second.

Between two chunks, the worker can stop.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

Check = Callable[[], None]

_TARGET_S = 0.25
_FIRST_SHARE = 10  # The first chunk has a tenth of the largest size.
_MOST_GROWTH = 2.0  # A chunk is at most twice as large as the chunk before it.


class Chunks:
    """The size of the next chunk, adapted to the time that the last one took.

    `check` is called before each chunk; it raises an error if the work must stop.
    """

    def __init__(self, largest: int, check: Check) -> None:
        self._largest, self._check = largest, check
        self._size = max(1, largest // _FIRST_SHARE)

    @contextlib.contextmanager
    def next(self) -> Iterator[int]:
        """Yield the size of the next chunk, and measure how long the `with` block takes."""
        self._check()
        begin = time.monotonic()
        yield self._size
        self._size = adapt(self._size, time.monotonic() - begin, self._largest)


def adapt(size: int, seconds: float, largest: int) -> int:
    """Return the size of the next chunk after a chunk of `size` took `seconds`."""
    growth = min(_MOST_GROWTH, _TARGET_S / max(seconds, 1e-3))
    return max(1, min(largest, int(size * growth)))
