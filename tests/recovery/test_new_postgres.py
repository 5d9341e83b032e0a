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
from progress.adapters.postgres.url import parse_url
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
    at = {"TFVARS": "environments/dev.tfvars"}
    shell.type(*make, DATABASE_URL=cloud, **at)
    output = shell.type(*move, DATABASE_URL=cloud, CURRENT_DATABASE_URL=neon.url)
    assert "The log is complete" in output
    assert f"head {len(log['events'])}" in output
    assert [s[1] for s in shell.gcloud["subscriptions"]] == ["", "", ""]
    shell.type(*go_on, DATABASE_URL=cloud, **at)
    # Terraform, then the revisions that it has made, then the messages that Neon has got.
    apply = ["terraform", "-chdir=infra/terraform", "apply"]
    told = [s for s in shell.gcloud["told"] if s[:3] == apply or {"update-traffic", "seek"} & {*s}]
    assert told[1][3] == "-var-file=environments/dev.tfvars"
    names = ("progress-project", "progress-ingest", "progress-query", INGEST)
    assert [s[3] for s in told[2:]] == [*names]
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


@pytest.mark.exhaustive
def test_neon_is_restored_whatever_its_branch_and_its_database_are_called(
    stores: Callable[[], Store], shell: Shell
) -> None:
    neon = stores()
    with closing(connect(neon.url)) as old:
        sample_events.record_lessons(old, *USERS)
        log = every_row(old, "every row of the log")
    shell.type("progress dump gs://p-progress-backup/log", DATABASE_URL=neon.url)
    recipes = blocks("Restore the event store")
    branch, dump = (block for block in recipes if "neon" in block[0])
    shell.type(*branch, *dump, DATABASE_URL=neon.url)
    assert [words for words in shell.gcloud["told"] if words[2:3] == ["restore"]]
    with closing(connect(neon.url)) as new:
        assert every_row(new, "every row of the log") == log
    assert shell.run("infra/recovery/neon", DATABASE_URL=neon.url).returncode == 2


@pytest.mark.exhaustive
def test_cloud_sql_is_restored_from_the_archive_while_the_functions_are_connected(
    cloud: str, shell: Shell, bare_server: OwnServer
) -> None:
    at = {"DATABASE_URL": cloud, "ARCHIVE_BUCKET": "archive"}
    with closing(database.connect(bare_server.url)) as admin:
        admin.run("GRANT pg_signal_backend TO progress_owner")
        admin.run("CREATE ROLE query LOGIN")
    shell.type("progress migrate", **at)
    with closing(connect(cloud)) as owner:
        sample_events.record_lessons(owner, *USERS)
        batch.run(owner)
        owner.run('GRANT CONNECT ON DATABASE progress TO "query"')
        log = every_row(owner, "every row of the log")
    shell.type("progress archive --now", **at)
    query = connect(cloud.replace("progress_owner@", "query@"))
    empty, load = blocks("Restore the log from the archive")
    shell.type(*empty, *load, **at)
    with contextlib.suppress(*database.ERRORS):
        query.close()  # the server has ended it
    with closing(connect(cloud)) as new:
        assert every_row(new, "every row of the log")["events"] == log["events"]


def test_a_lost_project_is_restored_in_another_one_from_the_copy_at_another_owner(
    stores: Callable[[], Store], cloud: str, shell: Shell, bucket: cloud_storage.Bucket
) -> None:
    lost = stores()
    with closing(connect(lost.url)) as old:
        fill(old)
        log = every_row(old, "every row of the log")
    before = answers(lost.url)
    keep, restore = blocks("A lost region or project")
    shell.type(*keep)
    granted = [" ".join(words[4:]) for words in shell.gcloud["told"] if words[2][:3] == "add"]
    member = "--member=serviceAccount:progress-{}@p.iam.gserviceaccount.com"
    listed = [f"--role=roles/storage.legacyBucketReader {member.format(name)}"
              for name in ("backup", "project", "release")]  # fmt: skip
    assert granted == [f"--role=roles/storage.objectCreator {member.format('backup')}", *listed]
    bucket.create_only = "lost/"  # as these roles
    places = {"DUMP_TO": "gs://lost-progress-backup/log", "DUMP_COPY_TO": "gs://their-copies/lost"}
    shell.type("progress dump --daily", DATABASE_URL=lost.url, **places)
    for name in [name for name in bucket.objects if name.startswith("log/")]:
        bucket.remove(name)

    shell.type("progress migrate", DATABASE_URL=cloud)  # as the guide's step 8
    for line in restore:
        shell.type(line.replace("LOST-PROJECT", "lost"), DATABASE_URL=cloud)
        if "copies read" in line:
            *_, told = shell.gcloud["told"]
            assert "--role=roles/storage.objectViewer" in told
            bucket.create_only = None
    assert answers(cloud) == before
    with closing(connect(cloud)) as new:
        assert every_row(new, "every row of the log")["events"] == log["events"]
        append(new, sample_events.lesson("ann", 9))
        batch.run(new)
        assert not sample_events.find_differences(new)


def test_a_drill_restores_a_backup_of_cloud_sql_into_an_instance_that_it_deletes(
    stores: Callable[[], Store], shell: Shell, bare_server: OwnServer, tmp_path: Path
) -> None:
    store = stores()
    name, host = parse_url(store.url).database, parse_url(bare_server.url).host
    at = {"DATABASE_URL": store.url, "RESTORED_AT": host}
    with closing(connect(store.url)) as live, closing(database.connect(bare_server.url)) as other:
        sample_events.record_lessons(live, *USERS)
        shell.type(f"progress dump {tmp_path}", **at)
        other.run(f"CREATE DATABASE {name}")
        copy = f"{store.url}{'&' if '?' in store.url else '?'}host={host}"
        shell.type(f"progress load {tmp_path}", DATABASE_URL=copy)
        (typed,) = blocks("A drill")
        drill = f". infra/recovery/cloud.sh prod; sleep() {{ :; }}; {typed[0]}"
        assert "was checked and compared" in shell.type(drill, **at)
        with closing(connect(copy)) as restored:
            append(restored, sample_events.lesson("dan", 1))
        wrong = shell.run(drill, **at)
    assert wrong.returncode == 1
    assert "the copy differs from the live log" in wrong.stdout
    calls = [words for words in shell.gcloud["told"] if words[0] == "sql"]
    for _, restore, describe, _, delete in zip(*[iter(calls)] * 5, strict=True):
        made = restore[4].removeprefix("--restore-instance=")
        assert made.startswith("drill-")
        assert (restore[3], describe[3]) == ("projects/p/backups/newest", made)
        assert delete[1:4] == ["instances", "delete", made]
