"""What happens now, as a span; what a log line tells, as metrics: sent where the settings say.

Without OTEL_EXPORTER_OTLP_ENDPOINT nothing is imported and a span is one that does nothing; the
publisher's trace is passed on all the same, so that the log's lines belong together.
"""

import functools
import random
import re
import threading
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar, Token, copy_context
from typing import TYPE_CHECKING, Self

from progress import settings
from progress.adapters.telemetry.spans import Attributes, Kind, Span

if TYPE_CHECKING:
    from progress.adapters.telemetry.otlp import Exporter

SAMPLED = "01"

# What Google's front ends write, beside a traceparent or alone.
_BY_GOOGLE = re.compile(r"([0-9a-f]{32})(?:/([0-9]{1,20})(?:;o=([01]))?)?")

# A W3C traceparent. Later versions may have more parts.
_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_NONE: Attributes = {}

_present: ContextVar[str | None] = ContextVar("_present", default=None)
_once = threading.Lock()
_part = "cli"


class _Passed(Span):
    """The trace of the block, where nothing is exported."""

    __slots__ = ("_before", "_parent")

    def __init__(self, parent: str | None) -> None:
        self._parent = parent or new()

    def __enter__(self) -> Self:
        self._before: Token[str | None] = _present.set(self._parent)
        return self

    def __exit__(self, *_: object) -> None:
        _present.reset(self._before)


_NOTHING = Span()


def name_part(part: str) -> None:
    """Say which part of Progress this process is: it exports as `progress-{part}`."""
    global _part  # noqa: PLW0603 - a process is one part
    _part = part


def begun(name: str, parent: str | None, kind: Kind, attributes: Attributes = _NONE) -> Span:
    """A span for work that somebody else asked for, in the trace that they named, if any."""
    exporter = _exporter()
    if exporter is None:
        return _Passed(parent)
    return exporter.span(name, kind, attributes, parent, _present, is_remote=True)


def within(parent: str) -> Span:
    """What is logged in the block belongs to that trace."""
    return _Passed(parent)


def span(name: str, kind: Kind = "internal", attributes: Attributes = _NONE) -> Span:
    """A span within the present one; where nobody began any, it is not worth one."""
    exporter, parent = _exporter(), _present.get()
    if exporter is None or parent is None:
        return _NOTHING
    return exporter.span(name, kind, attributes, parent, _present, is_remote=False)


def is_exporting() -> bool:
    """Whether spans go anywhere: who makes none saves their cost."""
    return _exporter() is not None


def record(fields: Mapping[str, object]) -> None:
    """The signals among a line's fields, as metrics."""
    exporter = _exporter()
    if exporter is not None:
        exporter.record(fields)


def present() -> str | None:
    """The traceparent of what happens now; None where nobody began anything."""
    return _present.get()


def apart() -> Context:
    """A context for what goes on after the present trace has ended, and is none of its matter."""
    context = copy_context()
    context.run(_present.set, None)
    return context


def read(text: str | None) -> str | None:
    """A traceparent as somebody sent it; None if it is none."""
    match = _PARENT.fullmatch(text[:200]) if text else None
    if match is None or match[1] == _NO_TRACE or match[2] == _NO_SPAN:
        return None
    return f"00-{match[1]}-{match[2]}-{int(match[3], 16) & 1:02x}"  # no other flag is known


def of_message(attributes: Mapping[str, object]) -> str | None:
    """The traceparent that a message's attributes carry, Google's clients' or anybody's."""
    sent = attributes.get("googclient_traceparent") or attributes.get("traceparent")
    return read(sent) if isinstance(sent, str) else None


def of_request(header: Callable[[str], str | None]) -> str | None:
    """The traceparent that a request's headers carry, as such or as Google writes it."""
    if sent := header("traceparent"):
        return read(sent)
    match = _BY_GOOGLE.fullmatch((header("x-cloud-trace-context") or "")[:200])
    if match is None:
        return None
    flags = "01" if match[3] == "1" else "00"
    return read(f"00-{match[1]}-{int(match[2] or 0):016x}-{flags}")


def attributes() -> dict[str, str]:
    """The attributes of a message that carry the present trace; none where there is none."""
    parent = present()
    return {"googclient_traceparent": parent, "traceparent": parent} if parent else {}


def new() -> str:
    """The traceparent of a trace that begins here; whether it is kept is up to who records it."""
    number = random.getrandbits(192) | 1 << 64 | 1  # a name, not a secret
    return f"00-{number >> 64:032x}-{number & (1 << 64) - 1:016x}-{SAMPLED}"


def _exporter() -> "Exporter | None":
    return _made() if settings.current().otel_exporter_otlp_endpoint else None


def _made() -> "Exporter | None":
    with _once:
        return _of_this_process(_part)


@functools.cache
def _of_this_process(part: str) -> "Exporter | None":
    """Made at first use, so after any fork; None, and a line in the log, where it cannot be."""
    from progress.adapters.telemetry import otlp  # 300 ms: only where it is wanted

    return otlp.exporter(settings.current(), part)
