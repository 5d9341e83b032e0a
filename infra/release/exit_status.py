"""The exception and the progress output of the programs in this folder."""

import sys


class Failed(Exception):
    """A step failed; the message says what failed and what to do."""


def log(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
