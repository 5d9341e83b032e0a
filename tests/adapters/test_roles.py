"""`migrate` gives each database, restored or new, the same roles, owners and privileges."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.adapters import retries
from progress.adapters.postgres import logins, migrations, roles
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.roles import Login
from progress.errors import DatabaseUnavailable, ProgressError
from progress.projections import rebuild, schema
from tests.conftest import Store, find_programs
from tests.support import recovery_fixtures, sample_events
from tests.support.postgres_servers import EMBEDDED, OLDEST, Machine, start_machine

# The transactions that wrote the rows of owners and privileges.
WRITTEN = """
    SELECT oid, CAST(xmin AS text) FROM pg_class
    UNION ALL SELECT oid, CAST(xmin AS text) FROM pg_proc
"""


@pytest.fixture(
    scope="module", params=[EMBEDDED, pytest.param(OLDEST, marks=pytest.mark.exhaustive)]
)
def dumped(request: pytest.FixtureRequest) -> Iterator[tuple[Machine, Path]]:
    with start_machine(find_programs(request, request.param)) as machine:
        dump = machine.folder / "dump"
        machine.create("progress")
        with closing(machine.connect("progress")) as owner:
            migrations.apply(owner)
            sample_events.record_lessons(owner, "ann")
        rebuild.ensure(lambda: machine.connect("progress"))
        machine.run("pg_dump", "progress", "-Fc", "--file", dump, "progress")
        yield machine, dump


def read_rights(connection: Connection) -> list[list[str]]:
    rows = connection.run(recovery_fixtures.BLOCKS["rights"])
    return [[*row, *sorted(re.findall("[^{},]+", acl or ""))] for *row, acl in rows]


def test_a_new_server_gets_the_roles_and_privileges_of_the_former_one(
    dumped: tuple[Machine, Path], tmp_path: Path
) -> None:
    former, dump = dumped
    folder = Path(shutil.copytree(migrations.FOLDER, tmp_path / "migrations"))
    (folder / "9000_named.sql").write_text("SELECT CAST('progress_ingest' AS regrole)")
    with start_machine(former.programs) as new:
        options = (new.create("progress"), "--no-owner", "--no-privileges")
        new.run("pg_restore", "progress", *options, dump)
        with closing(former.connect("progress")) as old, closing(new.connect("progress")) as copy:
            assert roles.find_differences(old) == []
            assert "CREATE ROLE progress_ingest NOLOGIN" in roles.find_differences(copy)
            assert migrations.apply(copy, folder)[0] == "9000_named.sql"
            assert read_rights(copy) == read_rights(old)
            written = copy.run(WRITTEN)
            migrations.apply(copy, folder)
            assert copy.run(WRITTEN) == written


# What a server may have in another way, after a restore or an upgrade. `INGEST` is a login.
GIVEN = (
    "GRANT pg_read_all_data TO progress_query",
    "ALTER ROLE progress_query CREATEDB LOGIN",
    "ALTER ROLE INGEST BYPASSRLS NOLOGIN",
    "ALTER ROLE INGEST REPLICATION NOINHERIT",
)
DAMAGES = (
    *GIVEN,
    "ALTER ROLE other NOCREATEROLE",
    "REVOKE INGEST FROM other CASCADE",
    "REVOKE progress_query FROM other CASCADE",
    "REVOKE progress_project FROM other CASCADE",
    "REVOKE progress_ingest FROM INGEST CASCADE",
    "GRANT progress_batch TO INGEST",
    "REVOKE CONNECT ON DATABASE damaged FROM PUBLIC, INGEST",
    "ALTER FUNCTION event_store.fold_case OWNER TO postgres",
    "UPDATE pg_database SET datcollversion = '0' WHERE datname = 'damaged'",
    "DROP OWNED BY INGEST; DROP ROLE INGEST",
)


def test_one_list_of_statements_suffices_whatever_the_server_lacks(
    dumped: tuple[Machine, Path],
) -> None:
    former, dump = dumped

    def mend(name: str, wanted: Sequence[Login]) -> bool:
        with closing(machine.connect(name, "other")) as owner:
            is_refused = False
            try:
                migrations.apply(owner, logins=wanted)
            except ProgressError as refused:
                is_refused = True
                with closing(machine.connect(name, "postgres")) as admin:
                    admin.execute_simple(str(refused).partition("\n")[2])
                migrations.apply(owner, logins=wanted)
            logins.apply(owner, wanted)
            assert roles.find_differences(owner, wanted) == []
            schema.set_search_path(owner)
            assert not sample_events.find_differences(owner)
        return is_refused

    with start_machine(former.programs) as machine:
        wanted = logins.of_system("damaged", dumps=True)
        for name, restorer, own in (("first", "other", []), ("damaged", "postgres", wanted)):
            machine.run("pg_restore", restorer, machine.create(name, "other"), "--no-owner", dump)
            assert mend(name, own)

        @given(st.sets(st.sampled_from(DAMAGES)))
        def damage(damages: set[str]) -> None:
            with closing(machine.connect("damaged", "postgres")) as admin:
                for each in sorted(damages, key=DAMAGES.index):
                    admin.execute_simple(each.replace("INGEST", wanted[0].name))
            with closing(machine.connect("damaged", "other")) as owner:
                assert roles.find_differences(owner, wanted) or damages.isdisjoint(GIVEN)
            mend("damaged", wanted)

        damage()


def test_a_table_that_is_in_use_gets_its_owner_as_soon_as_it_is_free(
    store: Store, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "ATTEMPTS", 2)
    connection.run(f"ALTER TABLE {schema.schema_name()}.items OWNER TO CURRENT_USER")
    with closing(store.connect()) as reader:
        reader.run("BEGIN")
        reader.run(f"SELECT FROM {schema.schema_name()}.items")
        monkeypatch.setattr(retries, "pause", lambda *_: None)
        with pytest.raises(DatabaseUnavailable, match="repeat the command later"):
            migrations.apply(connection)
        monkeypatch.setattr(retries, "pause", lambda *_: reader.run("ROLLBACK"))
        migrations.apply(connection)
    assert roles.find_differences(connection) == []
