"""An erasure deletes the exported files and the archived events of the learner."""

from pathlib import Path

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.archive import catalog, check
from progress.projections import batch
from tests.support import archives, model_rows, sample_events, stage
from tests.support.erasure_fixtures import (
    LEARNER,
    NEEDLES,
    erase,
    find_traces,
    no_requests,
    receipt,
    traced,
)
from tests.support.export_fixtures import export_statistics
from tests.support.operation_fixtures import Operator

__all__ = ["no_requests", "traced"]


def test_the_exports_of_the_learner_are_deleted(operator: Operator, traced: Connection) -> None:
    export = operator.start("exportUser", f'userId: "{LEARNER}", ')
    operator.run(export["id"])
    own = 'mutation { exportUser(idempotencyKey: "mine") { id } }'
    unfinished = operator.ask(own, LEARNER, roles="learner")["data"]["exportUser"]["id"]
    done = operator.run(erase(operator)["id"])
    assert (receipt(done)["erased"]["exports"], receipt(done)["erased"]["operations"]) == (2, 2)
    assert find_traces(traced, *NEEDLES) == []
    assert operator.get(unfinished)["state"] == "FAILED"
    assert operator.run(unfinished)["state"] == "FAILED"
    assert operator.error(own.replace("mine", "new"), LEARNER, roles="learner")[0] == "NOT_FOUND"


def test_exported_statistics_that_may_contain_rows_of_the_learner_are_deleted(
    operator: Operator, traced: Connection, exports: Path
) -> None:
    for learners in ("", f', learners: ["{LEARNER}"]', ', learners: ["ben"]'):
        operator.run(export_statistics(operator, f"table: DAILY{learners}")["id"])
    unfinished = export_statistics(operator, "table: ITEM")["id"]
    done = operator.run(erase(operator)["id"])
    assert receipt(done)["erased"]["exports"] == 3
    assert len([*exports.iterdir()]) == 1
    assert find_traces(traced, *NEEDLES) == []
    assert "request another export" in operator.get(unfinished)["error"]
    later = operator.run(export_statistics(operator, "table: DAILY")["id"])
    assert later["state"] == "SUCCEEDED"


def test_the_archive_contains_no_event_of_an_erased_learner(
    operator: Operator, traced: Connection
) -> None:
    archive = catalog.open_archive(settings.current())
    stage.append(traced, [sample_events.user_deleted(LEARNER)])
    batch.run(traced)
    archives.run(traced, archive)
    before = archives.files_with(archive, f"learner-{LEARNER}")
    erased = receipt(operator.run(erase(operator)["id"]))["erased"]
    # The erasure also rewrites one other file. This file contains an event of the learner's
    # session in a stream that belongs to no learner.
    assert erased["files"] == len(before) + 1
    assert erased["archived_events"] == erased["events"]
    assert erased["files"] > 0
    assert archives.files_with(archive, f"learner-{LEARNER}") == []
    assert not check.run_deep(traced, archive, lambda *_: None).findings
    checkpoints = catalog.read(archive).manifest.checkpoints  # type: ignore[union-attr]
    ids = {str(e["event_id"]) for e in model_rows.read_table(traced, "event_store.events")}
    assert {one.event_id for one in checkpoints} <= ids
