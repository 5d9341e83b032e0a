"""A drill: load a dump into a scratch database, rebuild its read models, check and compare.

The live database, the archive and Redis stay as they are.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote, urlsplit
from uuid import uuid4

from progress.adapters.postgres import database, statements
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.archive.catalogue import Progress
from progress.errors import ProgressError
from progress.projections import rebuild
from progress.recovery import checks, dumps
from progress.recovery.checks import Finding

_FILE = "recovery/dumps"


class Drill(NamedTuple):
    """The dump that was restored, the seconds until it was checked, and what was wrong.

    `newer` has what newer dumps lack, by name: they are not whole.
    """

    name: str
    dump: dumps.DumpManifest
    seconds: float
    findings: list[Finding]
    newer: dict[str, str]


def run(url: str, storage: Storage, archive: Storage, on_progress: Progress) -> Drill:
    """Restore the newest whole dump beside the database of `url`, whose owner must be allowed to.

    `archive` has the ledger of erasures. Raise ProgressError as `dumps.load` does.
    """
    begun = time.monotonic()
    whole, newer = dumps.find_whole(storage)
    if newer and whole is None:
        raise ProgressError(f"no dump is whole: {'; '.join(newer.values())}")
    with _open_scratch(url) as scratch, contextlib.closing(database.connect(scratch)) as copy:
        name, dump = dumps.load(copy, storage, archive, on_progress, whole)
        rebuild.ensure(lambda: database.connect(scratch))
        found = checks.run(copy, with_rows=True).findings
        # Learners who were erased since the dump are hidden; a real restore erases them, too.
        findings = [each for each in found if each.do != checks.ERASE]
        findings += [
            Finding(f"the newer dump {one} is not whole: {lack}", "dump the log again")
            for one, lack in newer.items()
            if storage.has(f"{one}/{dumps.NAME}")  # else it may be under way
        ]
        findings += _compare(url, copy, dump.head)
    return Drill(name, dump, time.monotonic() - begun, findings, newer)


def check_copy(url: str, host: str) -> tuple[int, list[Finding]]:
    """Check a restored copy of the database of `url`, which has its logins, on another server.

    Return the last position of its log, and what is wrong.
    """
    copy_url = f"{url}{'&' if urlsplit(url).query else '?'}host={quote(host)}"
    rebuild.ensure(lambda: database.connect(copy_url))
    with contextlib.closing(database.connect(copy_url)) as copy:
        report = checks.run(copy, with_rows=True)
        return report.head, [*report.findings, *_compare(url, copy, report.head)]


def _compare(url: str, copy: Connection, upto: int) -> list[Finding]:
    with contextlib.closing(database.connect(url)) as live:
        logs = [database.run(one, _FILE, "sum log", upto=upto) for one in (live, copy)]
    wrong = f"up to position {upto:,}, the copy differs from the live log"
    do = "run `progress check`, then make another copy"
    return [] if logs[0] == logs[1] else [Finding(wrong, do)]


@contextlib.contextmanager
def _open_scratch(url: str) -> Iterator[str]:
    """Create an empty database on the same server; drop it at the end of the block."""
    name = f"progress_drill_{uuid4().hex[:12]}"
    with contextlib.closing(database.connect(url)) as owner:
        owner.run(statements.fill(_FILE, "create scratch", name=name))
        try:
            yield urlsplit(url)._replace(path=f"/{name}").geturl()
        finally:
            owner.run(statements.fill(_FILE, "drop scratch", name=name))
