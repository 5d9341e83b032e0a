"""The bundle: one letter for all of a message's faulty entries after the first 999."""

from collections.abc import Iterable, Iterator

MOST_LETTERS = 999  # of the malformed and invalid entries of one message; the others share one more

REASON = "expected at most 999 faulty entries in a message; these are the others"


class Bundle:
    """Faulty entries as they were received, and the places in the message where they stood."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []  # first and last index of entries that stood in a row
        self._text = bytearray(b"[")

    def add(self, part: bytes, index: int) -> None:
        """Put one more entry in; indexes only grow."""
        if self.runs:
            self._text += b","
        self._text += part
        if self.runs and self.runs[-1][1] == index - 1:
            self.runs[-1][1] = index
        else:
            self.runs.append([index, index])

    def payload(self) -> bytes:
        """A JSON array of the entries."""
        return bytes(self._text + b"]")


def indexes(runs: Iterable[list[int]]) -> Iterator[int]:
    """The places that a bundle's runs stand for."""
    for first, last in runs:
        yield from range(first, last + 1)


def is_faulty(part: bytes) -> bool:
    """Tell at a glance that an array's element is malformed; False where it has to be read.

    An event has an event_id of its own, however its letters are escaped.
    """
    return part[:1] != b"{" or (b"event_id" not in part and b"\\" not in part)
