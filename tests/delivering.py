"""Messages as Pub/Sub pushes them."""

import base64
import itertools
import json
from collections.abc import Mapping
from typing import Any

PUBLISHED = "2024-05-01T12:00:00Z"
_numbers = itertools.count()


def pushed(
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
