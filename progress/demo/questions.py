"""What the demo asks over GraphQL, and the answers by type."""

import http.client
from datetime import date
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from progress.errors import Unavailable

_DOCUMENT = Path(__file__).with_suffix(".graphql").read_text(encoding="utf-8")

_REALTIME = ("daily_stats", "item_stats", "learning_streaks", "user_progress")


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    pass


class Mastery(_Answer, frozen=True):
    unlearned: int
    learning: int
    short_term_mastered: int
    long_term_mastered: int


class Standing(_Answer, frozen=True):
    total_items_learned: int
    total_sessions_completed: int
    total_study_time_minutes: int
    accuracy_rate: float | None
    mastery_stats: Mastery


class Streak(_Answer, frozen=True):
    current: int
    longest: int
    longest_start: date | None
    longest_end: date | None
    last_study_date: date | None


class Share(_Answer, frozen=True):
    """A row of level or domain stats; `catalogue_items` is null for UNKNOWN."""

    items_studied: int
    accuracy_rate: float | None
    learning: int
    short_term_mastered: int
    long_term_mastered: int
    catalogue_items: int | None
    progress_rate: float | None
    level: str = ""
    domain: str = ""


class Item(_Answer, frozen=True):
    item_id: str
    headword: str | None
    level: str
    answers: int
    correct_answers: int
    lapses: int


class Edge(_Answer, frozen=True):
    node: Item


class Weakest(_Answer, frozen=True):
    total_count: int
    edges: list[Edge]


class DueDay(_Answer, frozen=True):
    date: date
    items: int


class Day(_Answer, frozen=True):
    date: date
    answers: int
    correct_answers: int
    study_time_minutes: int


class Week(_Answer, frozen=True):
    start: date
    answers: int
    accuracy_rate: float | None


class Overview(_Answer, frozen=True):
    """The answer to `Standing`."""

    user_progress: Standing | None
    streak: Streak
    level_stats: list[Share]
    domain_stats: list[Share]
    weakest: Weakest
    due_forecast: list[DueDay]


class History(_Answer, frozen=True):
    """The answer to `History`."""

    daily_stats: list[Day]
    weekly_stats: list[Week]


class Projection(_Answer, frozen=True):
    name: str
    events_behind: int


class Freshness(_Answer, frozen=True):
    """The answer to `Freshness`."""

    projection_status: list[Projection]


_A = TypeVar("_A", Overview, History, Freshness)


class Asker(msgspec.Struct, frozen=True):
    """Where to ask, and as whom."""

    url: str
    token: str

    def overview(self) -> Overview:
        """How the learner stands now."""
        return self._ask("Standing", {}, Overview)

    def history(self, start: date, end: date) -> History:
        """The days and weeks from `start` to `end`, at most 731 days."""
        return self._ask("History", {"from": start, "to": end}, History)

    def events_behind(self) -> int:
        """How many recorded events the realtime read models have still to take in."""
        rows = self._ask("Freshness", {}, Freshness).projection_status
        return max((row.events_behind for row in rows if row.name in _REALTIME), default=0)

    def _ask(self, operation: str, variables: dict[str, Any], answer: type[_A]) -> _A:
        body = {"query": _DOCUMENT, "operationName": operation, "variables": variables}
        status, content = self._posted(msgspec.json.encode(body))
        try:
            reply = msgspec.json.decode(content, type=_Reply)
        except msgspec.DecodeError:
            raise Unavailable(f"{self.url}: HTTP {status} without an answer") from None
        if reply.errors:
            raise Unavailable(f"{self.url}: HTTP {status}: {reply.errors}")
        return msgspec.json.decode(reply.data, type=answer)

    def _posted(self, body: bytes) -> tuple[int, bytes]:
        at = urlsplit(self.url)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        connection = http.client.HTTPConnection(at.netloc, timeout=30)
        try:
            connection.request("POST", at.path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as fault:
            raise Unavailable(f"{self.url} does not answer: {fault}") from None
        finally:
            connection.close()


class _Reply(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw(b"null")
    errors: list[Any] | None = None
