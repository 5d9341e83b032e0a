"""Post events to `POST /events` of ingest, and sum what became of them."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import msgspec
import requests

from progress.adapters import retries
from progress.adapters.telemetry import tracing
from progress.errors import ProgressError, Unavailable
from progress.event_store import bodies
from progress.event_store.post_answers import Recorded, Refusal

_ATTEMPTS = 12  # with pauses of half a minute in all: a database that restarts is back by then
_TIMEOUT_S = 30.0
_MOST_DIGITS = 2  # of a Retry-After: who shall wait for minutes must do something meanwhile
# Proxies accept so much, and ingest decodes larger bodies one after the other. A larger entry gets
# a body of its own.
_MOST_BYTES = 1_000_000


class Ingest(msgspec.Struct, frozen=True):
    """The address of `POST /events`, and a token that may post there.

    `is_own`: it is that of the system on this machine, and the token is the system's key.
    """

    url: str
    token: str
    is_own: bool = False

    def __repr__(self) -> str:
        return f"Ingest({self.url})"  # the token is secret


class Poster:
    """Posts entries; `recorded` says what became of all, with their places among all."""

    def __init__(self, ingest: Ingest) -> None:
        self.count, self.recorded = 0, Recorded(0, 0, 0, 0, 0, [])
        self.ingest, self._session = ingest, requests.Session()
        self._session.trust_env = not ingest.is_own  # a proxy is for what is elsewhere
        self._send = retries.repeat(self._send_once, _ATTEMPTS)

    def post(self, entries: Iterable[bytes], on_posted: Callable[[int], None]) -> None:
        """Post JSON texts, and return once they are on disk.

        `on_posted` gets, after each request, the number of all entries that were posted. Raise
        Unavailable if ingest does not take a request for half a minute, and ProgressError if it
        refuses one.
        """
        for batch in _split(entries):
            try:
                answer = self._send(b"\n".join(batch))
            except (requests.RequestException, msgspec.MsgspecError) as error:
                raise self._explain(error) from None
            self._add(answer)
            self.count += len(batch)
            on_posted(self.count)

    def _send_once(self, body: bytes) -> Recorded:
        def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers["Authorization"] = f"Bearer {self.ingest.token}"
            return request

        with tracing.start_span("post events", None, "producer"):
            response = self._session.post(
                self.ingest.url,
                body,
                headers={"Content-Type": bodies.LINES, **tracing.message_attributes()},
                auth=authorize,  # as a header alone, .netrc would replace it
                timeout=_TIMEOUT_S,
                allow_redirects=False,
            )
        if response.status_code != 200:
            error = requests.HTTPError(response=response)
            is_full = len(response.headers.get("Retry-After", "")) > _MOST_DIGITS
            raise self._explain(error) if is_full else error
        return msgspec.json.decode(response.content, type=Recorded)

    def _add(self, answer: Recorded) -> None:
        letters = [
            msgspec.structs.replace(letter, index=letter.index + self.count)
            for letter in answer.dead_letters
        ]
        former = msgspec.structs.astuple(self.recorded)
        more = msgspec.structs.astuple(msgspec.structs.replace(answer, dead_letters=letters))
        self.recorded = Recorded(*(a + b for a, b in zip(former, more, strict=True)))

    def _explain(self, error: Exception) -> ProgressError:
        before = f"; {self.count:,} events were taken before" if self.count else ""
        refused = f"{self.ingest.url} does not take events: "
        if (response := retries.response_of(error)) is None:
            return Unavailable(f"{refused}{error}{before}")
        why = f"{response.status_code} {response.reason}"
        with contextlib.suppress(msgspec.MsgspecError):  # not an answer of ingest
            why = msgspec.json.decode(response.content, type=Refusal).error
        return ProgressError(f"{refused}{why}{before}")


def _split(entries: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield the lines of each request."""
    batch, size = list[bytes](), 0
    for entry in entries:
        line = entry.replace(b"\n", b" ")  # between the parts of an indented entry
        if batch and (len(batch) == bodies.MOST_ENTRIES or size + len(line) > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line) + 1
    if batch:
        yield batch
