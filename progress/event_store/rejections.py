"""The entries of a message that are rejected: each alone, or the last of many in one bundle."""

import codecs
from collections.abc import Callable, Iterator, Mapping

from progress import masking
from progress.event_store import json_input, owners
from progress.event_store.entries import Message, Rejection

Mask = Callable[[str], str]

_BUNDLED = "expected at most 999 faulty entries in a message; this dead letter holds the others"
_ATTRIBUTES = frozenset(
    {"event_id", "event_type", "occurred_at", "user_id", "correlation_id", "causation_id"}
)


def reject(payload: bytes, index: int, reason: str, owner: str, mask: Mask) -> Rejection:
    payload, owner = owners.forget_learner(payload, owner)
    piece = json_input.PIECE  # a byte that is no UTF-8 takes 100 ns
    pieces = (payload[at : at + piece] for at in range(0, len(payload), piece))
    text = "".join(codecs.iterdecode(pieces, "utf-8", "backslashreplace")).replace("\0", "\\x00")
    return Rejection(
        index=index, kind="malformed", reason=reason, payload=mask(text), owners=[owner]
    )


def reject_bytes(payload: bytes, index: int, reason: str, owner: str = owners.UNKNOWN) -> Rejection:
    """Return a rejection of bytes that are not JSON, or that are no message."""
    return reject(payload, index, reason, owner, masking.mask_shapes)


def keep_event_attributes(attributes: dict[str, str]) -> dict[str, str]:
    """Return the masked attributes that a replay may use to fill in missing fields of an event."""
    return {n: masking.mask_shapes(v) for n, v in attributes.items() if n in _ATTRIBUTES}


def drop_event_id(attributes: dict[str, str]) -> dict[str, str]:
    """Return the attributes without `event_id`, which cannot belong to all events of an array."""
    return {name: value for name, value in attributes.items() if name != "event_id"}


class Bundle:
    """Faulty entries in the order of their indexes; a range has adjacent ones of the same owner."""

    def __init__(self) -> None:
        self.ranges: list[list[int]] = []  # the first and the last index of each
        self.owners: list[str] = []  # of each range
        self._texts: list[bytearray] = []

    def add(self, part: bytes, index: int, owner: str) -> None:
        """Add an entry; `index` is greater than the index of the previous entry."""
        part, owner = owners.forget_learner(part, owner)
        if b"@" in part or b"\\u0040" in part:
            part = masking.mask_json(part.decode("utf-8", "backslashreplace")).encode()
        if self.ranges and self.ranges[-1][1] == index - 1 and self.owners[-1] == owner:
            self.ranges[-1][1] = index
            self._texts[-1] += b"," + part
        else:
            self.ranges.append([index, index])
            self.owners.append(owner)
            self._texts.append(bytearray(part))

    def to_rejection(self, message: Message) -> Rejection:
        attributes = drop_event_id(message.attributes)
        if {*self.owners} == {owners.NOBODY}:
            attributes.pop("user_id", None)
        return Rejection(
            index=self.ranges[0][0],
            kind="malformed",
            reason=_BUNDLED,
            payload="",
            attributes=keep_event_attributes(attributes),
            owners=self.owners,
            indexes=self.ranges,
            texts=[text.decode("utf-8", "backslashreplace") for text in self._texts],
        )


def split_bundle(payload: bytes, ranges: list[list[int]]) -> Iterator[tuple[int, bytes]]:
    parts = json_input.elements(payload) or []
    return zip((i for first, last in ranges for i in range(first, last + 1)), parts, strict=True)


def read_owners(
    payload: bytes, ranges: list[list[int]] | None, attributes: Mapping[str, str]
) -> tuple[list[str], list[list[int]] | None]:
    """Return the owners of a stored dead letter and, of a bundle, the ranges of these owners.

    An owner whose id is masked is unknown. In a bundle that an earlier version has stored, null
    stands for an entry that an erasure has removed.
    """
    if ranges is None:
        return [_find_unmasked(payload, attributes)], None
    bundle = Bundle()
    try:
        for index, part in split_bundle(payload, ranges):
            is_removed = part == b"null"
            owner = owners.NOBODY if is_removed else _find_unmasked(part, attributes)
            bundle.add(b"", index, owner)
    except ValueError:  # the stored payload was changed
        return [owners.UNKNOWN] * len(ranges), ranges
    return bundle.owners, bundle.ranges


def _find_unmasked(part: bytes, attributes: Mapping[str, str]) -> str:
    owner = owners.find(part, attributes)
    return owners.UNKNOWN if masking.MASKED in owner else owner
