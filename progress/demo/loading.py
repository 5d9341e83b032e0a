"""Load the demo's events: publish them, then wait until they are recorded and folded."""

import time
from collections.abc import Callable, Sequence

from progress.adapters import terminal
from progress.adapters.postgres import database
from progress.adapters.postgres.statements import blocks
from progress.adapters.pubsub import publisher
from progress.adapters.pubsub.publisher import Message
from progress.adapters.terminal import Console
from progress.demo import catalogue
from progress.demo.graphql_client import GraphqlClient
from progress.errors import StackError
from progress.importers import anki_events, anki_log, word_lists
from progress.importers.anki_log import Answer

LEARNER = anki_events.Learner("demo-learner", "America/New_York", 4)

LOG = word_lists.DATA / "anki_reviews.csv"
_DATABASE_POLL_S = 0.1
_API_POLL_S = 0.7  # the rate limit is 100 requests a minute
_STALL_TIMEOUT_S = 60.0


def messages(
    learner: anki_events.Learner = LEARNER, answers: list[Answer] | None = None
) -> list[Message]:
    """Return the messages of the learner's account, of the catalogue and of each session.

    By default, the answers are those of the demo's log, as recorded.
    """
    answers = anki_log.read(LOG) if answers is None else answers
    items = catalogue.deal(word_lists.read(), catalogue.cards(answers))
    account, *sessions = anki_events.messages(learner, answers)
    return [account, *catalogue.messages(items), *sessions]


def load(
    console: Console, user: str, messages: Sequence[Message], addresses: dict[str, str]
) -> int:
    """Publish the messages; once all events are recorded, return how many were new.

    The first message, the account, stores the shift of the record. It is recorded before the others
    are published, so that a later load finds the shift even if this load is interrupted. Raise
    StackError if the learner is erased, because none of the learner's events would be recorded.
    """
    connection = database.connect(addresses["database_url"], name="demo")
    _check_not_erased(connection, user)
    events = [str(event["event_id"]) for message in messages for event in message.events]
    new = _missing(connection, events)
    if messages:
        _publish_account(connection, messages[0], addresses)
    with terminal.progress_bar(console, "published", len(events)) as show_progress:
        publisher.publish(
            messages,
            project=addresses["project_id"],
            emulator=addresses["pubsub_emulator_host"],
            on_published=show_progress,
        )
    _await_recording(console, connection, len(events), new)
    connection.close()
    return len(new)


def _check_not_erased(connection: database.Connection, user: str) -> None:
    if connection.run(blocks("demo/loading")["is erased"], learner=user)[0][0]:
        raise StackError(
            f"the learner {user} is erased for ever: to begin again, run `progress down` and "
            "delete the data folder (.progress)"
        )


def _publish_account(
    connection: database.Connection, message: Message, addresses: dict[str, str]
) -> None:
    publisher.publish(
        [message],
        project=addresses["project_id"],
        emulator=addresses["pubsub_emulator_host"],
        on_published=lambda _: None,
    )
    event_ids = [str(event["event_id"]) for event in message.events]
    deadline = time.monotonic() + _STALL_TIMEOUT_S
    while _missing(connection, event_ids):
        if time.monotonic() > deadline:
            raise StackError("the learner's account is still not recorded: see `progress status`")
        time.sleep(_DATABASE_POLL_S)


def _await_recording(
    console: Console, connection: database.Connection, total: int, missing: list[str]
) -> None:
    """Show how many of the `total` events are recorded, until none of them is `missing`."""

    def count_missing() -> int:
        nonlocal missing
        missing = _missing(connection, missing)
        return len(missing)

    _follow(console, "recorded", total, count_missing)


def _missing(connection: database.Connection, events: list[str]) -> list[str]:
    rows = connection.run(blocks("demo/loading")["missing"], event_ids=events)
    return [event for (event,) in rows]


def await_projection(console: Console, total: int, client: GraphqlClient) -> None:
    """Wait until every recorded event is in the realtime read models."""
    _follow(console, "projected", total, client.events_behind, interval_s=_API_POLL_S)


def _follow(
    console: Console,
    label: str,
    total: int,
    count_left: Callable[[], int],
    *,
    interval_s: float = _DATABASE_POLL_S,
) -> None:
    """Show a progress bar until no event is left; raise StackError if the count stops falling."""
    with terminal.progress_bar(console, label, total) as show_progress:
        last, moved = None, time.monotonic()
        while left := count_left():
            if left != last:
                last, moved = left, time.monotonic()
            elif time.monotonic() - moved > _STALL_TIMEOUT_S:
                raise StackError(
                    f"{left:,} events are still not {label}: "
                    "see `progress status` and `progress dead-letters list`"
                )
            show_progress(max(total - left, 0))
            time.sleep(interval_s)
        show_progress(total)
