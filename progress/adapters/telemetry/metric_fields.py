"""The log fields that `metric_fields.json` declares; the alerts use the same file."""

from pathlib import Path
from typing import Literal

import msgspec


class MetricField(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A field that is recorded as a metric; its labels are fields of the same line or record."""

    kind: Literal["distribution", "count"]  # "count" counts the lines that have the field
    unit: str
    labels: tuple[str, ...]
    meaning: str
    limit: float | None = None  # from it on, a value is bad: a line in Grafana


class LogFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields that a line may have: metric fields, and context for people.

    The metrics in `exported` are in no line, because a fold has one value for each projection.
    """

    metric_fields: dict[str, MetricField]
    exported: dict[str, MetricField]
    context: tuple[str, ...]


_FILE = Path(__file__).with_name("metric_fields.json")


def load() -> LogFields:
    return msgspec.json.decode(_FILE.read_bytes(), type=LogFields)
