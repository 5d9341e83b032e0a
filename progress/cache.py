"""Answers kept in Redis, each with the versions of what it was made from."""

# ruff: noqa: ARG002
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import msgspec

Compute = Callable[[], Awaitable["Computed"]]


class Question(msgspec.Struct, frozen=True):
    """A root field of a query, about a learner: its key in the cache."""

    name: str
    user_id: str
    params: str  # a hash of the arguments and of the selection
    last_day: date | None = None  # that the answer looks at; None: the present


class Computed(msgspec.Struct, frozen=True):
    """An answer; if it `tells`, with the learner's version that its statement saw."""

    data: bytes
    learner: int | None = None
    day_ends: datetime | None = None


class Looked(msgspec.Struct):
    """What the cache held for a request: of each question its answer, None where there is none."""

    found: list[bytes | None]
    fresh: bool = False


class ProjectedTo(msgspec.Struct, frozen=True):
    """All events up to this position are in the read models; recorded at that time."""

    position: str  # 64 bits, as text
    time: datetime | None


def question(
    name: str, user_id: str, arguments: Mapping[str, Any], selection: str
) -> Question | None:
    """The question that a root field with those (coerced) arguments asks; None: it is not kept.

    `selection` is the field's selection with its response keys, written the same way each time.
    """
    said = msgspec.json.encode([name, sorted(arguments.items()), selection])
    return Question(name, user_id, hashlib.blake2b(said, digest_size=16).hexdigest())


class Cache:
    """The cache of an instance, its rate limit, and what the instance knows of the projections."""

    def __init__(self, url: str | None, *, per_minute: int) -> None:
        self._url, self._per_minute = url, per_minute

    async def ask(
        self, caller: str, questions: Sequence[Question], *, fresh: bool = False
    ) -> Looked:
        """Count the caller's request and look the questions up; RateLimited if it is one too many.

        `fresh`: what is kept does not count, but what is computed is kept.
        """
        return Looked([None] * len(questions), fresh)

    async def answer(
        self, looked: Looked, question: Question, compute: Compute, *, tells: bool = False
    ) -> bytes:
        """The computed answer, kept for the next; of those who ask at once one computes.

        With `tells`, what is computed says which version of the learner it was made from.
        """
        return (await compute()).data

    async def projected_to(self) -> ProjectedTo | None:
        """How far the projections have come, at least; None if the database does not say."""
        return None

    async def document(self, sha256: str) -> str | None:
        """The persisted query with that hash."""
        return None

    async def keep_document(self, sha256: str, text: str) -> None:
        """Persist a query."""
