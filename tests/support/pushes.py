"""Messages as Pub/Sub pushes them, and the functions that take them, without a process."""

import base64
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import functions_framework
from werkzeug.test import Client

from progress.adapters.telemetry import tracing

_FUNCTIONS = Path(__file__).resolve().parents[2] / "functions"

PUBLISHED = "2024-05-01T12:00:00Z"
_numbers = itertools.count()


def encode_push(
    payload: bytes | list[Any] | dict[str, Any],
    *,
    message_id: str | None = None,
    attributes: Mapping[str, str] | None = None,
    publish_time: str = PUBLISHED,
) -> bytes:
    """The body of a raw push with this data; a new message id where none is given."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    message = {
        "data": base64.b64encode(data).decode(),
        "attributes": dict(attributes or {}),
        "messageId": message_id or f"m-{next(_numbers)}",
        "publishTime": publish_time,
    }
    return json.dumps(
        {"message": message, "subscription": "projects/p/subscriptions/s", "deliveryAttempt": 1}
    ).encode()


@contextmanager
def load_function(name: str) -> Iterator[Client]:
    """The function in this process, which is told what it is only as long as the block lasts."""
    source = str(_FUNCTIONS / name / "main.py")
    with mock.patch.dict(os.environ), mock.patch.object(tracing, "_service", tracing._service):
        yield Client(functions_framework.create_app(name, source))  # type: ignore[no-untyped-call] # theirs
