"""Typed records: the events of the log, and the lag of each projection behind the log."""

from datetime import datetime
from enum import StrEnum

import msgspec


class LagStatus(StrEnum):
    """The status of a projection: NORMAL if it keeps up with the log, else CRITICAL."""

    NORMAL = "NORMAL"
    CRITICAL = "CRITICAL"


class ProjectionStatus(msgspec.Struct, frozen=True):
    """The lag of a projection behind the log."""

    name: str
    realtime: bool
    events_behind: int
    seconds_behind: float
    status: LagStatus
    updated_at: datetime | None


class RecordedEvent(msgspec.Struct, frozen=True):
    """A recorded event; `data` is JSON."""

    event_id: str
    stream_id: str
    stream_version: int
    global_position: str  # text, because some JSON parsers lose digits of a 64-bit number
    event_type: str
    data: str
    correlation_id: str | None
    causation_id: str | None
    occurred_at: datetime
    recorded_at: datetime
