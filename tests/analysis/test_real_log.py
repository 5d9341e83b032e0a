"""A real learner has as many tests as the specification states."""

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from progress.adapters.storage import storage
from progress.analysis import questions
from progress.analysis.questions import Days
from progress.demo import loading
from tests.support import written_archives

pytestmark = pytest.mark.timeout(600)  # DuckDB is slow on a busy machine


def test_the_real_log_has_the_tests_that_the_specification_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert asked["YOUNG"] + asked["MATURE"] == 5_715 + 657
    assert round(sum(recalled.values()) / sum(asked.values()), 2) == 0.78
