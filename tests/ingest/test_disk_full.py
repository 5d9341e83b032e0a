"""If the disk is full, ingest acknowledges only stored events; it recovers once space is free."""

import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from progress.adapters.postgres import database, migrations
from progress.local import postgres, readiness
from tests.support import folders
from tests.support.envelopes import session_started
from tests.support.ingest_process import run_function
from tests.support.postgres_servers import OwnServer
from tests.support.pushes import encode_push

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A folder on a disk of 140 MiB; a new PostgreSQL server fills about half of the disk."""
    with folders.create("small") as folder, folders.mount(folder, "size=140m,mode=711"):
        yield folder


@pytest.fixture
def server(small_disk: Path) -> Iterator[OwnServer]:
    server = OwnServer(small_disk)
    server.start("shared_buffers=16MB", "max_wal_size=32MB", "min_wal_size=32MB")
    with closing(database.connect(server.url)) as connection:
        migrations.apply(connection)
    yield server
    server.stop()


def fill(file: Path) -> None:
    """Write to the file until the disk is full."""
    with suppress(OSError), file.open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4_096))


def events(count: int) -> list[dict[str, Any]]:
    return [session_started(str(uuid.uuid4())) for _ in range(count)]


def recorded(server: OwnServer) -> set[str]:
    with closing(database.connect(server.url)) as connection:
        rows = connection.run("SELECT CAST(event_id AS text) FROM event_store.events")
        return {event_id for (event_id,) in rows}


def test_messages_rejected_while_the_disk_is_full_are_recorded_when_redelivered(
    server: OwnServer, small_disk: Path
) -> None:
    acknowledged, rejected, statuses = set[str](), list[bytes](), set[int | None]()
    with run_function(server.url) as ingest:
        fill(small_disk / "filler")
        for _ in range(40):
            batch = events(1_000)
            body = encode_push(batch)
            status = ingest.post(body)
            statuses.add(status)
            if status == 204:
                acknowledged |= {event["event_id"] for event in batch}
            else:
                rejected.append(body)
        assert rejected
        assert statuses <= {204, 503}
        (small_disk / "filler").unlink()
        readiness.wait(lambda: postgres.is_answering(server.url), "PostgreSQL", seconds=60)
        assert acknowledged <= recorded(server)
        for body in rejected[:5]:
            while ingest.post(body) != 204:
                pass
    with closing(database.connect(server.url)) as connection:
        (row,) = connection.run(
            "SELECT count(*), max(global_position), count(DISTINCT event_id) "
            "FROM event_store.events"
        )
    assert row[0] == row[1] == row[2] == len(acknowledged) + 1_000 * len(rejected[:5])
