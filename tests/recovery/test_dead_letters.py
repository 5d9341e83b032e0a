"""Many dead letters are counted, replayed or discarded by reason."""

import json
import shlex
import uuid

import pytest

from progress.adapters.postgres.database import Connection
from progress.event_store import dead_letters
from progress.projections import batch
from tests.conftest import Store
from tests.support import cli, model_rows, runbooks, sample_events
from tests.support.stage import append

FLOOD = 1_200  # dead letters; even half of them exceed the 500 that a replay folds at a time


def start(session: object, items: int) -> dict[str, object]:
    data = {"session_id": session, "user_id": "ann", "item_count": items}
    return sample_events.envelope("SessionStarted", data, at=sample_events.BEGIN)


def runbook() -> list[str]:
    return [line for block in runbooks.blocks("Dead letters") for line in block]


@pytest.fixture
def flooded(connection: Connection) -> Connection:
    """A store with 1,200 dead letters from one strict rule, and a few for other reasons."""
    for _ in range(2):  # two messages of 600 events each
        append(connection, [start(str(uuid.uuid4()), -99_999) for _ in range(FLOOD // 2)])
    append(connection, [start(5, 1), {}, {}, start("s", 3)])
    return connection


@pytest.mark.exhaustive
def test_many_dead_letters_are_counted_replayed_and_discarded_by_reason(
    store: Store, flooded: Connection
) -> None:
    output = cli.expect_success(cli.progress(store.url, "dead-letters", "count", "--json"))
    counted = [json.loads(line) for line in output.splitlines()]
    assert [(group["kind"], group["letters"]) for group in counted] == [
        ("invalid", FLOOD), ("malformed", 2), ("invalid", 1)
    ]  # fmt: skip
    assert "1,200" in cli.expect_success(cli.progress(store.url, "dead-letters", "count"))
    replay, discard = (shlex.split(line)[1:] for line in runbook() if "--saying" in line)
    which = replay[replay.index("--kind") :]

    again = cli.expect_success(cli.progress(store.url, *replay))
    assert "0 dead letters are replayed, 1,200 stay open.\n  1,200  expected " in again

    # Make half of the dead letters valid, as if the rule had been relaxed.
    flooded.run(
        "UPDATE event_store.dead_letters SET payload = replace(payload, '-99999', '9')"
        " WHERE letter_id % 2 = 0"
    )
    half = cli.expect_success(cli.progress(store.url, *replay))
    assert "600 dead letters are replayed, 600 stay open." in half
    assert "replaying" in half
    assert model_rows.read_value(flooded, "head") == FLOOD // 2 + 1

    gone = ("discard", *which, "--reason", "a fault of the publisher")
    assert "600 dead letters are discarded." in cli.expect_success(
        cli.progress(store.url, "dead-letters", *gone)
    )
    left = dead_letters.count_by_reason(flooded)
    assert [(group.kind, group.letters) for group in left] == [("malformed", 2), ("invalid", 1)]
    assert "2 dead letters are discarded." in cli.expect_success(cli.progress(store.url, *discard))
    rest = ("discard", "--all", "--reason", "the rest")
    cli.expect_success(cli.progress(store.url, "dead-letters", *rest))
    assert not dead_letters.count_by_reason(flooded)
    batch.run(flooded)
    assert not sample_events.find_differences(flooded)


def test_all_dead_letters_of_poisoned_events_are_replayed_after_the_fold_is_fixed(
    store: Store, connection: Connection
) -> None:
    sample_events.record_lessons(connection, "ann", "ben")
    sample_events.poison(connection, "ann")
    sample_events.poison(connection, "ben")
    batch.run(connection)
    assert len(dead_letters.list_letters(connection)) == 2
    which = ("dead-letters", "replay", "--kind", "poisoned")
    assert "2 stay" in cli.expect_success(cli.progress(store.url, *which))
    model_rows.read(connection, "mend")
    assert "2 dead letters are replayed, 0 stay" in cli.expect_success(
        cli.progress(store.url, *which)
    )
    batch.run(connection)
    assert not sample_events.find_differences(connection)


@pytest.mark.first_in_gate
@pytest.mark.parametrize(
    "arguments",
    [
        ("replay",),
        ("replay", "1", "--all"),
        ("replay", "--all", "--kind", "invalid"),
        ("discard", "--reason", "x"),
        ("discard", "--all"),
        ("discard", "--all", "--reason", " "),
        ("discard", "--saying", "", "--reason", "x"),
        ("replay", "--kind", "poison"),
    ],
)
def test_a_missing_or_ambiguous_selection_gives_exit_code_2(
    store: Store, arguments: tuple[str, ...]
) -> None:
    answer = cli.progress(store.url, "dead-letters", *arguments)
    assert answer.returncode == 2, answer.stderr
