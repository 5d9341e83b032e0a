"""The peer of the query API: graphql-yoga with pg on Node, see `bench/yoga`."""

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.lines import LeftOut
from bench.server import Store
from progress import settings
from progress.local import ports, processes, readiness
from progress.projections import schema

_HERE = Path(__file__).resolve().parent / "yoga"
_LOCK = _HERE / "package-lock.json"
_INSTALLED = _HERE / "node_modules" / ".package-lock.json"  # written by npm


def install() -> None:
    """Fetch its packages, unless they are there; LeftOut where there is no Node."""
    for program in ("node", "npm"):
        if not shutil.which(program):
            raise LeftOut(f"{program} is not installed, and the peer runs on Node")
    if not _INSTALLED.exists() or _INSTALLED.stat().st_mtime < _LOCK.stat().st_mtime:
        subprocess.run(["npm", "ci", "--silent"], cwd=_HERE, check=True)


@contextlib.contextmanager
def running(how: str, store: Store, **environment: str) -> Iterator[int]:
    """Its port, until the block ends.

    `bare` only reads; `full` also knows its callers, counts their requests, and caches.
    """
    port = ports.free()
    told = {
        "NODE_ENV": "production",
        "PGHOST": store.host,
        "PGUSER": "postgres",
        "PGDATABASE": store.name,
        "PGOPTIONS": f"-c search_path={schema.schema_name()}",
        "PGAPPNAME": f"yoga {how}",
    }
    process = processes.start(
        ["node", _HERE / "server.mjs", how, str(port)],
        output=subprocess.DEVNULL,
        environment=settings.inherited(**told, **environment),
        folder=_HERE,
    )
    try:
        readiness.wait(lambda: ports.is_listening(port), f"yoga {how}")
        yield port
    finally:
        processes.end(process, by=signal.SIGTERM, seconds=10)
