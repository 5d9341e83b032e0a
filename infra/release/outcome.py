"""How a release can end badly, and how it tells what it does."""

import signal
import sys


class Failed(Exception):
    """A step did not succeed; the message says what was found and what to do."""


class Interrupted(Failed):
    """Somebody stopped the release: a signal came."""


def say(text: str) -> None:
    """One line of progress, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def deafen() -> None:
    """No signal interrupts what comes now: the way back, or the end."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
