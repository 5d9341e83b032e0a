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


class Standing(_Result, frozen=True):
    total_items_learned: int
    total_sessions_completed: int
    total_study_time_minutes: int
    accuracy_rate: float | None


class Streak(_Result, frozen=True):
    current: int
    longest: int
    last_study_date: date | None
    at_risk: bool


class Level(_Result, frozen=True):
    """A row of the level stats; `catalogue_items` is null in the row UNKNOWN."""

    level: str
    accuracy_rate: float | None
    short_term_mastered: int
    long_term_mastered: int
    catalogue_items: int | None


class DueDay(_Result, frozen=True):
    date: date
    items: int


class Knowledge(_Result, frozen=True):
    items: int
    expected: float
    fading: int


class Overview(_Result, frozen=True):
    user_progress: Standing | None
    streak: Streak
    level_stats: list[Level]
    due_forecast: list[DueDay]
    knowledge: Knowledge


class Day(_Result, frozen=True):
    date: date
    answers: int


class History(_Result, frozen=True):
    daily_stats: list[Day]


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
        return self._query("Overview", {}, Overview)

    def history(self, start: date, end: date) -> History:
        """Return the days from `start` to `end`; the API rejects more than 731 days."""
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
