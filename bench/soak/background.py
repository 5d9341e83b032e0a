"""A part of the soak test that works in a separate thread."""

import threading


class Background:
    """A thread that works until `stop` is called.

    A subclass defines `_run`, which ends once `_stop` is set.
    """

    def __init__(self, name: str) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop working, and wait until the thread has ended."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        raise NotImplementedError
