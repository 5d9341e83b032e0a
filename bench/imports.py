"""The import of a review log into a local stack, until all of it is recorded."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.lines import Line
from bench.server import Server
from progress.serve import readiness
from tests.support import local_stack
from tests.support.local_stack import Stack

_ROWS, _OF_LEARNER = 1_000_000, 1_000
_BAR = 1_000  # rows a second
_SINCE = datetime(2024, 1, 1, 12, tzinfo=UTC)


def measure_import(_server: Server, rows: int = _ROWS) -> Iterator[Line]:
    with local_stack.run() as stack:
        _write(file := stack.folder.path / "log.csv", rows)
        begin = time.monotonic()
        stack.progress("import", "reviews", str(file))
        ended = time.monotonic()
        readiness.wait(lambda: _count(stack) >= rows, "the events", seconds=3_600)
        rate = rows / (time.monotonic() - begin)
    shown = f"the command took {ended - begin:.0f} s"
    yield Line(f"import of {rows:,} rows", shown, "", rate, _BAR, "rows/s")


def _write(file: Path, rows: int) -> None:
    with file.open("w", encoding="utf-8") as target:
        target.write("user_id,card_id,review_time,review_rating,review_duration\n")
        for n in range(rows):
            user, place = divmod(n, _OF_LEARNER)
            at = _SINCE + timedelta(days=place // 50, seconds=20 * (place % 50))
            target.write(f"u{user},c{place % 300},{at.isoformat()},{1 + n % 4},4000\n")


def _count(stack: Stack) -> int:
    events: int = json.loads(stack.run("status", "--json").stdout)["events"]
    return events
