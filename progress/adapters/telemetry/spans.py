"""The types of spans."""

from collections.abc import Mapping
from typing import Literal, Self

Kind = Literal["internal", "client", "server", "producer", "consumer"]
Attributes = Mapping[str, str | int | float | bool]


class Span:
    """A span that is not exported."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the span."""

    def set_attribute(self, name: str, value: str | float) -> None:
        """Set an attribute."""

    def record_error(self, message: str) -> None:
        """Mark the span as failed."""
