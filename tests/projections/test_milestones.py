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


def read_by_next_run(connection: Connection, card: str) -> list[str]:
    """Publish a card, named after its kind; return whom the next batch run reads, and run it."""
    append(connection, [publish(card)])
    Projector(connection).catch_up_all()
    connection.run("BEGIN")
    assert batch.fold(connection, list(SHARDS)) == 0
    found = model_rows.read_table(connection, f"batch_learners_{fingerprint()}")
    connection.run("COMMIT")
    return sorted(row["user_id"] for row in found)


def publish(card: str) -> sample_events.Envelope:
    event = sample_events.item_published(card)
    return {**event, "data": {**event["data"], "kind": card.split("-", maxsplit=1)[0]}}


def test_a_pair_with_few_items_lets_a_run_read_only_its_own_learners(
    connection: Connection,
) -> None:
    def review(user: str, *cards: str) -> list[sample_events.Envelope]:
        data = {"user_id": user, "rating": 3, "interval_days": 30}
        return [
            sample_events.envelope("CardReviewed", {**data, "item_id": card}, at=LATER)
            for card in cards
        ]

    cards = [f"{kind}-{n}" for kind in ("reading", "typing") for n in range(5)]
    append(connection, [publish(card) for card in (*cards, "rare-0")])
    append(connection, review("few", *cards[:3]))
    append(connection, review("reads", *cards[:4]))
    append(connection, review("types", *cards[5:]))
    append(connection, review("rare", "rare-0"))
    batch.run(connection)
    reached = [row["user_id"] for row in model_rows.read(connection, "milestones") if row["level"]]
    assert sorted(reached) == ["rare", "reads", "types"]
    assert read_by_next_run(connection, "reading-5") == ["reads"]
    assert read_by_next_run(connection, "rare-1") == ["rare"]
    assert not sample_events.find_differences(connection)
