"""One push of Pub/Sub on its way through a door: its span, its status, and what went wrong."""

import time
import traceback
from typing import Self

from progress.adapters.telemetry import logs, tracing
from progress.adapters.telemetry.spans import Attributes
from progress.errors import ProgressError

_PROCESSED = {
    "messaging.system": "gcp_pubsub",
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
}


class Pushed:
    """Ends whatever goes wrong inside the block: the push is to come again then."""

    def __init__(
        self, name: str, trace_parent: str | None, operation: str, message: Attributes
    ) -> None:
        self.status = 204
        self._operation = operation
        self._span = tracing.begun(name, trace_parent, "consumer", {**_PROCESSED, **message})
        self._began = time.perf_counter()

    @property
    def milliseconds(self) -> float:
        """How long it has taken so far."""
        return round(1_000 * (time.perf_counter() - self._began), 3)

    def __enter__(self) -> Self:
        self._span.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: object, _: object) -> bool:
        ends = isinstance(fault, Exception)
        if isinstance(fault, Exception):
            self.status = 503 if isinstance(fault, ProgressError) else 500
            self._tell(fault)
        self._span.__exit__(kind, fault, None)
        return ends

    def _tell(self, fault: Exception) -> None:
        stack = None
        if self.status == 500:
            stack = "".join(traceback.format_exception(fault))
        logs.write(
            "ERROR", f"not done: {fault}", operation=self._operation, outcome="error",
            latency_ms=self.milliseconds, stack_trace=stack,
        )  # fmt: skip
