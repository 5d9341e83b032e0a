"""The runbook moves the database to a server with another PostgreSQL version and other roles."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from progress.adapters.postgres import database, migrations
from progress.adapters.postgres.database import Connection
from progress.projections import batch, rebuild
from tests.conftest import Store
from tests.support import api, cloud_scheduler, cloud_storage, sample_events
from tests.support.postgres_servers import EMBEDDED, OLDEST, OwnServer
from tests.support.recovery_fixtures import BLOCKS, every_row
from tests.support.runbooks import Shell, blocks
from tests.support.stage import append, connect

USERS = ("ann", "ben", "cyd")
INGEST = "learning-events-ingest-sub"

QUESTION = """{ userProgress { totalItemsLearned accuracyRate }
  streak { longest } levelStats { level itemsStudied }
  itemStats { edges { node { itemId answers lapses } } } }"""


def rights(url: str) -> list[list[str]]:
    """Return the owner and the privileges of each database object, from PostgreSQL's catalogue."""
    with closing(database.connect(url)) as connection:
        rights: list[list[str]] = connection.run(BLOCKS["rights"])
        return rights


def answers(url: str) -> list[object]:
    with api.serve(url) as query_api:
        return [query_api.data(QUESTION, user) for user in USERS]


def fill(connection: Connection) -> None:
    """Record all kinds of rows: events, pending and poisoned events, dead letters, operations."""
    connection.run(BLOCKS["let the log be changed"])
    sample_events.record_lessons(connection, *USERS)
    append(connection, [{}, sample_events.envelope("SessionStarted", {}, at=sample_events.BEGIN)])
    lost = {"session_id": "unknown", "item_id": "i0", "response_time_ms": 900}
    append(connection, [sample_events.envelope("CorrectAnswerGiven", lost, at=sample_events.BEGIN)])
    sample_events.poison(connection, "ann")
    batch.run(connection)
    connection.run(BLOCKS["accept an operation"])


@pytest.fixture
def cloud(bare_server: OwnServer) -> str:
    """The URL of an empty database on a new server; the database owner is not a superuser."""
    with closing(database.connect(bare_server.url)) as admin:
        admin.run("CREATE ROLE progress_owner LOGIN CREATEROLE")
        admin.run("CREATE DATABASE progress OWNER progress_owner")
        admin.run("CREATE DATABASE fresh OWNER progress_owner")
    return bare_server.url.replace("postgres@/postgres", "progress_owner@/progress")


@pytest.fixture
def shell(tmp_path: Path, empty_redis: str, bucket: cloud_storage.Bucket) -> Iterator[Shell]:
    with cloud_scheduler.serve() as (address, _):
        environment = {
            "CLOUD_SCHEDULER_EMULATOR_HOST": address,
            "PUBSUB_PROJECT_ID": "p",
            "PROJECT": "p",
            "REDIS_URL": empty_redis,
        }
        made = Shell(tmp_path / "clone", [], environment)
        made.subscribe(INGEST, "progress-projection-sub")
        yield made


@pytest.mark.exhaustive
@pytest.mark.parametrize("postgres_server", [EMBEDDED, OLDEST], indirect=True)
def test_the_runbook_moves_the_database_from_neon_to_cloud_sql(
    stores: Callable[[], Store], cloud: str, shell: Shell
) -> None:
    neon = stores()
    with closing(connect(neon.url)) as old:
        fill(old)
        log, derived = every_row(old, "every row of the log"), every_row(old)
    before = answers(neon.url)

    make, move, go_on = blocks("Neon to Cloud SQL")
    shell.type(*make, DATABASE_URL=cloud)
    output = shell.type(*move, DATABASE_URL=cloud, CURRENT_DATABASE_URL=neon.url)
    assert "The log is complete" in output
    assert f"head {len(log['events'])}" in output
    assert [s[1] for s in shell.gcloud["subscriptions"]] == ["", "", ""]
    shell.type(*go_on, DATABASE_URL=cloud)
    assert [s[3] for s in shell.gcloud["told"] if "seek" in s] == [INGEST]
    assert [s[1] for s in shell.gcloud["subscriptions"]] == [
        f"https://{INGEST}", "https://progress-projection-sub", ""
    ]  # fmt: skip

    assert answers(cloud) == before
    with closing(connect(cloud)) as new:
        moved = every_row(new, "every row of the log")
        # The read models that `load` builds meet the poisoned event, and note it anew.
        for noted in ("poison_marks", "dead_letters"):
            assert len(moved.pop(noted)) == len(log.pop(noted))
        assert moved == log
        assert every_row(new) == derived
        # New rows continue the numbering of the former database.
        append(new, [{}, *sample_events.lesson("ann", 9)])
        batch.run(new)
        assert not sample_events.find_differences(new)
    fresh = cloud.replace("/progress?", "/fresh?")
    with closing(database.connect(fresh)) as connection:
        migrations.apply(connection)
    rebuild.ensure(lambda: database.connect(fresh))
    assert rights(cloud) == rights(fresh)
    assert len(rights(cloud)) > 40
