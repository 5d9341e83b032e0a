"""What a span is, for who begins one: alike whether it is exported or not."""

from collections.abc import Mapping
from typing import Literal, Self

Kind = Literal["internal", "client", "server", "producer", "consumer"]
Attributes = Mapping[str, str | int | float | bool]


class Span:
    """A span where nothing is exported."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was begun."""

    def note(self, name: str, value: str | float) -> None:
        """One more attribute."""

    def fail(self, why: str) -> None:
        """What was done went wrong."""
