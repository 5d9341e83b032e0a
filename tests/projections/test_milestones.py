"""Which learners a batch run reads when a level has more items."""

from datetime import timedelta

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.projections import batch
from progress.projections.projector import SHARDS, Projector
from progress.projections.schema import fingerprint
from tests.oracle.events import CARD
from tests.support import model_rows, sample_events
from tests.support.stage import append

LATER = sample_events.BEGIN + timedelta(days=9)


def read_by_next_run(connection: Connection, card: str) -> list[str]:
    """Publish a card; return whom the next batch run reads, and run it."""
    append(connection, [publish(card)])
    Projector(connection).catch_up_all()
    with database.transaction(connection):
        assert batch.fold(connection, list(SHARDS)) == 0
        found = model_rows.read_table(connection, f"batch_learners_{fingerprint()}")
    return sorted(row["user_id"] for row in found)


def publish(card: str) -> sample_events.Envelope:
    """Publish a card that is named after its kind, its number and, if it has one, its language."""
    kind, _, *language = card.split("-")
    event = sample_events.item_published(card, language=next(iter(language), None))
    return {**event, "data": {**event["data"], "kind": kind}}


def test_a_batch_run_reads_only_learners_of_a_changed_pair_who_know_enough_of_it_or_a_language(
    connection: Connection,
) -> None:
    reading, german = [f"reading-{n}" for n in range(10)], [f"reading-{n}-de" for n in range(5)]
    typing = [f"typing-{n}-de" for n in range(9)]
    append(connection, [publish(card) for card in (*reading, *german, *typing, "rare-0")])
    known = {
        "both": [*reading[:7], *german],
        "few": reading[:7],
        "german": german,
        "many": reading[:8],
        "rare": ["rare-0"],
        "typing": typing,
    }
    for user, cards in known.items():
        data = {"user_id": user, "rating": 3, "interval_days": 30}
        reviews = [{**data, "item_id": card} for card in cards]
        append(connection, [sample_events.envelope(CARD, one, at=LATER) for one in reviews])
    batch.run(connection)
    rows = model_rows.read(connection, "milestones")
    assert sorted(row["user_id"] for row in rows if row["level"]) == [
        *("both", "german", "many", "rare", "typing")
    ]
    assert read_by_next_run(connection, "reading-10") == ["both", "many"]
    assert read_by_next_run(connection, "rare-1") == ["rare"]
    assert not sample_events.find_differences(connection)
