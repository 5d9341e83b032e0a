"""Which learners a batch run reads when a level has more items."""

from datetime import timedelta

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.projections import batch
from progress.projections.projector import SHARDS, Projector
from progress.projections.schema import fingerprint
from tests.support import model_rows, sample_events
from tests.support.stage import append

LATER = sample_events.BEGIN + timedelta(days=9)


def test_a_batch_run_reads_learners_without_new_events_only_if_they_may_reach_a_level(
    connection: Connection,
) -> None:
    published = [sample_events.item_published(f"i{n}") for n in range(5)]
    users = [f"user {n}" for n in range(8)]
    lessons = [
        sample_events.lesson(user, 3, items=4 if n == 5 else 2) for n, user in enumerate(users)
    ]
    append(connection, [*published, *(event for lesson in lessons for event in lesson)])
    batch.run(connection)
    append(connection, [sample_events.item_published("new", at=LATER)])
    Projector(connection).catch_up_all()
    with database.transaction(connection):
        assert batch.fold(connection, list(SHARDS)) == 0
        found = model_rows.read_table(connection, f"batch_learners_{fingerprint()}")
    assert [row["user_id"] for row in found] == ["user 5"]
