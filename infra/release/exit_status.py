"""The exceptions of a release, its progress output, and its signal handling."""

import signal
import sys


class Failed(Exception):
    """A step failed; the message names the condition and what to do."""


class Interrupted(Failed):
    """A signal stopped the release."""


def log(text: str) -> None:
    """Write one line of progress and flush it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def ignore_signals() -> None:
    """Ignore SIGINT and SIGTERM, so that nothing interrupts a rollback or the cleanup."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
