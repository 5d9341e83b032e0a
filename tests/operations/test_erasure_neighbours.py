"""The erasure of some learners changes nothing of the others, however related their ids are.

Each test compares a system that has erased learners with a system in which they were never there.
"""

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import hypothesis
import pytest
from hypothesis import Phase, event, given
from hypothesis import strategies as st

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.event_store import log
from progress.ingest import push
from progress.operations import erase_user, records
from progress.operations.records import OperationKind
from progress.projections import batch
from progress.recovery import checks
from tests.conftest import Store
from tests.support import model_rows, stage
from tests.support.erasure_fixtures import no_requests
from tests.support.erasure_worlds import Message, World, emptied
from tests.support.operation_fixtures import deliver, url_of
from tests.support.pushes import encode_push

__all__ = ["no_requests"]

# Callers and subjects that may be equal to a learner's id.
ARCHIVES = [("caller", "archive"), (records.COMMAND_LINE, "7")]


# A seed has no simpler form, so there is nothing to shrink.
@hypothesis.settings(phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 1 << 32))
def test_the_erasures_of_some_learners_change_nothing_of_the_others(
    stores: Callable[[], Store],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
) -> None:
    rng = random.Random(seed)
    world = World(rng)
    event(f"{len(world.erased)} erasures")
    real, never = stores(), stores()
    with (
        use(real, monkeypatch, str(tmp_path_factory.mktemp("data"))),
        contextlib.closing(stage.connect(real.url)) as connection,
        contextlib.closing(stage.connect(never.url)) as other,
    ):
        append(connection, world.earlier)
        batch.run(connection)
        start_operations(connection, world)
        operations = start_erasures(connection, world)
        run_with_kills(connection, operations, world, rng)
        append(connection, world.later)
        append(
            other, [m for m in world.earlier + world.later if world.owner(m) not in world.erased]
        )
        for one in (connection, other):
            batch.run(one)
        found, expected = list_rows(connection), list_rows(other)
        for table in found:
            assert differ(found[table], expected[table]) == [], table
        found_letters, letters = list_letters(connection), list_expected_letters(other, world)
        assert differ([*found_letters.items()], [*letters.items()]) == []
        assert list_operations(connection, world) == list_expected_operations(world)
        compared = model_rows.compare(model_rows.read_rows(connection), model_rows.read_rows(other))
        # `last_updated` is the time of recording, which each system assigns itself.
        assert [line for line in compared if "last_updated" not in line] == []
        assert not checks.run(connection).findings


def differ(found: list[Any], expected: list[Any]) -> list[str]:
    """Return the rows that only one list contains."""
    return [
        *(f"found {row}" for row in found if row not in expected),
        *(f"missing {row}" for row in expected if row not in found),
    ]


@contextlib.contextmanager
def use(store: Store, monkeypatch: pytest.MonkeyPatch, folder: str) -> Iterator[None]:
    """Let workers of operations use this store."""
    with monkeypatch.context() as patch:
        patch.setenv("DATABASE_URL", url_of(store, "project"))
        patch.setenv("PROGRESS_DATA_DIR", folder)
        settings.current.cache_clear()
        yield
    settings.current.cache_clear()


def append(connection: Connection, messages: list[Message]) -> None:
    for message in messages:
        body = encode_push(
            message.data, attributes=message.attributes, message_id=message.message_id
        )
        log.append(connection, [push.parse_delivery(body)])


def start(
    connection: Connection, kind: OperationKind, caller: str, subject: str, **of: Any
) -> UUID:
    key = str(uuid4())
    return records.accept(connection, kind, caller=caller, key=key, subject=subject, **of)


def start_operations(connection: Connection, world: World) -> None:
    """Start an operation of each learner, and finish every second one."""
    for number, name in enumerate(world.names):
        learners = [name, "somebody"]
        operation_id = start(
            connection, OperationKind.EXPORT_STATISTICS, f"caller {name}", name,
            learners=learners, table=world.names[0],
        )  # fmt: skip
        if number % 2:
            finish(connection, operation_id)
    for caller, subject in ARCHIVES:
        finish(connection, start(connection, OperationKind.ARCHIVE, caller, subject, before="7"))


def finish(connection: Connection, operation_id: UUID) -> None:
    sql = (
        "UPDATE operations.operations SET state = 'FAILED', finished_at = now(), error = 'user_id' "
    )
    connection.run(sql + "WHERE operation_id = :id", id=operation_id)


def start_erasures(connection: Connection, world: World) -> list[UUID]:
    return [
        start(connection, OperationKind.ERASE_USER, "admin", learner, user_id=learner)
        for learner in world.erased
    ]


def run_with_kills(
    connection: Connection, operations: list[UUID], world: World, rng: random.Random
) -> None:
    """Run the erasures in turns; workers lose their connections at random statements.

    Between the turns, messages arrive that were published before the erasures.
    """
    waiting, run = [*world.later], erase_user._run
    unfinished = [*operations]
    while unfinished:
        operation_id, left = rng.choice(unfinished), rng.randint(1, 60)

        def run_and_break(worker: Connection, block: str, **values: object) -> Any:
            nonlocal left
            left -= 1
            if not left:
                worker.run("SELECT pg_terminate_backend(pg_backend_pid())")
            return run(worker, block, **values)

        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Exception):
            patch.setattr(erase_user, "_run", run_and_break)
            deliver(str(operation_id))
        append(connection, waiting[: rng.randint(0, 3)])
        del waiting[: rng.randint(0, 1)]
        operation = records.get_operation(connection, operation_id)
        assert operation
        assert operation.state in {"PENDING", "RUNNING", "SUCCEEDED"}, operation.error
        if operation.state == "SUCCEEDED":
            unfinished.remove(operation_id)


def list_rows(connection: Connection) -> dict[str, Any]:
    """Return the events, sessions and pending events, without what each system assigns itself."""
    assigned = {"global_position", "created_at", "shard", "received_at", "arrival"}
    rows = {
        table: [
            {name: value for name, value in row.items() if name not in assigned}
            for row in model_rows.read_table(connection, f"event_store.{table}")
        ]
        for table in ("events", "sessions", "pending")
    }
    rows["events"] = [row for row in rows["events"] if row["event_type"] != "Erased"]
    rows["sessions"] = [row for row in rows["sessions"] if row["user_id"]]
    return {table: sorted(rows[table], key=str) for table in rows}


def list_letters(connection: Connection) -> dict[str, dict[str, Any]]:
    """Return the dead letters that are not erased, by the ids of their messages."""
    ignored = {"letter_id", "received_at"}
    return {
        row["message_id"]: {name: row[name] for name in row if name not in ignored}
        for row in model_rows.read_table(connection, "event_store.dead_letters")
        if row["discard_reason"] != "erased"
    }


def list_expected_letters(never: Connection, world: World) -> dict[str, dict[str, Any]]:
    """Return the dead letters of the other system, with empty texts where the oracle says so."""
    messages = {message.message_id: message for message in world.earlier + world.later}
    return {
        message_id: letter | emptied(letter["payload"])
        if world.is_emptied(messages[message_id])
        else letter
        for message_id, letter in list_letters(never).items()
    }


def list_operations(connection: Connection, world: World) -> list[Any]:
    """Return the operations that are not about an erased learner."""
    sql = """SELECT kind, started_by, subject, arguments, error FROM operations.operations
        WHERE kind <> 'ERASE_USER' AND started_by <> ALL (:callers) ORDER BY number"""
    rows: list[Any] = connection.run(sql, callers=[f"caller {name}" for name in world.erased])
    return rows


def list_expected_operations(world: World) -> list[Any]:
    exports = [
        [
            "EXPORT_STATISTICS", f"caller {name}", name,
            {"learners": [name, "somebody"], "table": world.names[0]},
            "user_id" if number % 2 else None,
        ]
        for number, name in enumerate(world.names)
        if name not in world.erased
    ]  # fmt: skip
    archives = [
        ["ARCHIVE", caller, subject, {"before": "7"}, "user_id"] for caller, subject in ARCHIVES
    ]
    return [*exports, *archives]
