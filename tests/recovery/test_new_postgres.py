"""A new major version of PostgreSQL, or another provider, has the same answers."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from progress import settings
from progress.adapters.postgres import database, logins
from progress.adapters.postgres.database import Connection
from progress.errors import ProgressError
from progress.operations import erasure_steps, runner
from progress.projections import batch, schema
from progress.recovery import checks
from progress.serve import system
from progress.serve.laptop import postgres
from tests.conftest import Store, find_programs
from tests.query.test_accesses import QUERIES, write_field
from tests.support import api, cloud_scheduler, cloud_storage, sample_events, stage
from tests.support.erasure_fixtures import LEARNER, find_in_tables, list_events, push_events
from tests.support.fake_publisher import FakePublisher
from tests.support.operation_fixtures import Operator
from tests.support.postgres_servers import EMBEDDED, OLDEST, Machine, OwnServer, start_machine
from tests.support.recovery_fixtures import BLOCKS, every_row, fill_further
from tests.support.runbooks import Shell, blocks
from tests.support.stage import append, connect

LEAVING = "ben-7f3a"  # is being erased
VOLATILE = {"operation", "operations", "projectionStatus"}
ASKED = {name: field for name, field in QUERIES.items() if name not in VOLATILE}


Use = Callable[[Machine], contextlib.AbstractContextManager[Operator]]


@pytest.fixture
def use(fake_publisher: FakePublisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Use:
    """A function that prepares a machine's database as `serve` does, and asks its functions."""
    monkeypatch.setattr(erasure_steps, "_REQUESTS_END_S", 0.0)
    own = {"pubsub_emulator_host": fake_publisher.address, "progress_data_dir": str(tmp_path)}
    for name, value in own.items():
        monkeypatch.setenv(name.upper(), value)

    @contextlib.contextmanager
    def use(machine: Machine) -> Iterator[Operator]:
        functions = system.prepare(machine.url("progress"), settings.current())
        monkeypatch.setenv("DATABASE_URL", functions["project"]["DATABASE_URL"])
        settings.current.cache_clear()
        with api.serve(functions["query"]["DATABASE_URL"], **own) as query_api:
            yield Operator(query_api, fake_publisher)

    return use


def record(machine: Machine, operator: Operator) -> str:
    """Record answers, letters and an erasure; return the id of another one, which is running."""
    with closing(stage.connect(machine.url("progress"))) as owner:
        events = [*sample_events.varied_study("ann"), *list_events(), *list_events(LEAVING, "s")]
        stage.append(owner, [*events, sample_events.item_published("Übung")])
        for text in (b"no JSON", b'{"event_id": "x", "event_type": "SessionStarted"}'):
            push_events(owner, text)
        batch.run(owner)
    done, running = (
        operator.start("eraseUser", f'userId: "{one}", ')["id"] for one in (LEARNER, LEAVING)
    )
    assert operator.run(done)["state"] == "SUCCEEDED"
    runner.run(UUID(running), before="redact")
    return str(running)


def ask_everything(operator: Operator) -> dict[str, Any]:
    values = {"search": '"üb"', "text": '"AN"'}
    texts = {name: write_field(name, field, "ann", **values) for name, field in ASKED.items()}
    return {name: operator.data(f"{{ {text} }}") for name, text in texts.items()}


def check(machine: Machine, operator: Operator, before: dict[str, Any], running: str) -> None:
    after = ask_everything(operator)
    assert {name: answer for name, answer in before.items() if after[name] != answer} == {}
    assert operator.run_until_it_ends(running)["state"] == "SUCCEEDED"
    own = logins.of_system("progress", dumps=False)
    with closing(stage.connect(machine.url("progress"))) as owner:
        stage.append(owner, sample_events.lesson("ann", 9))
        batch.run(owner)
        schema.set_search_path(owner)
        assert sample_events.find_differences(owner) == []
        assert find_in_tables(owner, LEARNER, LEAVING) == []
        assert checks.run(owner, with_rows=True).findings == []
        assert [*checks.check_migrations(owner), *checks.check_roles(owner, own)] == []


@pytest.mark.exhaustive
def test_pg_upgrade_and_a_dump_stop_nothing(
    request: pytest.FixtureRequest, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_machine(find_programs(request, OLDEST)) as old:
        old.create("progress")
        with use(old) as operator:
            running = record(old, operator)
            before = ask_everything(operator)
        with start_machine(None) as new:
            target, dump = new.create("progress"), new.folder / "dump"
            at = ("--host", old.server.data)
            new.run("pg_dump", "progress", *at, "--format=custom", "--file", dump, "progress")
            new.run("pg_restore", "progress", "--no-owner", "--no-privileges", target, dump)
            with use(new) as operator:
                check(new, operator, before, running)

        old.server.stop()
        monkeypatch.setattr(postgres, "_INITIAL", (*postgres._INITIAL, "--no-data-checksums"))
        upgraded = OwnServer(old.folder / "new")
        upgraded.upgrade_from(old.server)
        old.server = upgraded
        upgraded.start("fsync=off")
        with closing(old.connect("progress")) as owner:
            assert all((checks.check_migrations(owner), checks.check_roles(owner)))
        with pytest.raises(ProgressError, match="let a superuser run") as refused, use(old):
            pass
        with closing(old.connect("progress", "postgres")) as admin:
            admin.execute_simple(str(refused.value).partition("\n")[2])
        with use(old) as operator:
            check(old, operator, before, running)


USERS = ("ann", "ben", "cyd")
INGEST = "learning-events-ingest-sub"

QUESTION = """{ userProgress { totalItemsLearned accuracyRate }
  streak { longest } levelStats { level itemsStudied }
  itemStats { edges { node { itemId answers lapses } } } }"""


def answers(url: str) -> list[object]:
    with api.serve(url) as query_api:
        return [query_api.data(QUESTION, user) for user in USERS]


def fill(connection: Connection) -> None:
    """Record all kinds of rows: events, pending and poisoned events, dead letters, operations."""
    connection.run(BLOCKS["let the log be changed"])
    sample_events.record_lessons(connection, *USERS)
    fill_further(connection, "ann")


@pytest.fixture
def cloud(bare_server: OwnServer) -> str:
    """The URL of an empty database on a new server; the database owner is not a superuser."""
    with closing(database.connect(bare_server.url)) as admin:
        admin.run("CREATE ROLE progress_owner LOGIN CREATEROLE")
        admin.run("CREATE DATABASE progress OWNER progress_owner")
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
        assert checks.check_roles(new) == []
