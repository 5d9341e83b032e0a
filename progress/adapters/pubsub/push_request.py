"""A Pub/Sub push request: its method, its envelope, its span, its HTTP status and its log line.

POST delivers a push, raw or as an Eventarc CloudEvent. GET is a health check.
"""

import time
import traceback
from typing import TYPE_CHECKING, Self

import msgspec

from progress.adapters.telemetry import logs, tracing
from progress.adapters.telemetry.spans import Attributes
from progress.errors import LettersFull, OperationClaimed, ProgressError, SerializationError

if TYPE_CHECKING:  # the commands parse messages without Flask
    from flask.typing import ResponseReturnValue

_ATTRIBUTES = {
    "messaging.system": "gcp_pubsub",
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
}
_ALLOWED = ("GET", "POST")


class PushedMessage(msgspec.Struct, rename="camel"):
    message_id: str = ""
    publish_time: str | None = None
    data: bytes | None = None
    attributes: dict[str, str] | None = None


class PushEnvelope(msgspec.Struct, rename="camel"):
    message: PushedMessage
    subscription: str = ""


_decoder = msgspec.json.Decoder(PushEnvelope)


def parse(body: bytes | bytearray) -> PushEnvelope:
    """Parse the body of a push request; raise SerializationError if it is invalid."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise SerializationError("expected a Pub/Sub push with a message - at $") from None


def reject(method: str) -> int | None:
    """Return 405 if the method is not allowed, else None."""
    return None if method in _ALLOWED else 405


def respond(status: int) -> "ResponseReturnValue":
    """Return an empty response; 405 lists the allowed methods."""
    return "", status, {"Allow": ", ".join(_ALLOWED)} if status == 405 else {}


class HandledDelivery:
    """What was pushed or posted, while it is handled: the block's span, log lines and status.

    An exception becomes the response status 429, 503 or 500, after which Pub/Sub redelivers.
    """

    def __init__(
        self, name: str, traceparent: str | None, operation: str, message: Attributes
    ) -> None:
        self.status = 204
        self.error: Exception | None = None
        self._operation = operation
        self._span = tracing.start_span(name, traceparent, "consumer", {**_ATTRIBUTES, **message})
        self._began = time.perf_counter()

    @property
    def milliseconds(self) -> float:
        return round(1_000 * (time.perf_counter() - self._began), 3)

    def __enter__(self) -> Self:
        self._span.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, _: object) -> bool:
        is_handled = isinstance(error, Exception)
        if isinstance(error, Exception):
            self.status, self.error = _status(error), error
            if not isinstance(error, OperationClaimed):  # expected, and therefore not logged
                self._log_error(error)
        self._span.__exit__(kind, error, None)
        return is_handled

    def _log_error(self, error: Exception) -> None:
        """Log an outage as a warning, because Pub/Sub repeats the push, and a defect as an error.

        Both count as errors of the operation, so that an outage that lasts fires the alert.
        """
        stack = None
        if is_defect := self.status == 500:
            stack = "".join(traceback.format_exception(error))
        logs.write(
            "ERROR" if is_defect else "WARNING", f"not done: {error}", operation=self._operation,
            outcome="error", latency_ms=self.milliseconds, stack_trace=stack,
        )  # fmt: skip


def _status(error: Exception) -> int:
    if isinstance(error, OperationClaimed | LettersFull):
        return 429
    return 503 if isinstance(error, ProgressError) else 500
