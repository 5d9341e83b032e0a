"""The exceptions, progress output, exit codes and signal handling of the release programs."""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path


class Failed(Exception):
    """A step failed; the message says what failed and what to do."""


class Interrupted(Failed):
    """A signal stopped the release."""


def log(text: str) -> None:
    """Write one line of progress and flush it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(description: str, names: tuple[str, ...], work: Callable[..., None]) -> int:
    """Parse the required options `names` and pass their values to `work`. Return the exit code.

    The exit code is 1 if `work` raises Failed, else 0.
    """
    parser = argparse.ArgumentParser(description=description)
    for name in names:
        parser.add_argument(f"--{name}", required=True)
    arguments = vars(parser.parse_args())
    try:
        work(**arguments)
    except Failed as error:
        sys.stderr.write(f"{Path(sys.argv[0]).stem}: {error}\n")
        return 1
    return 0


def ignore_signals() -> None:
    """Ignore SIGINT and SIGTERM, so that nothing interrupts a rollback or the cleanup."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
