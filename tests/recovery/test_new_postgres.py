"""A new major version of PostgreSQL has the same answers, and `migrate` says what it lacks."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from progress import settings
from progress.adapters.postgres import logins
from progress.errors import ProgressError
from progress.operations import erasure_steps, runner
from progress.projections import batch, schema
from progress.recovery import checks
from progress.serve import system
from progress.serve.laptop import postgres
from tests.conftest import find_programs
from tests.query.test_accesses import QUERIES, write_field
from tests.support import api, sample_events, stage
from tests.support.erasure_fixtures import LEARNER, find_in_tables, list_events, push_events
from tests.support.fake_publisher import FakePublisher
from tests.support.operation_fixtures import Operator
from tests.support.postgres_servers import OLDEST, Machine, OwnServer, start_machine

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
        functions, _ = system.prepare(machine.url("progress"), settings.current())
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
    """Everything is as it was, goes on, and lacks nothing."""
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
