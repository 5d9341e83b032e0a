"""`progress import reviews` of many learners, beside `progress publish` of the same events."""

import csv
import itertools
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from google.pubsub_v1.types import PublishRequest

from bench.lines import Line, Rounds, limit
from bench.server import Server
from progress import settings
from tests.support.fake_publisher import FakePublisher

_LEARNERS, _ROWS, _SESSION = 2_000, 500, 20  # rows of a learner, answers of a session
# The command on Linux, and the most memory that it had; getrusage() would count its parent's.
_PROGRAM = """import atexit, pathlib, runpy
atexit.register(lambda: print(pathlib.Path("/proc/self/status").read_text()))
runpy.run_module("progress", run_name="__main__", alter_sys=True)"""
_PART = 10  # the smaller file has the first of so many learners


def measure_imports(server: Server) -> Iterator[Line]:
    """Compare an import's rate with that of `publish`, and its memory with a tenth of the rows."""
    store, rounds = server.create_store(), Rounds()
    with tempfile.TemporaryDirectory() as name, closing(FakePublisher()) as pubsub:
        kept, events, part, whole = (
            Path(name, file) for file in ("k", "e.jsonl", "p.csv", "w.csv")
        )
        _write(part, _LEARNERS // _PART)
        _write(whole, _LEARNERS)
        environment = {"DATABASE_URL": store.url, "PUBSUB_EMULATOR_HOST": pubsub.address}
        pubsub.on_stored = lambda _: pubsub.requests.clear()
        _, small = _run("import", "reviews", str(part), **environment)
        with kept.open("wb") as target:

            def keep(request: PublishRequest) -> None:
                target.writelines(message.data + b"\n" for message in request.messages)
                pubsub.requests.clear()

            pubsub.on_stored = keep
            seconds, large = _run("import", "reviews", str(whole), **environment)
        pubsub.on_stored = lambda _: pubsub.requests.clear()
        count = _split(kept, events)
        rounds.add("import", count / seconds)
        rounds.add("publish", count / _run("publish", str(events), **environment)[0])
    server.drop(store)
    what = f"import of {_LEARNERS * _ROWS:,} rows of {_LEARNERS:,} learners"
    yield rounds.compare_rates(what, "import", "publish", against="publish:", bar=0.8)
    against = f"{_LEARNERS * _ROWS // _PART:,} rows: {small:.0f} MB"
    yield limit(
        "memory of the import", large / small, 1.2, shown=f"{large:.0f} MB", against=against
    )


def _write(file: Path, learners: int) -> None:
    """Write a review log that is sorted by learner and time."""
    numbers = random.Random(1)
    with file.open("w", encoding="utf-8", newline="") as target:
        rows = csv.writer(target)
        rows.writerow(["user_id", "card_id", "review_time", "review_rating", "review_duration",
                       "interval_days", "timezone"])  # fmt: skip
        for learner, number in itertools.product(range(learners), range(_ROWS)):
            begin = datetime(2024, 1, 1, 8, tzinfo=UTC) + timedelta(days=number // _SESSION)
            at = begin + timedelta(seconds=9 * (number % _SESSION))
            card, rating = numbers.randrange(300), numbers.choice([1, 3, 3, 3, 4])
            days = numbers.choice(["1", "2.5", "7", ""])
            rows.writerow(
                [f"user-{learner}", card, at.isoformat(), rating, 4_000, days, "Asia/Tokyo"]
            )


def _split(messages: Path, target: Path) -> int:
    """Write each event of the messages on a line of its own; return their number."""
    count = 0
    with messages.open("rb") as source, target.open("wb") as lines:
        for line in source:
            events = msgspec.json.decode(line, type=list[msgspec.Raw])
            lines.writelines(bytes(event) + b"\n" for event in events)
            count += len(events)
    return count


def _run(*arguments: str, **environment: str) -> tuple[float, float]:
    """Run the command; return its seconds and the most memory that it had, in MB."""
    begin = time.perf_counter()
    command = [sys.executable, "-c", _PROGRAM, *arguments]
    known = settings.child_env(**environment)
    done = subprocess.run(command, env=known, stdout=subprocess.PIPE, text=True, check=True)
    (kilobytes,) = re.findall(r"VmHWM:\s*(\d+) kB", done.stdout)
    return time.perf_counter() - begin, int(kilobytes) / 1_024
