"""Send events to ingest or, for the cloud, to Pub/Sub; if Ctrl-C ends this, say what was done."""

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import msgspec
import typer

from progress.adapters import terminal
from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub import publisher
from progress.adapters.pubsub.publisher import Message, Packed
from progress.adapters.terminal import Console
from progress.cli import connections
from progress.errors import SettingsError
from progress.event_store.post_answers import Recorded
from progress.event_store.posting import Poster

_INTERRUPTED = 130  # by convention, 128 + SIGINT
_NAMED_LETTERS = 10

ToPubsub = Annotated[
    bool,
    typer.Option(
        "--pubsub",
        help="For the cloud: publish to the topics of PUBSUB_PROJECT_ID. What becomes of the "
        "events is then not known here.",
    ),
]


class Publication(msgspec.Struct):
    """Where events go, and how many are stored, of how many; None before publishing begins.

    An import counts the rows whose events are stored instead.
    """

    to_pubsub: bool = False
    stored: int = 0
    total: int | None = None
    of: str = "events"
    unnamed: int = 0  # events without an id, which count again if they are published again
    is_interrupted: bool = False
    count: int = 0
    poster: Poster | None = None
    pubsub: tuple[str, str | None] = ("", None)

    def open(self) -> None:
        """Find out where the events go; raise SettingsError if nowhere."""
        if self.to_pubsub:
            self.pubsub = connections.target().pubsub()
        else:
            self.poster = Poster(connections.ingest())

    def connect(self) -> Connection:
        """Connect to the log that gets the events; raise SettingsError if it is not known."""
        target = connections.target()
        is_elsewhere = self.to_pubsub or target.settings.events_url
        if is_elsewhere and not target.has_database:
            raise SettingsError("DATABASE_URL is not set: name the database that gets the events")
        return connections.connect()

    def send(
        self, messages: Sequence[Message | Packed], on_sent: Callable[[int], None] = lambda _: None
    ) -> None:
        """Send the events; `on_sent` gets the number of all that are stored after each request."""

        def report(count: int) -> None:
            self.count = count
            on_sent(count)
            self.check()

        if self.poster:
            self.poster.post((each for message in messages for each in _split(message)), report)
        else:
            project, emulator = self.pubsub
            publisher.publish(
                messages, project=project, emulator=emulator, on_published=report, count=self.count
            )

    def send_all(self, console: Console, messages: Sequence[Message | Packed]) -> None:
        self.total = sum(map(publisher.count_events, messages))
        with terminal.progress_bar(console, "publishing", self.total) as show_progress:

            def report(stored: int) -> None:
                self.stored = stored
                show_progress(stored)

            self.send(messages, report)

    @property
    def recorded(self) -> Recorded | None:
        """What became of the events; None if Pub/Sub has them."""
        return self.poster.recorded if self.poster else None

    def report(self) -> dict[str, Any]:
        return msgspec.structs.asdict(self.recorded) if self.recorded else {}

    def tell(self, describe_place: Callable[[int], str] = lambda _: "") -> None:
        """Print what became of the events, and why the first dead letters are some."""
        if (found := self.recorded) is None:
            return
        for letter in found.dead_letters[:_NAMED_LETTERS]:
            why = f"{letter.kind}: {letter.reason} (event_id {letter.event_id})"
            typer.echo(f"{describe_place(letter.index)}{why}", err=True)
        if (more := len(found.dead_letters) - _NAMED_LETTERS) > 0:
            typer.echo(f"and {more:,} more: see `progress dead-letters list`", err=True)
        counts = {
            "redelivered": found.redelivered,
            "pending (their sessions have no SessionStarted yet)": found.pending,
            "erased": found.erased,
            "dead letters": len(found.dead_letters),
        }
        named = [f"{count:,} {name}" for name, count in counts.items() if count]
        of_unknown = f" ({found.unknown_types:,} of unknown types)" if found.unknown_types else ""
        typer.echo(", ".join([f"{found.appended:,} appended{of_unknown}", *named]))

    def check(self) -> None:
        """Raise KeyboardInterrupt if there was one, which a callback of a library may have lost."""
        if self.is_interrupted:
            raise KeyboardInterrupt

    def interrupt(self, *_: object) -> None:
        self.is_interrupted = True
        raise KeyboardInterrupt


def _split(message: Message | Packed) -> list[bytes]:
    if isinstance(message, Message):
        return [msgspec.json.encode(event) for event in message.events]
    return [message.data]


@contextlib.contextmanager
def explain_interrupt(*, to_pubsub: bool) -> Iterator[Publication]:
    """Yield a publication; at Ctrl-C, print what was published, and exit with 130."""
    publication = Publication(to_pubsub)
    former = signal.getsignal(signal.SIGINT)
    if former is signal.default_int_handler:
        signal.signal(signal.SIGINT, publication.interrupt)
    try:
        yield publication
        publication.check()
    except KeyboardInterrupt:
        typer.echo(_explain(publication), err=True)
        raise typer.Exit(_INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGINT, former)


def _explain(publication: Publication) -> str:
    stored, total = publication.stored, publication.total
    if total is None:
        return "Interrupted before anything was published: run the same command again."
    if stored == total:
        return f"Interrupted after all {total:,} {publication.of} were published."
    again = (
        "events without an event_id count twice" if publication.unnamed else "no event counts twice"
    )
    return (
        f"Interrupted: {stored:,} of {total:,} {publication.of} are published. To go on, run the "
        f"same command again: {again}."
    )
