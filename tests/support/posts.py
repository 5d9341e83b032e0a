"""An ingest that notes what commands post."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from progress.event_store import bodies
from tests.support import http_servers, pushes, token_issuer
from tests.support.fake_publisher import FakePublisher

if TYPE_CHECKING:
    from tests.conftest import Store

Envelope = dict[str, Any]


class NotedIngest:
    """Ingest in this process: the events that it has taken, by post.

    `environment` lets a command post to it. A callback that raises ConnectionError cuts the
    connection, before or after the events are recorded.
    """

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self.posts: list[list[Envelope]] = []
        self.on_request: Callable[[], None] = lambda: None
        self.on_recorded: Callable[[], None] = lambda: None

    @property
    def events(self) -> list[Envelope]:
        return [event for posted in self.posts for event in posted]

    def forget(self) -> None:
        self.posts = []


@pytest.fixture
def noted_ingest(store: "Store", fake_publisher: FakePublisher) -> Iterator[NotedIngest]:
    noted = NotedIngest()

    class Handler(http_servers.Handler):
        def do_POST(self) -> None:
            body = self.read_body()
            try:
                noted.on_request()
                answer = client.post(self.path, data=body, headers=[*self.headers.items()])
                if answer.status_code == 200:
                    parts = bodies.split(body, self.headers["Content-Type"])
                    noted.posts.append([msgspec.json.decode(part) for _, part in parts])
                noted.on_recorded()
            except ConnectionError:
                self.close_connection = True
                return
            self.respond(answer.status_code, answer.data)

    with (
        token_issuer.serve() as issuer,
        pushes.load_ingest(store.url, fake_publisher, issuer.environment(store.url)) as client,
        http_servers.serve(Handler) as url,
    ):
        token = token_issuer.token("poster", roles="publisher")
        noted.environment = {"EVENTS_URL": f"{url}/events", "EVENTS_TOKEN": token}
        yield noted
