"""Retention in the real log: the archive, the live folds and the specification agree."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.analysis import questions
from progress.analysis.questions import Days
from progress.demo import loading
from progress.importers import sm2
from progress.projections.projector import Projector
from tests.support import model_rows, written_archives
from tests.support.stage import append

pytestmark = pytest.mark.timeout(600)  # DuckDB is slow on a busy machine


def test_retention_in_the_real_log_equals_the_numbers_in_the_specification(
    tmp_path: Path, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In the specification, each answer changes the item's interval, which is rounded to the nearest
    # day. The importer rounds intervals up, and ignores an answer within 12 hours of the preceding
    # answer. Here, the importer is changed to compute intervals as the specification does.
    monkeypatch.setattr(sm2, "_DAY_GAP", timedelta(0))
    monkeypatch.setattr(sm2, "math", SimpleNamespace(ceil=round))
    monkeypatch.setattr(questions, "FEWEST_LEARNERS", 1)
    archive = storage.open_storage(str(tmp_path))
    published = [event for message in loading.messages() for event in message.events]
    envelopes: list[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(published))
    written_archives.write(archive, written_archives.record(envelopes))
    rows = questions.ask(archive, questions.RETENTION, Days(), lambda *_: None)
    asked, recalled = Counter[str](), Counter[str]()
    for row in rows:
        asked[row.maturity] += row.asked
        recalled[row.maturity] += row.recalled
    assert asked == {"YOUNG": 5_715, "MATURE": 657}
    rates = {maturity: round(100 * recalled[maturity] / asked[maturity], 1) for maturity in asked}
    assert rates == {"YOUNG": 77.1, "MATURE": 86.3}
    assert read_live_retention(connection, envelopes) == {
        (str(row.week), row.maturity): (row.asked, row.recalled) for row in rows
    }


def read_live_retention(
    connection: Connection, envelopes: list[dict[str, Any]]
) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the numbers of tests and of recalls in the live read model, by week and maturity."""
    for first in range(0, len(envelopes), 1_000):
        append(connection, envelopes[first : first + 1_000])
    Projector(connection).catch_up_all()
    return {
        (row["week"], row["maturity"]): (row["asked"], row["recalled"])
        for row in model_rows.read(connection, "retention by week")
    }
