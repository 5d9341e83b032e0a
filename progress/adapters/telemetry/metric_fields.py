"""The contract of the log's fields, `metric_fields.json`: the alerts read the same file."""

from pathlib import Path
from typing import Literal

import msgspec


class Signal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A field that alerts read; its labels are fields of the same line."""

    kind: Literal["distribution", "count"]  # of a number, or of a value's occurrences
    unit: str
    labels: tuple[str, ...]
    meaning: str


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be on a line: signals, and what only people read."""

    signals: dict[str, Signal]
    context: tuple[str, ...]


_FILE = Path(__file__).with_name("metric_fields.json")


def contract() -> Contract:
    """The contract, read."""
    return msgspec.json.decode(_FILE.read_bytes(), type=Contract)
