"""If the disk is full, ingest acknowledges only stored events; it recovers once space is free."""

import json
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

from progress.adapters.postgres import database
from progress.serve import readiness
from progress.serve.laptop import postgres
from tests.support import function_process, http_client, small_disks
from tests.support.envelopes import session_started
from tests.support.postgres_servers import OwnServer
from tests.support.pushes import encode_push


def events(count: int) -> list[dict[str, Any]]:
    return [session_started(str(uuid.uuid4())) for _ in range(count)]


def recorded(server: OwnServer) -> set[str]:
    with closing(database.connect(server.url)) as connection:
        rows = connection.run("SELECT CAST(event_id AS text) FROM event_store.events")
        return {event_id for (event_id,) in rows}


def test_messages_and_posts_rejected_while_the_disk_is_full_are_recorded_when_sent_again(
    small_server: OwnServer, small_disk: Path
) -> None:
    filler = small_disk / "filler"
    acknowledged, rejected, statuses = set[str](), list[bytes](), set[int | None]()
    environment = {"DATABASE_URL": small_server.url, "K_SERVICE": "ingest"}  # posts need no token
    with function_process.run("ingest", environment, forks=True) as ingest:

        def send(body: bytes) -> int | None:
            path = "/events" if body[:1] == b"[" else "/"
            return http_client.push(ingest.port, body, path=path)

        small_disks.fill(filler)
        for number in range(20):
            batch = events(1_000)
            body = json.dumps(batch).encode() if number % 2 else encode_push(batch)
            status = send(body)
            statuses.add(status)
            if status in {200, 204}:
                acknowledged |= {event["event_id"] for event in batch}
            else:
                rejected.append(body)
        assert rejected
        assert statuses <= {200, 204, 503}
        filler.unlink()
        readiness.wait(lambda: postgres.is_answering(small_server.url), "PostgreSQL", seconds=60)
        assert acknowledged <= recorded(small_server)
        for body in rejected[:5]:
            while send(body) not in {200, 204}:
                pass
    with closing(database.connect(small_server.url)) as connection:
        (row,) = connection.run(
            "SELECT count(*), max(global_position), count(DISTINCT event_id) "
            "FROM event_store.events"
        )
    assert row[0] == row[1] == row[2] == len(acknowledged) + 1_000 * len(rejected[:5])
