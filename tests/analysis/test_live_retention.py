"""Retention computed from the archive equals retention in the live read model."""

import tempfile

import pytest
from hypothesis import given, settings

from progress.adapters import storage
from progress.analysis import questions
from progress.analysis.questions import Days
from tests.support import model_rows, written_archives
from tests.support.event_logs import Disturbance, Log, disturbances, logs
from tests.support.stage import Stage

pytestmark = pytest.mark.timeout(600)  # DuckDB is slow on a busy machine


@settings(max_examples=max(6, settings().max_examples // 4))
@given(log=logs(size=40), how=disturbances())
def test_weekly_retention_counts_from_the_archive_equal_those_of_the_live_read_model(
    stage: Stage, log: Log, how: Disturbance
) -> None:
    stage.sweep()
    stage.deliver(log, how)
    events = model_rows.read_events(stage.admin)
    live = {
        (row["week"], row["maturity"]): (row["learners"], row["asked"], row["recalled"])
        for row in model_rows.read(stage.admin, "retention by week")
    }
    if not events:
        assert live == {}
        return
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(questions, "FEWEST_LEARNERS", 1)
        archive = storage.open_storage(folder)
        written_archives.write(archive, events)
        rows = questions.ask(archive, questions.RETENTION, Days(), lambda *_: None)
    assert live == {
        (str(row.week), row.maturity): (row.learners, row.asked, row.recalled) for row in rows
    }
