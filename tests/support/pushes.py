"""Encode Pub/Sub's push requests. Load the functions of `functions/` into the test process."""

import base64
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import functions_framework
import pytest
from werkzeug.test import Client

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.adapters.telemetry import tracing
from progress.event_store import Appended, log
from progress.ingest import push
from tests.support.fake_publisher import FakePublisher, forget_outages

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


def record_push(connection: Connection, payload: Any, **options: Any) -> Appended:
    return log.append(connection, [push.parse_delivery(encode_push(payload, **options))])


@contextmanager
def load_ingest(
    database_url: str, publisher: FakePublisher, environment: Mapping[str, str] | None = None
) -> Iterator[Client]:
    with ExitStack() as stack:
        stack.callback(settings.current.cache_clear)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        patch.setenv("DATABASE_URL", database_url)
        patch.setenv("PUBSUB_EMULATOR_HOST", publisher.address)
        settings.current.cache_clear()
        forget_outages()
        yield stack.enter_context(load_function("ingest"))


@contextmanager
def load_function(name: str) -> Iterator[Client]:
    source = str(_FUNCTIONS / name / "main.py")
    with mock.patch.dict(os.environ), mock.patch.object(tracing, "_service", tracing._service):
        yield Client(functions_framework.create_app(name, source))  # type: ignore[no-untyped-call] # no types
