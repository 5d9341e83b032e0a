"""Commands that publish events warn about times in the future: ingest records them later."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from progress.importers import anki_log, future_times
from tests.support import cli, sample_events
from tests.support.fake_publisher import FakePublisher, fake_publisher

__all__ = ["fake_publisher"]

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
FUTURE = (datetime(2999, 4, 5, 6, 7, 8, tzinfo=UTC), datetime(2998, 4, 5, 6, 7, 8, tzinfo=UTC))
WARNING = (
    "2 of the events have a time more than 10 minutes ahead of the clock, the first "
    "2998-04-05T06:07:08Z: they become dead letters of the kind `future`, and the scheduled job "
    "records each of them when its time is near"
)


@given(st.lists(st.integers(-700, 700)))
def test_the_warning_counts_the_times_more_than_ten_minutes_ahead(seconds: list[int]) -> None:
    times = [NOW + timedelta(seconds=number) for number in seconds]
    future = sum(number > 600 for number in seconds)
    warning = future_times.find_warning(times, NOW)
    assert (warning or "0 ").partition(" ")[0] == str(future)
    assert (warning is None) == (future == 0)


def test_publish_warns_once_about_all_events_in_the_future(
    fake_publisher: FakePublisher, tmp_path: Path
) -> None:
    events = [sample_events.envelope("UserDeleted", {"user_id": "u"}, at=at) for at in FUTURE]
    file = tmp_path / "events"
    past = json.dumps(sample_events.user_deleted("v"))
    file.write_text(f"{past}\n{json.dumps(events)}\n", encoding="utf-8")
    rejected = cli.progress("", "publish", str(file))
    cli.expect_failure(rejected, "line 2: expected a time at most 10 minutes ahead")
    answer = cli.progress(
        "", "publish", "--force", str(file), PUBSUB_EMULATOR_HOST=fake_publisher.address
    )
    assert cli.expect_success(answer) == "3 published\n"
    assert answer.stderr.splitlines()[0] == WARNING


def test_an_import_warns_about_answers_in_the_future(
    fake_publisher: FakePublisher, tmp_path: Path
) -> None:
    file = tmp_path / "log.csv"
    with file.open("w", encoding="utf-8") as target:
        rows = [("c", 1, at.isoformat(), 0) for at in (sample_events.BEGIN, FUTURE[1])]
        csv.writer(target).writerows([anki_log.COLUMNS, *rows])
    answer = cli.progress(
        "", "import", "anki", str(file), "--json", PUBSUB_EMULATOR_HOST=fake_publisher.address
    )
    assert json.loads(cli.expect_success(answer))["answers"] == 2
    # The session's begin and end, the answer and its review.
    assert WARNING.replace("2 of", "4 of") in answer.stderr.splitlines()
