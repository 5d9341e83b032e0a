"""Bundles of faulty entries.

If a message has more than 999 faulty entries, the first 999 become separate dead letters. All
others share one dead letter, the bundle.
"""

from collections.abc import Iterable, Iterator

MOST_REJECTIONS = 999  # at most this many entries of a message get separate dead letters

REASON = "expected at most 999 faulty entries in a message; this dead letter holds the others"


class Bundle:
    """Faulty entries as they were received, and their indexes in the message."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []  # first and last index of each run of adjacent entries
        self._text = bytearray(b"[")

    def add(self, part: bytes, index: int) -> None:
        """Add an entry; `index` is greater than the index of the previous entry."""
        if self.runs:
            self._text += b","
        self._text += part
        if self.runs and self.runs[-1][1] == index - 1:
            self.runs[-1][1] = index
        else:
            self.runs.append([index, index])

    def payload(self) -> bytes:
        """Return the entries as a JSON array."""
        return bytes(self._text + b"]")


def indexes(runs: Iterable[list[int]]) -> Iterator[int]:
    """Yield, for each entry of a bundle, its index in the message."""
    for first, last in runs:
        yield from range(first, last + 1)


def is_malformed(part: bytes) -> bool:
    """Return True if an array element is certainly malformed, False if only decoding can tell.

    An event in an array is an object with the key `event_id`. If the element contains a backslash,
    the key may be written with escapes.
    """
    return part[:1] != b"{" or (b"event_id" not in part and b"\\" not in part)
