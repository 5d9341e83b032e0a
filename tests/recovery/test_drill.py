"""The drill loses a database, recovers it as the runbook says, and notices lost events."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from progress import cli
from progress.cli import drill
from progress.errors import ProgressError
from tests.support import runbooks

pytestmark = pytest.mark.timeout(600)  # a local stack is slow on a busy machine


def run(source: str) -> tuple[dict[str, Any], BaseException | None]:
    """Run the drill with a small log; return its report and its error."""
    words = ["drill", "--events", "3000", "--source", source, "--json"]
    result = CliRunner().invoke(cli.build_app("drill"), words)
    return json.loads(result.stdout), result.exception


@pytest.mark.exhaustive
@pytest.mark.parametrize("source", ["dump", "archive"])
def test_every_acknowledged_event_is_recovered(source: str) -> None:
    report, error = run(source)
    assert error is None
    assert (report["lost"], report["rpo_seconds"]) == (0, 0)
    assert report["acknowledged"] >= 3_000
    assert 0 < report["restored"] < report["acknowledged"]
    assert report["replayed"] == report["acknowledged"] - report["restored"]
    assert report["rto_seconds"] >= sum(step["seconds"] for step in report["steps"]) - 1
    assert report["steps"][-1]["name"] == "the first right answer"


@pytest.mark.exhaustive
def test_the_drill_fails_if_events_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(_self: object) -> None:
        """Do not replay."""

    monkeypatch.setattr(drill._Drill, "_replay", forget)
    report, error = run("dump")
    assert isinstance(error, ProgressError)
    assert report["lost"] > 0
    assert report["rpo_seconds"] > 0
    assert report["restored"] + report["replayed"] + report["lost"] == report["acknowledged"]


def progress_lines(heading: str, *words: str) -> list[str]:
    """Return the `progress` commands of the block of a section that contains these words."""
    (block,) = (
        block
        for block in runbooks.blocks(heading)
        if all(word in "\n".join(block) for word in words)
    )
    return [line.removeprefix("progress ") for line in block if line.startswith("progress ")]


@pytest.mark.parametrize("source", ["dump", "archive"])
def test_the_drill_runs_the_commands_of_the_runbook(source: str) -> None:
    heading = "Restore the event store"
    restore = {
        "dump": [
            *progress_lines(heading, "progress load dumps"),
            *progress_lines(heading, "progress rebuild"),
        ],
        "archive": progress_lines("Restore the log from the archive", "archive restore"),
    }
    lines = [
        *progress_lines(heading, "pushes hold"),
        *restore[source],
        *progress_lines(heading, "warm"),
        *progress_lines(heading, "pushes resume"),
    ]
    run_by_drill = [drill.HOLD, *drill.RESTORE[source], drill.WARM, drill.ERASE, *drill.RESUME]
    # The local stack has only one of the schedules.
    assert [line.partition(" progress-batch-")[0] for line in lines] == run_by_drill
