"""The page on `progress serve`: tests of the page whose learners are new run here, too."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.query.page import test_commands, test_layout, test_requests
from tests.support import browser, cli, served
from tests.support.served import Served

pytestmark = pytest.mark.exhaustive


@dataclass(frozen=True)
class Stack(browser.Stack):
    """A system of `progress serve`, in place of the local stack with the demo's data."""

    system: Served

    @property
    def database_url(self) -> str:
        return self.system.database.url

    def progress(self, *command: str, text: str = "") -> str:
        assert not text
        return cli.expect_success(self.system.run(*command))

    def publish(self, *envelopes: browser.Envelope) -> None:
        self.system.post_events(list(envelopes))

    def token(self, user: str, role: str = "learner", groups: object = ()) -> str:
        assert not groups
        return self.system.token(user, role)


@pytest.fixture(scope="module")
def demo() -> Iterator[Stack]:
    with served.run() as system:
        yield Stack(system.folder.path, system.port, system)


TESTS = (
    *(test for name, test in inspect.getmembers(test_commands) if name.startswith("test_")),
    test_layout.test_a_learner_saves_their_record,
    test_layout.test_a_learner_sees_who_has_read_their_record_and_when,
    test_layout.test_an_administrator_finds_a_learner_and_saves_the_record_from_the_list_of_operations,
    test_requests.test_a_live_update_keeps_the_focus_the_scroll_position_and_the_open_details,
    test_requests.test_a_hidden_page_closes_its_stream,
    test_requests.test_a_response_that_is_behind_the_subscription_is_asked_for_again,
)
globals().update({test.__name__: test for test in TESTS})
