"""DuckDB, Polars and Spark read the archive with the lines of docs/analysis.md, and pandas too.

Polars and Spark are no packages of the project: their lines run where they are installed.
"""

import importlib.util
import re
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Storage
from progress.projections import batch
from tests.support import archives, programs, sample_events
from tests.support.sample_events import BEGIN, envelope
from tests.support.stage import append

ROOT = Path(__file__).parents[2]
LINES = re.findall(
    r"(?ms)^```python\n(.*?)^```", (ROOT / "docs" / "analysis.md").read_text(encoding="utf-8")
)


@pytest.mark.exhaustive
def test_readers_of_the_files_see_what_was_recorded_and_the_example_what_counts(
    connection: Connection, archive: Storage, folder: Path
) -> None:
    """Each item of a lesson is answered on four days, a card on three: each time a day later."""
    sample_events.record_lessons(connection, "ann", "ben")
    now = BEGIN + timedelta(days=7)
    again = {"session_id": "ann-0", "item_id": "i0", "response_time_ms": 5}
    answer = envelope("IncorrectAnswerGiven", again, at=BEGIN + timedelta(days=6))
    own_id = envelope("IncorrectAnswerGiven", again, at=BEGIN + timedelta(days=6, hours=1))
    own_id["event_id"] = "answer 1"  # of the app's own kind, not a UUID
    card = {"user_id": "ann", "item_id": "card", "interval_days": 1}
    retracted = [
        envelope("EventRetracted", {"user_id": "ann", "retracted_event_id": each}, at=now)
        for each in (answer["event_id"], "answer 1")
    ]
    append(
        connection,
        [
            answer,
            own_id,
            *retracted,
            envelope("UserDeleted", {"user_id": "ben"}, at=now),
            *(
                envelope("CardReviewed", card | {"rating": rating}, at=BEGIN + timedelta(days=day))
                for day, rating in enumerate((3, 2, 1))
            ),
        ],
    )
    batch.run(connection)
    archives.run(connection, archive)
    for name, lines in zip(("duckdb", "polars", "pyspark"), LINES, strict=True):
        if importlib.util.find_spec(name):
            printed = run("-c", lines.replace(".progress/archive", str(folder)))
            assert re.search(r"IncorrectAnswerGiven\W+14\b", printed), printed
    rows = run(str(ROOT / "examples" / "archive.py"), str(folder)).splitlines()[2:]
    assert [row.split() for row in rows] == [["[1,", "2)", "11", "0.64"]]


def run(*arguments: str) -> str:
    return programs.run([sys.executable, *arguments], settings.child_env())
