"""message-db, whose npm package is SQL, called through psycopg."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import psycopg

from bench import npm
from bench.compare.systems import SESSION, Projected, measure
from bench.envelopes import Envelope
from bench.server import Store
from bench.statements import blocks

_FOLDER = Path(__file__).resolve().parent / "message_db"

_Message = tuple[str, str, str, str]  # id, stream, type, data as JSON


class MessageDb:
    """A message store; message-db has no projections, so `project` is a reader written here."""

    def __init__(self, database: Path, store: Store) -> None:
        """Create the message store from message-db's SQL in the folder `database`."""
        self.store = store
        self._sql = {name: text.encode() for name, text in blocks("compare/peers").items()}
        self._connection = psycopg.connect(
            host=store.host, user="postgres", dbname=store.name, autocommit=True,
            options="-c search_path=message_store,public", prepare_threshold=0,
        )  # fmt: skip
        for statement in (*_installation(database), self._sql["counters"]):
            self._connection.execute(statement, prepare=False)

    def encode(self, batch: Sequence[Envelope]) -> list[_Message]:
        return [
            (
                one["event_id"],
                _stream(one["data"]["user_id"]),
                one["event_type"],
                msgspec.json.encode(one["data"] | {"at": one["occurred_at"]}).decode(),
            )
            for one in batch
        ]

    def append(self, encoded: list[_Message]) -> None:
        """Store a message by one call; store several by pipelined calls in one transaction."""
        write = self._sql["write"]
        if len(encoded) == 1:
            self._connection.execute(write, encoded[0])
            return
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.executemany(write, encoded)

    def project(self) -> Projected:
        return measure(self.store, lambda: sum(iter(self._fold_page, 0)))

    def _fold_page(self) -> int:
        """Count each message of the next page, and move the position in the same transaction."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            row = cursor.execute(self._sql["position"]).fetchone()
            after = row[0] if row else 0
            page = cursor.execute(self._sql["page"], (after + 1,)).fetchall()
            if page:
                counts = [(msgspec.json.decode(data)["user_id"], kind) for _, kind, data in page]
                cursor.executemany(self._sql["count"], counts)
                cursor.execute(self._sql["move"], (page[-1][0],))
        return len(page)

    def read_streams(self, learners: Sequence[str]) -> list[int]:
        query, lengths = self._sql["stream"], []
        for learner in learners:
            found = self._connection.execute(query, (_stream(learner),))
            lengths.append(len([(*row, msgspec.json.decode(data)) for *row, data in found]))
        return lengths

    def count_sessions(self, learners: Sequence[str]) -> list[int]:
        query, counts = self._sql["counted"], []
        for learner in learners:
            row = self._connection.execute(query, (learner, SESSION)).fetchone()
            assert row, learner
            counts.append(row[0])
        return counts

    def close(self) -> None:
        self._connection.close()


def _stream(learner: str) -> str:
    return f"learner-{learner}"


def install() -> Path:
    """Install the npm package; return the folder of its SQL. Raise RowSkipped if that fails."""
    return npm.install(_FOLDER) / "@eventide/message-db/database"


def _installation(database: Path) -> Iterator[bytes]:
    """Yield the files that message-db's script `install.sh` runs.

    Roles, privileges and views are left out, and so is the extension pgcrypto, whose function
    PostgreSQL has had since version 13.
    """
    # The functions are created in the order of their names, not of their calls.
    yield b"SET check_function_bodies = off"
    for part in ("schema", "tables", "types", "functions", "indexes"):
        for file in sorted((database / part).glob("*.sql")):
            yield file.read_bytes()
