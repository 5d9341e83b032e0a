"""Posts have at most 1,000 entries and a megabyte, are repeated after faults, and are summed."""

from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters import retries
from progress.errors import ProgressError, Unavailable
from progress.event_store import bodies
from progress.event_store.post_answers import Letter, Recorded
from progress.event_store.posting import Ingest, Poster
from tests.support import http_servers

FULL = b'{"error": "your open dead letters hold 100 MiB"}'


class Server:
    """Notes what it has taken, after the faults: a status, or None to cut the answer."""

    def __init__(self) -> None:
        self.faults: list[int | None] = []
        self.taken: list[list[bytes]] = []
        self.headers: dict[str, str] = {}
        self.url = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    monkeypatch.setattr(retries, "_FIRST_PAUSE_S", 0.0)

    class Handler(http_servers.Handler):
        def do_POST(self) -> None:
            body = self.read_body()
            assert self.headers["Authorization"] == "Bearer key"
            fault = made.faults.pop(0) if made.faults else 200
            if fault not in (200, None):
                self.respond(fault, FULL, cut=None, **made.headers)
                return
            parts = [part for _, part in bodies.split(body, self.headers["Content-Type"])]
            assert len(parts) == 1 or len(body) <= 1_000_000
            made.taken += [parts] if fault else []
            faulty = [Letter(n, "invalid", "odd", None) for n, e in enumerate(parts) if e == b"{}"]
            answer = Recorded(len(parts) - len(faulty), 0, 0, 0, 0, faulty)
            self.respond(200, msgspec.json.encode(answer), cut=None if fault else 10)

    with http_servers.serve(Handler) as url:
        made.url = f"{url}/events"
        yield made


def post(server: Server, entries: list[bytes]) -> tuple[Poster, list[int]]:
    poster, reported = Poster(Ingest(server.url, "key", is_own=True)), list[int]()
    poster.post(entries, reported.append)
    return poster, reported


ENTRIES = st.sampled_from([b"{}", b'{"a": 1}', b'{\n"a": 2}', b'"%b"' % (b"x" * 400_000)])


@given(
    entries=st.lists(ENTRIES, max_size=12).flatmap(
        lambda some: st.sampled_from([some, some * 300 if len(b"".join(some)) < 999 else some])
    ),
    faults=st.lists(st.sampled_from([None, 408, 429, 500, 503]), max_size=4),
)
def test_entries_are_taken_in_order_in_parts_whatever_fails_on_the_way(
    server: Server, entries: list[bytes], faults: list[int | None]
) -> None:
    server.taken, server.faults = [], [*faults]
    poster, reported = post(server, entries)
    lines = [entry.replace(b"\n", b" ") for entry in entries]
    assert [line for part in server.taken for line in part] == lines
    assert (poster.count, reported) == (len(entries), sorted({*reported}))
    letters = [n for n, entry in enumerate(entries) if entry == b"{}"]
    assert [letter.index for letter in poster.recorded.dead_letters] == letters
    assert poster.recorded.appended == len(entries) - len(letters)


def test_what_ingest_refuses_is_said_and_not_repeated(server: Server) -> None:
    for status, headers in ((400, {}), (401, {}), (301, {}), (429, {"Retry-After": "3600"})):
        server.faults, server.headers = [200, status], headers
        with pytest.raises(ProgressError, match="hold 100 MiB; 1,000 events were taken before"):
            post(server, [b"{}"] * 1_001)
        assert server.faults == []
    server.faults = [503] * 99
    with pytest.raises(ProgressError, match="hold 100 MiB"):
        post(server, [b"{}"])
    with http_servers.serve(http_servers.Handler) as url:
        nowhere = Poster(Ingest(f"{url}/events", "key", is_own=True))
    with pytest.raises(Unavailable, match=r"does not take events: .*refused"):
        nowhere.post([b"{}"], lambda _: None)
