"""One write for a whole response.

uvicorn writes head and body apart, so that each is a call of the system and wakes the reader. Where
it is not uvicorn that serves, or another one, nothing changes.
"""

from types import TracebackType
from typing import Any

from starlette.types import Receive


class Corked:
    """While the block lasts, what uvicorn writes for this request is held back."""

    def __init__(self, receive: Receive) -> None:
        cycle = getattr(receive, "__self__", None)
        self._cycle = cycle if hasattr(cycle, "transport") else None

    def __enter__(self) -> None:
        if self._cycle is not None:
            self._cycle.transport = _Held(self._cycle.transport)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._cycle is not None:
            held = self._cycle.transport
            self._cycle.transport = held.transport
            held.release()


class _Held:
    """A transport whose writes wait for each other."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._parts.append(data)

    def release(self) -> None:
        """Write what was held back."""
        if self._parts:
            self.transport.write(b"".join(self._parts))
            self._parts.clear()

    def close(self) -> None:
        self.release()
        self.transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)
