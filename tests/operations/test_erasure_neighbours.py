"""The erasure of some learners changes nothing of the others, however related their ids are.

Each test compares a system that has erased learners with a system in which they were never there.
"""

import contextlib
import hashlib
import json
import random
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import hypothesis
import pytest
from hypothesis import Phase, event, given
from hypothesis import strategies as st

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.event_store import log
from progress.ingest import push
from progress.operations import erasure_steps, records
from progress.operations.records import OperationKind
from progress.projections import batch
from progress.recovery import checks
from tests.conftest import Store
from tests.support import model_rows, sample_events, stage
from tests.support.operation_fixtures import deliver
from tests.support.postgres_servers import url_of
from tests.support.pushes import encode_push

# Ids that are prefixes, words, keys and values of each other's data.
NAMES = [
    *("7", "77", "learner-7", "learner-", "en", "de", "user_id", "item_id", "data", "true", "null"),
    *("ann", "lee", "ann lee", "ann,lee", " ann", "ann\tlee", "tenant:ann", "a%", "a_", "%", "_"),
    *("o'x", 'o"x', "o\\x", "{}", "[7]", "\u00fc", "u\u0308", "\\u00fc", "\U0001f600", "*", "a|b"),
    *("x" * 200, "x" * 199, "GoalSet", "Erased", "erased-1", "archive", "7:7", "a=b;c", "`", "i0"),
]
_OLD = {"occurred_at": "1999-01-01T00:00:00Z"}


class Message(NamedTuple):
    """The data of a message, and its attributes."""

    data: bytes
    attributes: dict[str, str]
    message_id: str


class World:
    """Messages about learners with related ids; `earlier` arrive before any erasure."""

    def __init__(self, rng: random.Random) -> None:
        self._random = rng
        self.names = rng.sample(NAMES, 10)
        self.names[0] = rng.choice([self.names[0], "7", "archive", "system:command line"])
        self.names = list(dict.fromkeys(self.names))
        self.learners = self.names[:5]
        self.erased = self.learners[: rng.randint(1, 3)]
        self.sessions: dict[str, str] = {}
        self._free_sessions = rng.sample(self.names, len(self.names))
        self.earlier = self._messages()
        self.later = self._messages()

    def owner(self, message: Message) -> str | None:
        """Return the learner to whom an event or an array of events belongs, or None."""
        body = parse(message.data)
        if isinstance(body, list):
            body = body[0]
        if (
            is_text(message)
            or not isinstance(body, dict)
            or body.get("event_type") == "ItemPublished"
        ):
            return None
        data, metadata = (
            part if isinstance(part := body.get(name), dict) else {}
            for name in ("data", "metadata")
        )
        for learner in (
            *(fields.get("user_id") for fields in (data, metadata)),
            message.attributes.get("user_id"),
            self.sessions.get(data.get("session_id", "")),
        ):
            if learner is not None:
                return str(learner)
        return None

    def _messages(self) -> list[Message]:
        kinds: list[Callable[[str], list[Message]]] = [
            self._lesson, self._choices, self._mention, self._rejected, self._text, self._waiting,
            self._text, self._rejected,
        ]  # fmt: skip
        messages = [self._item(name) for name in self._random.sample(self.names, 3)]
        for learner in self.learners:
            for kind in self._random.sample(kinds, 5):
                messages += kind(learner)
        return messages

    def _name(self) -> str:
        return self._random.choice(self.names)

    def _message(self, body: object, **attributes: str) -> Message:
        return self._raw(json.dumps(body, ensure_ascii=self._random.random() < 0.5), **attributes)

    def _raw(self, text: str, **attributes: str) -> Message:
        return Message(text.encode(), attributes, f"m-{self._random.getrandbits(64)}")

    def _event(self, kind: str, data: dict[str, Any], **fields: Any) -> dict[str, Any]:
        at = sample_events.BEGIN + timedelta(minutes=self._random.randrange(60 * 24 * 30))
        return {
            "event_id": str(uuid.UUID(int=self._random.getrandbits(128))),
            "event_type": kind,
            "occurred_at": at.isoformat(),
            "data": data,
            **fields,
        }

    def _item(self, name: str) -> Message:
        data = {"item_id": name, "domains": ["R"], "cefr_level": "A1", "headword": self._name()}
        return self._message(self._event("ItemPublished", data | {"language": "en"}))

    def _lesson(self, learner: str) -> list[Message]:
        """A session whose id is perhaps the id of another learner."""
        session = f"s {learner[:9]} {self._random.getrandbits(32)}"
        if self._free_sessions and self._random.random() < 0.7:
            session = self._free_sessions.pop()
        self.sessions[session] = learner
        start = {"user_id": learner, "session_id": session, "item_count": 2}
        answers: list[dict[str, Any]] = [
            {
                "session_id": session,
                "item_id": self._name(),
                "response_time_ms": 5,
                "n": self._name(),
            }
            for _ in range(2)
        ]
        end = {"session_id": session, "score": 80, "duration_seconds": 61}
        late = self._event("CorrectAnswerGiven", answers[1]) | _OLD
        return [
            self._message(self._event("SessionStarted", start)),
            self._message([self._event("CorrectAnswerGiven", answer) for answer in answers]),
            self._message(self._event("SessionCompleted", end)),
            self._message(late),
        ]

    def _choices(self, learner: str) -> list[Message]:
        name, zone = self._name(), {"timezone": "Asia/Tokyo", "email": "a@example.org"}
        review = {"item_id": name, "new_interval": 7, "easiness_factor": 2.5}
        return [
            self._message(self._event("UserCreated", {"user_id": learner} | zone)),
            self._message(
                self._event("LearnerJoinedGroup", {"user_id": learner, "group_id": name})
            ),
            self._message(self._event("GoalSet", {"answers_per_day": 2}), user_id=learner),
            self._message(
                self._event("ReviewProcessed", review, metadata={"user_id": learner, "by": name})
            ),
        ]

    def _mention(self, learner: str) -> list[Message]:
        data = {"user_id": learner, "friend": self._name(), self._name(): [self._name()]}
        return [self._message(self._event("Unheard", data))]

    def _rejected(self, learner: str) -> list[Message]:
        """JSON objects that become dead letters; their fields contain other ids."""
        other, session = self._name(), self._random.choice([*self.sessions, "unknown"])
        fields = {other: other, "item_id": other, "note": f"{other} \x00"}
        return [
            self._message(self._event("GoalSet", {"user_id": learner, "answers_per_day": other})),
            self._message({"data": {"user_id": learner, **fields}, "metadata": {"user_id": other}}),
            self._message({"metadata": {"user_id": learner, "by": other}, "user_id": other}),
            self._message(self._event("GoalSet", {"answers_per_day": other}), user_id=learner),
            self._message({"data": {"session_id": session}, "event_type": other}),
        ]

    def _text(self, learner: str) -> list[Message]:
        """Texts that nobody can decode."""
        other = self._name()
        texts = [
            f"{{'event_type': 'GoalSet', 'data': {{'user_id': '{learner}'}}}}",
            json.dumps({"data": {"user_id": learner, "note": other}})[:-1],
            json.dumps({"data": [learner], "metadata": {"user_id": other}}),
            json.dumps({"data": {"user_id": learner}, "metadata": {"user_id": 7}}),
        ]
        return [self._raw(text) for text in self._random.sample(texts, 3)]

    def _waiting(self, learner: str) -> list[Message]:
        """An event of a session that never starts."""
        data = {"session_id": f"never {self._name()}", "item_id": learner, "response_time_ms": 5}
        return [self._message(self._event("CorrectAnswerGiven", data))]


def parse(data: bytes) -> object:
    """Return the JSON value, or None if the data is not JSON."""
    try:
        return json.loads(data)
    except ValueError:
        return None


def is_text(message: Message) -> bool:
    """Return whether no fields of the message decide whose it is."""
    body = parse(message.data)
    parts = [body.get("data", {}), body.get("metadata", {})] if isinstance(body, dict) else [body]
    return not all(
        isinstance(part, dict) and isinstance(part.get("user_id", ""), str) for part in parts
    ) and not isinstance(body, list)


def empty(letter: dict[str, Any]) -> dict[str, Any]:
    """Return a dead letter that nobody can decode as an erasure leaves it."""
    data = letter["payload"].encode()
    return letter | {
        "payload": "",
        "attributes": {},
        "event_id": None,
        "event_type": None,
        "emptied_bytes": len(data),
        "emptied_sha256": hashlib.sha256(data).hexdigest(),
    }


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
        for message in world.later:  # those that nobody can decode may come after the last erasure
            if is_text(message) and found_letters[message.message_id]["payload"]:
                found_letters[message.message_id] = empty(found_letters[message.message_id])
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
        patch.setenv("DATABASE_URL", url_of(store.url, "project"))
        patch.setenv("PROGRESS_DATA_DIR", folder)
        patch.setenv(
            "PUBLISH_EVENTS", "off"
        )  # an erasure waits for publication, which needs Pub/Sub
        patch.setattr(erasure_steps, "_REQUESTS_END_S", 0.0)  # no queries are running
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
    waiting, run = [*world.later], database.run
    unfinished = [*operations]
    while unfinished:
        operation_id, left = rng.choice(unfinished), rng.randint(1, 60)

        def run_and_break(worker: Connection, file: str, block: str, **values: object) -> Any:
            nonlocal left
            if file == "operations/erasure_rows":
                left -= 1
                if not left:
                    worker.run("SELECT pg_terminate_backend(pg_backend_pid())")
            return run(worker, file, block, **values)

        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Exception):
            patch.setattr(database, "run", run_and_break)
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
    """Return the dead letters of the other system; those that nobody can decode are empty."""
    texts = {message.message_id for message in world.earlier + world.later if is_text(message)}
    return {
        message_id: empty(letter) if message_id in texts else letter
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
