"""The demo's GraphQL client: its queries, and the types of their results."""

import http.client
from datetime import date
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from progress.errors import QueryUnavailable

_DOCUMENT = Path(__file__).with_suffix(".graphql").read_text(encoding="utf-8")

_REALTIME = ("daily_stats", "item_stats", "learning_streaks", "user_progress")


class _Result(msgspec.Struct, frozen=True, rename="camel"):
    pass


class Mastery(_Result, frozen=True):
    unlearned: int
    learning: int
    short_term_mastered: int
    long_term_mastered: int


class Standing(_Result, frozen=True):
    total_items_learned: int
    total_sessions_completed: int
    total_study_time_minutes: int
    accuracy_rate: float | None
    mastery_stats: Mastery


class Streak(_Result, frozen=True):
    current: int
    longest: int
    longest_start: date | None
    longest_end: date | None
    last_study_date: date | None
    at_risk: bool = False


class Share(_Result, frozen=True):
    """A row of the level or domain stats; `catalogue_items` is null in the row UNKNOWN."""

    items_studied: int
    accuracy_rate: float | None
    learning: int
    short_term_mastered: int
    long_term_mastered: int
    catalogue_items: int | None
    progress_rate: float | None
    level: str = ""
    domain: str = ""


class Item(_Result, frozen=True):
    item_id: str
    headword: str | None
    level: str
    answers: int
    correct_answers: int
    lapses: int


class Edge(_Result, frozen=True):
    node: Item


class Weakest(_Result, frozen=True):
    total_count: int
    edges: list[Edge]


class DueDay(_Result, frozen=True):
    date: date
    items: int


class Knowledge(_Result, frozen=True):
    items: int
    expected: float
    fading: int


class Day(_Result, frozen=True):
    date: date
    answers: int
    correct_answers: int
    study_time_minutes: int


class Week(_Result, frozen=True):
    start: date
    answers: int
    accuracy_rate: float | None


class KnowledgePoint(_Result, frozen=True):
    start: date
    items: int
    expected: float


class Overview(_Result, frozen=True):
    user_progress: Standing | None
    streak: Streak
    level_stats: list[Share]
    domain_stats: list[Share]
    weakest: Weakest
    due_forecast: list[DueDay]
    knowledge: Knowledge


class History(_Result, frozen=True):
    daily_stats: list[Day]
    weekly_stats: list[Week]
    knowledge_curve: list[KnowledgePoint]


class Projection(_Result, frozen=True):
    name: str
    events_behind: int


class Freshness(_Result, frozen=True):
    projection_status: list[Projection]


_R = TypeVar("_R", Overview, History, Freshness)


class GraphqlClient(msgspec.Struct, frozen=True):
    """A client of the GraphQL API, with the token of one caller."""

    url: str
    token: str

    def overview(self) -> Overview:
        return self._query("Standing", {}, Overview)

    def history(self, start: date, end: date) -> History:
        """Return the days and weeks from `start` to `end`; the API rejects more than 731 days."""
        return self._query("History", {"from": start, "to": end}, History)

    def events_behind(self) -> int:
        """Return the lag of the slowest realtime read model, in events."""
        rows = self._query("Freshness", {}, Freshness).projection_status
        return max((row.events_behind for row in rows if row.name in _REALTIME), default=0)

    def _query(self, operation: str, variables: dict[str, Any], result: type[_R]) -> _R:
        body = {"query": _DOCUMENT, "operationName": operation, "variables": variables}
        status, content = self._post(msgspec.json.encode(body))
        try:
            reply = msgspec.json.decode(content, type=_Reply)
        except msgspec.DecodeError:
            raise QueryUnavailable(f"{self.url}: HTTP {status} without JSON") from None
        if reply.errors:
            raise QueryUnavailable(f"{self.url}: HTTP {status}: {reply.errors}")
        return msgspec.json.decode(reply.data, type=result)

    def _post(self, body: bytes) -> tuple[int, bytes]:
        address = urlsplit(self.url)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        connection = http.client.HTTPConnection(address.netloc, timeout=30)
        try:
            connection.request("POST", address.path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise QueryUnavailable(f"{self.url} does not respond: {error}") from None
        finally:
            connection.close()


class _Reply(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw(b"null")
    errors: list[Any] | None = None
