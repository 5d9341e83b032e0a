"""Run graphql-yoga with pg on Node (`bench/yoga`), the peer of the query API in benchmarks."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.server import Store
from progress import settings
from progress.projections import schema
from progress.serve import ports, processes, readiness

FOLDER = Path(__file__).resolve().parent / "yoga"


@contextlib.contextmanager
def run(how: str, store: Store, **environment: str) -> Iterator[int]:
    """Run the peer until the `with` block ends; yield the peer's port.

    If `how` is "bare", the peer only queries the database. If `how` is "full", the peer also
    verifies tokens, limits the request rate and caches results.
    """
    port = ports.reserve()
    defaults = {
        "NODE_ENV": "production",
        "PGHOST": store.host,
        "PGUSER": "postgres",
        "PGDATABASE": store.name,
        "PGOPTIONS": f"-c search_path={schema.schema_name()}",
        "PGAPPNAME": f"yoga {how}",
    }
    process = processes.start(
        ["node", FOLDER / "server.mjs", how, str(port)],
        output=subprocess.DEVNULL,
        environment=settings.child_env(**defaults, **environment),
        folder=FOLDER,
    )
    try:
        readiness.wait(lambda: ports.is_listening(port), f"yoga {how}")
        yield port
    finally:
        processes.end(process, by=signal.SIGTERM, seconds=10)
