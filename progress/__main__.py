"""The command `progress`, also as `python -m progress`."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator


def main() -> None:
    with _ending_at_once():
        from progress import cli

        app = cli.build_app(*sys.argv[1:2])
    cli.main(app)


@contextlib.contextmanager
def _ending_at_once() -> Iterator[None]:
    """At Ctrl-C, end the process without an exception, which the import of a module could lose."""
    former = signal.getsignal(signal.SIGINT)
    if former is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _end(*_: object) -> None:
    os.write(2, b"progress: interrupted before anything was done\n")
    os._exit(130)  # by convention, 128 + SIGINT


if __name__ == "__main__":
    main()
