"""A learner with traces in every table, and functions that find traces after an erasure."""

import contextlib
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import pytest
import redis

from progress import settings
from progress.adapters.postgres import statements
from progress.adapters.postgres.database import Connection
from progress.archive import catalogue
from progress.projections import batch, snapshots
from progress.projections.projector import SHARDS, Projector
from progress.projections.snapshots import Policy
from progress.recovery import checks, ledger_erasures
from tests.conftest import Store
from tests.support import sample_events, stage
from tests.support.operation_fixtures import Operator
from tests.support.pushes import record_push

BLOCKS = statements.blocks(str(Path(__file__).with_suffix("")))

LEARNER = "erika-7f3a"
MARKER = "Müllmarke 4711"
SESSION = f"{LEARNER[:5]}-session"
RETRACTED = str(uuid5(NAMESPACE_OID, f"{SESSION} goal"))  # the id of an event that is retracted
NEEDLES = (LEARNER, MARKER, json.dumps(MARKER)[1:-1].replace("\\", r"\\"), SESSION, RETRACTED)
AT = sample_events.BEGIN
TAKEN_BACK: tuple[
    tuple[str, dict[str, Any]], ...
] = (  # what a deletion of present rows would leave
    ("ItemListed", {"list_id": "l1", "item_id": "i9", "headword": ""}),
    ("ItemUnlisted", {"list_id": "l1", "item_id": "i9"}),
    ("ListArchived", {"list_id": "l1"}),
    ("LearnerLeftGroup", {"group_id": "g1"}),
)


def push_events(connection: Connection, *events: Any, **options: Any) -> dict[str, int]:
    payload = events[0] if len(events) == 1 else [*events]
    return record_push(connection, payload, **options).outcomes


def list_events(learner: str = LEARNER, session: str = SESSION) -> list[dict[str, Any]]:
    events = [*sample_events.lesson(learner, 1), *sample_events.lesson(learner, 3)]
    note = {"note": MARKER, "nested": [{"text": MARKER}]}
    started = {"user_id": learner, "session_id": session, "item_count": 1}
    answered = {"session_id": session, "item_id": "i0", "response_time_ms": 5}
    zone = {"user_id": learner, "email": f"{learner}@example.org", "timezone": "Asia/Tokyo"}
    name = {"display_name": MARKER}
    goal = {"user_id": learner, "answers_per_day": 1}
    goal_id = str(uuid5(NAMESPACE_OID, f"{session} goal"))
    retracted = {"user_id": learner, "retracted_event_id": goal_id}
    return [
        *events,
        *sample_events.choices(learner),
        *(
            sample_events.envelope(kind, {"user_id": learner} | data, at=AT + timedelta(hours=hour))
            for hour, (kind, data) in enumerate(TAKEN_BACK, 1)
        ),
        sample_events.envelope("GoalSet", goal, at=AT) | {"event_id": f"{session} goal"},
        # Twice, so that the id is among the most common values in the planner's statistics.
        *(sample_events.envelope("EventRetracted", retracted, at=AT) for _ in range(2)),
        sample_events.envelope("UserCreated", zone | name | note, at=AT),
        sample_events.envelope("SessionStarted", started | note, at=AT),
        sample_events.envelope("CorrectAnswerGiven", answered | note, at=AT)
        | {"metadata": {"causation_id": MARKER}},
        sample_events.envelope("Unheard", {"user_id": learner} | note, at=AT),
    ]


def leave_traces(connection: Connection) -> None:
    """Create the learner's events, snapshots, dead letters, poisoned events and accesses."""
    events = list_events()
    early = {"session_id": SESSION, "note": MARKER}  # before the SessionStarted of this session
    push_events(connection, sample_events.envelope("Unheard", early, at=AT))
    stage.append(connection, events)
    answer = {"session_id": "nobody-knows", "item_id": "i0", "response_time_ms": 5}
    push_events(connection, sample_events.envelope("CorrectAnswerGiven", answer, at=AT))
    for letter in list_letters(events[0]):
        push_events(connection, letter)
    Projector(connection).catch_up_all()
    batch.fold(connection, list(SHARDS))
    snapshots.take(connection, Policy(event_interval=1))
    connection.run(BLOCKS["leave accesses"], learner=LEARNER)
    connection.run(BLOCKS["poison"], learner=LEARNER, marker=MARKER)
    batch.run(connection)


def list_letters(known: dict[str, Any]) -> list[Any]:
    """Return messages that become dead letters; `known` is a recorded event of the learner."""
    note = {"note": MARKER, "item_id": "i0", "response_time_ms": 5}
    late = AT.replace(year=2199)
    conflict = known | {"data": known["data"] | {"item_count": 9, "note": MARKER}}
    return [
        sample_events.envelope("ReviewProcessed", {"user_id": LEARNER} | note, at=AT),
        sample_events.envelope("CorrectAnswerGiven", {"session_id": SESSION, "n": MARKER}, at=AT),
        sample_events.envelope("CorrectAnswerGiven", {"session_id": SESSION} | note, at=late),
        conflict,
        json.dumps({"data": {"user_id": LEARNER, "note": MARKER}})[:-1].encode(),
        f'{{"user_id": "{LEARNER}", "note": "{MARKER}", '.encode(),
        f"user_id={LEARNER}; note={MARKER}".encode(),
    ]


def erase(operator: Operator, learner: str = LEARNER, **options: Any) -> Any:
    return operator.start("eraseUser", f'userId: "{learner}", ', **options)


def receipt(done: Any) -> Any:
    assert (done["state"], done["error"]) == ("SUCCEEDED", None), done
    return json.loads(done["result"])


def expect_erased(connection: Connection, done: Any) -> None:
    """Assert that the learner's data are gone, and that the other learners' data are complete."""
    counts = receipt(done)["erased"]
    assert (counts["events"], counts["dead_letters"], counts["sessions"]) == (36, 5, 3)
    assert receipt(done)["found"] == 0
    assert find_traces(connection, *NEEDLES) == []
    batch.run(connection)
    assert not sample_events.find_differences(connection)
    assert not checks.run(connection).findings


def apply_ledger(store: Store) -> ledger_erasures.Result:
    with contextlib.closing(store.connect()) as owner:
        archive = catalogue.open_archive(settings.current())
        return ledger_erasures.apply(owner, archive, lambda *_: None)


def find_traces(connection: Connection, *needles: str) -> list[str]:
    return [
        *find_in_tables(connection, *needles),
        *find_in_redis(*needles),
        *(
            str(file)
            for file in Path(settings.current().progress_data_dir).rglob("*")
            if file.is_file() and any(needle.encode() in file.read_bytes() for needle in needles)
        ),
    ]


def find_in_tables(connection: Connection, *needles: str) -> list[str]:
    found = []
    for needle in needles:
        for (table,) in connection.run(BLOCKS["tables"]):
            sql = BLOCKS["search"].replace("searched_table", table)
            found += [f"{table}: {row}" for (row,) in connection.run(sql, needle=needle)]
        found += [name for (name,) in connection.run(BLOCKS["statistics"], needle=needle)]
    return found


def find_in_redis(*needles: str) -> list[str]:
    url = settings.current().redis_url
    if not url:
        return []
    found = []
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        for key in client.scan_iter():
            value = _read_value(client, key)
            found += [f"{key!r}" for n in needles if n in f"{key.decode()} {_text(value)}"]
    return found


def _read_value(client: redis.Redis, key: bytes) -> Any:
    """Read a value of any type that Progress stores; another type raises KeyError."""
    readers: dict[Any, Callable[[], Any]] = {
        b"string": lambda: client.get(key),
        b"hash": lambda: client.hgetall(key),
        b"zset": lambda: client.zrange(key, 0, -1),
        b"none": lambda: None,
    }
    return readers[client.type(key)]()


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{_text(k)} {_text(v)}" for k, v in value.items())
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


@pytest.fixture
def traced(populated: Connection) -> Connection:
    leave_traces(populated)
    return populated
