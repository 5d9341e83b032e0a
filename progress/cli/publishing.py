"""Publish messages behind a progress bar; if Ctrl-C ends the command, say what was done."""

import contextlib
import signal
from collections.abc import Iterator, Sequence

import msgspec
import typer

from progress.adapters import terminal
from progress.adapters.pubsub import publisher
from progress.adapters.pubsub.publisher import Message, Packed
from progress.adapters.terminal import Console

_INTERRUPTED = 130  # by convention, 128 + SIGINT


class Publication(msgspec.Struct):
    """The number of events that Pub/Sub has stored, of how many; None before publishing begins.

    An import counts the rows whose events are stored instead.
    """

    stored: int = 0
    total: int | None = None
    of: str = "events"
    unnamed: int = 0  # events without an id, which count again if they are published again
    is_interrupted: bool = False

    def publish(
        self,
        console: Console,
        messages: Sequence[Message | Packed],
        total: int,
        *,
        project: str,
        emulator: str | None,
    ) -> int:
        self.total = total
        with terminal.progress_bar(console, "publishing", total) as show_progress:

            def report(stored: int) -> None:
                self.stored = stored
                show_progress(stored)
                self.check()

            return publisher.publish(
                messages, project=project, emulator=emulator, on_published=report
            )

    def check(self) -> None:
        """Raise KeyboardInterrupt if there was one, which a callback of a library may have lost."""
        if self.is_interrupted:
            raise KeyboardInterrupt

    def interrupt(self, *_: object) -> None:
        self.is_interrupted = True
        raise KeyboardInterrupt


@contextlib.contextmanager
def explain_interrupt() -> Iterator[Publication]:
    """Yield a publication; at Ctrl-C, print what was published, and exit with 130."""
    publication = Publication()
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
        f"Interrupted: Pub/Sub has stored {stored:,} of {total:,} {publication.of}. To go on, run "
        f"the same command again: {again}."
    )
