"""The command `progress analyse` needs only an archive; here, the archive has 45 learners."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.projections import batch
from tests import oracle
from tests.oracle import analyses
from tests.support import archives, cli, model_rows, sample_events

pytestmark = pytest.mark.timeout(600)  # commands are slow on a busy machine

EVER = (date.min, date.max)


def analyse(folder: Path, *words: str) -> str:
    """Run the command without a database; return its output."""
    answer = cli.progress("", "analyse", *words, PROGRESS_DATA_DIR=str(folder), TZ="Asia/Kathmandu")
    assert answer.stderr == ""
    return cli.expect_success(answer)


@pytest.mark.exhaustive
def test_an_archived_log_of_45_learners_is_analysed_without_a_database(
    connection: Connection, tmp_path: Path
) -> None:
    archived = storage.open_storage(str(tmp_path / "archive"))
    sample_events.record_lessons(connection, *(f"few-{n}" for n in range(19)), lessons=2)
    batch.run(connection)
    archives.run(connection, archived)
    assert analyse(tmp_path, "cohorts", "--json") == "[]\n"
    line = analyse(tmp_path, "retention", "--html", str(tmp_path / "page.html"))
    assert line == "Nothing to show: no week has tests of 20 learners or more.\n"
    assert not (tmp_path / "page.html").exists()

    sample_events.record_lessons(connection, *(f"many-{n}" for n in range(26)), lessons=9)
    batch.run(connection)
    archives.run(connection, archived)
    world = oracle.see(model_rows.read_events(connection), datetime(2030, 1, 1, tzinfo=UTC))
    rows: list[dict[str, Any]] = json.loads(analyse(tmp_path, "retention", "--json"))
    assert {
        (row["week"], row["maturity"]): (row["learners"], row["asked"], row["recalled"])
        for row in rows
    } == analyses.retention(world, EVER, fewest=20)
    output = analyse(tmp_path, "items", "--html", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert output.rstrip("\n").endswith(page.partition("<h1>")[2].partition("</h1>")[0])
    assert "2024-04-01" in analyse(tmp_path, "cohorts", "--to", "2024-04-30")


def test_reversed_dates_and_a_missing_archive_are_rejected(tmp_path: Path) -> None:
    folder = str(tmp_path)
    days = ("--from", "2024-05-02", "--to", "2024-05-01")
    wrong = cli.progress("", "analyse", "items", *days, PROGRESS_DATA_DIR=folder)
    assert wrong.returncode == 2
    missing = cli.progress("", "analyse", "items", PROGRESS_DATA_DIR=folder)
    cli.expect_failure(missing, "no archive yet: run `progress archive`")
