"""Run graphql-yoga with pg on Node (`bench/yoga`), the peer of the query API in benchmarks."""

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.lines import RowSkipped
from bench.server import Store
from progress import settings
from progress.local import ports, processes, readiness
from progress.projections import schema

_FOLDER = Path(__file__).resolve().parent / "yoga"
_LOCK = _FOLDER / "package-lock.json"
_INSTALLED = _FOLDER / "node_modules" / ".package-lock.json"  # written by npm


def install() -> None:
    """Install missing packages. Raise RowSkipped if Node is missing."""
    for program in ("node", "npm"):
        if not shutil.which(program):
            raise RowSkipped(f"{program} is missing: install Node 20 and npm for graphql-yoga")
    if not _INSTALLED.exists() or _INSTALLED.stat().st_mtime < _LOCK.stat().st_mtime:
        subprocess.run(["npm", "ci", "--silent"], cwd=_FOLDER, check=True)


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
        ["node", _FOLDER / "server.mjs", how, str(port)],
        output=subprocess.DEVNULL,
        environment=settings.child_env(**defaults, **environment),
        folder=_FOLDER,
    )
    try:
        readiness.wait(lambda: ports.is_listening(port), f"yoga {how}")
        yield port
    finally:
        processes.end(process, by=signal.SIGTERM, seconds=10)
