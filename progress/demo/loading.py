"""The demo's events on their way: published, recorded, folded."""

import time
from collections.abc import Callable, Sequence

from rich.console import Console

from progress.adapters import terminal
from progress.adapters.postgres import database
from progress.adapters.postgres.statements import blocks
from progress.adapters.pubsub import publisher
from progress.adapters.pubsub.publisher import Message
from progress.demo import catalogue
from progress.demo.questions import Asker
from progress.errors import StackError
from progress.importers import anki_events, anki_log

LEARNER = anki_events.Learner("demo-learner", "America/New_York", 4)

_LOG = catalogue.DATA / "anki_reviews.csv"
_PAUSE = 0.1  # seconds between two looks at the database
_ASKING = 0.7  # seconds between two questions to the API: a caller may ask a hundred a minute
_PATIENCE = 60.0  # seconds in which nothing moves


def messages() -> list[Message]:
    """The catalogue, the learner's account, and one message for each of their sessions."""
    answers = anki_log.read(_LOG)
    items = catalogue.deal(catalogue.words(), catalogue.cards(answers))
    return [*catalogue.messages(items), *anki_events.messages(LEARNER, answers)]


def load(console: Console, messages: Sequence[Message], where: dict[str, str]) -> int:
    """Publish all, and return once all is recorded; how many events were new."""
    connection = database.connect(where["database_url"], name="demo")
    events = [str(event["event_id"]) for message in messages for event in message.events]
    new = missing = _missing(connection, events)
    with terminal.progress_bar(console, "published", len(events)) as reached:
        publisher.publish(
            messages,
            project=where["project_id"],
            emulator=where["pubsub_emulator_host"],
            on_published=reached,
        )

    def left() -> int:
        nonlocal missing
        missing = _missing(connection, missing)
        return len(missing)

    _follow(console, "recorded", len(events), left)
    connection.close()
    return len(new)


def _missing(connection: database.Connection, events: list[str]) -> list[str]:
    rows = connection.run(blocks("demo/loading")["missing"], event_ids=events)
    return [event for (event,) in rows]


def await_projection(console: Console, total: int, asker: Asker) -> None:
    """Return once every recorded event is in the realtime read models."""
    _follow(console, "projected", total, asker.events_behind, pause=_ASKING)


def _follow(
    console: Console, what: str, total: int, left: Callable[[], int], *, pause: float = _PAUSE
) -> None:
    """A bar that is full when nothing is `left`; StackError where nothing moves any more."""
    with terminal.progress_bar(console, what, total) as reached:
        last, moved = None, time.monotonic()
        while behind := left():
            if behind != last:
                last, moved = behind, time.monotonic()
            elif time.monotonic() - moved > _PATIENCE:
                raise StackError(
                    f"{behind:,} events are not {what}, and nothing moves: "
                    "`progress status` and `progress dead-letters list` tell more"
                )
            reached(max(total - behind, 0))
            time.sleep(pause)
        reached(total)
