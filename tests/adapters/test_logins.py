"""`progress migrate` creates and changes the logins that DATABASE_LOGINS names."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from pg8000.exceptions import DatabaseError
from typer.testing import CliRunner

from progress import cli
from progress.adapters import storage
from progress.adapters.postgres import database, logins, migrations
from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.roles import Login
from progress.errors import DatabaseUnavailable, ProgressError, SettingsError
from progress.event_store import analysts
from progress.projections import batch, projector, rebuild, replacement, schema, snapshots
from progress.recovery import archive_loads, archive_rebuild, rebuild_units
from progress.recovery.archive_loads import Rebuild
from progress.recovery.archive_rebuild import Source
from progress.serve import readiness
from tests.conftest import find_programs
from tests.support import archives, folders, postgres_servers, sample_events
from tests.support.api import QueryClient
from tests.support.postgres_servers import EMBEDDED, OLDEST, OwnServer

# Only the superuser may connect without a password.
ADMITS = "local all postgres trust\nlocal all all scram-sha-256\n"

# The roles that each managed service creates for the owner of a database.
OWNERS = {
    "cloud_sql": """
        CREATE ROLE cloudsqlsuperuser CREATEDB CREATEROLE IN ROLE pg_monitor, pg_signal_backend;
        CREATE ROLE keeper LOGIN CREATEDB CREATEROLE PASSWORD 'kept' IN ROLE cloudsqlsuperuser;
        CREATE ROLE "cloudsqladmin" SUPERUSER;
    """,
    "neon": """
        CREATE ROLE neon_superuser CREATEDB CREATEROLE REPLICATION BYPASSRLS
            IN ROLE pg_read_all_data, pg_write_all_data;
        CREATE ROLE keeper LOGIN CREATEDB CREATEROLE PASSWORD 'kept' IN ROLE neon_superuser;
    """,
}
KEPT = "kept"
LATER = datetime(2024, 5, 1, tzinfo=UTC)
OWNED_BY = {"cloud_sql": "cloudsqlsuperuser", "neon": "keeper"}


class Service:
    def __init__(self, server: OwnServer, kind: str) -> None:
        self._server = server
        with closing(self.admin("postgres")) as admin:
            admin.execute_simple(OWNERS[kind])
            admin.run("ALTER SYSTEM SET log_statement = 'ddl'")
            admin.run("SELECT pg_reload_conf()")
            admin.run(f"CREATE DATABASE kept OWNER {OWNED_BY[kind]}")

    def admin(self, name: str = "kept") -> Connection:
        return database.connect(self._server.url.replace("@/postgres?", f"@/{name}?"))

    def url(self, user: str = "keeper", password: str = KEPT) -> str:
        at = f"//{quote(user, safe='')}:{quote(password, safe='')}@/kept?"
        return self._server.url.replace("//postgres@/postgres?", at)

    def connect(self, user: str = "keeper", password: str = KEPT) -> Connection:
        connection = database.connect(self.url(user, password))
        schema.set_search_path(connection)
        return connection

    def logged(self) -> str:
        return self._server.log.read_text()


@pytest.fixture(
    params=[
        (EMBEDDED, "neon"),
        pytest.param((EMBEDDED, "cloud_sql"), marks=pytest.mark.exhaustive),
        (OLDEST, "cloud_sql"),
    ],
    ids="-".join,
    scope="module",
)
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """A database that its owner migrated. All tests of this module share the database."""
    which, kind = request.param
    with folders.create("test") as folder:
        server = OwnServer(folder, find_programs(request, which), admits=ADMITS)
        server.start()
        made = Service(server, kind)
        with closing(made.connect()) as owner:
            migrations.apply(owner)
        rebuild.ensure(made.connect)
        yield made
        server.stop()


def admit(service: Service, *wanted: Login) -> None:
    with closing(service.connect()) as owner:
        logins.apply(owner, list(wanted))


def groups(service: Service, name: str) -> list[str]:
    with closing(service.admin()) as admin:
        return [
            group
            for group in (*logins.GROUPS, "progress_erasure")
            if admin.run("SELECT pg_has_role(:name, :group, 'USAGE')", name=name, group=group)[0][0]
        ]


@pytest.mark.first_in_gate
def test_each_function_works_with_its_own_login(service: Service) -> None:
    parts = {group: Login(group, f"{group}_login", f"of {group}") for group in logins.GROUPS}
    admit(service, *parts.values())

    def connect(part: str) -> Connection:
        login = parts[f"progress_{part}"]
        return service.connect(login.name, str(login.password))

    with closing(connect("ingest")) as ingest:
        sample_events.record_lessons(ingest, "ada", "bob")
    with closing(connect("project")) as project:
        assert projector.Projector(project).catch_up_all() > 0
    with closing(connect("batch")) as job:
        assert batch.fold(job, list(projector.SHARDS)) == 2
        assert snapshots.take(job, snapshots.Policy(event_interval=1)) == 2
        assert batch.run(job).learners == 0
    rebuild.run(lambda: connect("project"))
    query = parts["progress_query"]
    with closing(QueryClient(service.url(query.name, str(query.password)))) as fetch:
        now = fetch(fetch.queries.get_current_progress("ada"))
        assert fetch(fetch.queries.get_current_progress("ada", as_of=LATER)) == now
    with closing(service.admin()) as admin:
        schema.set_search_path(admin)
        assert sample_events.find_differences(admin) == []


@pytest.mark.first_in_gate
def test_the_owner_can_rebuild_and_can_drop_unused_objects(service: Service) -> None:
    with closing(service.connect()) as owner:
        sample_events.record_lessons(owner, "cleo")
        rebuild.run(service.connect)
        list(replacement.drop_unused(owner))
    with closing(service.admin()) as admin:
        schema.set_search_path(admin)
        assert sample_events.find_differences(admin) == []


@pytest.mark.exhaustive
def test_a_rebuild_from_the_archive_works_with_one_login_for_the_job_and_one_for_the_loaders(
    service: Service, tmp_path: Path
) -> None:
    job, loader = Login("progress_project", "job", "1"), Login("progress_load", "loader", "2")
    admit(service, job, loader)
    with closing(service.connect()) as owner:
        sample_events.record_lessons(owner, "dora")
        rebuild.run(service.connect)
        archives.run(owner, storage.open_storage(str(tmp_path)))
    url = service.url(loader.name, "2")

    def load(source: Source, begun: Rebuild, on_loaded: Callable[[], None]) -> None:
        with archive_loads.connect(url) as connection:
            assert is_denied(connection, "SELECT FROM item_stats")
            assert is_denied(connection, "DELETE FROM loaded_buckets")
            assert is_denied(connection, "INSERT INTO checkpoints DEFAULT VALUES")
        for bucket in range(begun.buckets):
            rebuild_units.process(source.archive, url, bucket, begun.version)

    archive_rebuild.run(
        lambda: service.connect(job.name, "1"), Source(str(tmp_path), None), load, lambda *_: None
    )
    with closing(service.admin()) as admin:
        schema.set_search_path(admin)
        assert sample_events.find_differences(admin) == []
    with closing(service.connect(loader.name, "2")) as connection:
        for table in (f"{schema.schema_name()}.item_stats", "event_store.events"):
            assert is_denied(connection, f"SELECT FROM {table}")
            assert is_denied(connection, f"INSERT INTO {table} DEFAULT VALUES")


def is_denied(connection: Connection, statement: str) -> bool:
    try:
        connection.run(statement)
    except DatabaseError as error:
        return database.read_failure(error).sqlstate == "42501"
    return False


def test_a_new_password_replaces_the_old_one_and_without_a_new_one_it_stays(
    service: Service,
) -> None:
    admit(service, Login("progress_query", "turning", "first"))
    service.connect("turning", "first").close()
    admit(service, Login("progress_query", "turning", "second"))
    admit(service, Login("progress_query", "turning", None))
    service.connect("turning", "second").close()
    with pytest.raises(DatabaseUnavailable, match="raise `password_version` in the tfvars by one"):
        service.connect("turning", "first")
    assert 'password authentication failed for user "turning"' in service.logged()


def test_a_login_has_only_the_privileges_of_its_group(service: Service) -> None:
    admit(service, Login("progress_project", "mover", "x"))
    assert groups(service, "mover") == ["progress_project"]
    admit(service, Login("progress_query", "mover", "x"))
    assert groups(service, "mover") == ["progress_query"]
    with closing(service.admin()) as admin:
        rights = admin.run(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
            " FROM pg_roles WHERE rolname = 'mover'"
        )
    assert rights == [[False] * 5]


def test_user_names_and_passwords_may_contain_any_character(service: Service) -> None:
    for name, password in [
        ("progress-query@some-project.iam", "a"),
        ("O'Neil\"; DROP ROLE keeper; --", "'; DROP ROLE keeper; --"),
        ("back\\slash", "pass\\word"),
        ("percent %I %L :login", "%s $1 :password"),
        ("Ünïcode", "naïve ☃"),
        ("MixedCase", "$$; RAISE 'x'; $$"),
    ]:
        (login,) = logins.parse(
            f"progress_query={quote(name, safe='@')}:{quote(password, safe='')}"
        )
        assert (login.name, login.password) == (name, password)
        admit(service, login)
        admit(service, login)
        service.connect(name, password).close()
        assert groups(service, name) == ["progress_query"]


def test_a_login_that_is_missing_or_an_owner_or_a_superuser_is_rejected(service: Service) -> None:
    for name, password, why in (
        ("nobody@project.iam", None, "there is no such login"),
        ("keeper", "taken", "it has more privileges"),
        ("postgres", "taken", "it has more privileges"),
    ):
        with pytest.raises(ProgressError, match=f"{name}: {why}"):
            admit(service, Login("progress_query", name, password))
        service.connect().close()


@pytest.mark.parametrize("group", ["batch", "analyst"])  # whose time limits the owner may not set
def test_an_existing_login_that_another_role_created_is_accepted(
    service: Service, group: str
) -> None:
    name = f"progress-{group}@project.iam"
    with closing(service.admin()) as admin:
        admin.run(f'CREATE ROLE "{name}" LOGIN')
    admit(service, Login(f"progress_{group}", name, None))
    assert groups(service, name) == [f"progress_{group}"]


def test_an_analyst_s_locks_and_large_objects_are_removed_without_a_superuser(
    service: Service,
) -> None:
    admit(
        service, Login("progress_analyst", "curious", "1"), Login("progress_batch", "jobber", "2")
    )
    analyst = postgres_servers.connect_plainly(service.url("curious", "1"))
    analyst.run("SELECT pg_advisory_lock(1), lo_create(0)")
    with closing(service.connect("jobber", "2")) as job, closing(service.admin()) as admin:
        analysts.end_locks(job)
        analysts.remove_objects(job)
        assert admin.run("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [[0]]
        assert admin.run("SELECT count(*) FROM pg_largeobject_metadata") == [[0]]
    analyst._usock.close()


def test_who_has_no_rights_in_the_database_no_longer_connects_and_the_others_do(
    service: Service,
) -> None:
    admit(service, Login("progress_analyst", "looking", "1"))
    ours, theirs = (logins.name_after("progress_query", name) for name in ("kept", "other"))
    with closing(service.admin()) as admin, closing(service.connect()) as owner:
        for statement in (
            "CREATE ROLE progress_transport_a LOGIN PASSWORD 'old'",
            "CREATE ROLE progress_transport_b LOGIN",
            "CREATE ROLE progress_transport_c LOGIN",
            "GRANT progress_transport_a, progress_transport_c TO keeper WITH ADMIN OPTION",
            "GRANT progress_transport_b TO keeper WITH ADMIN OPTION",
            "CREATE DATABASE other OWNER progress_transport_c",  # which therefore stays
            f"CREATE ROLE {theirs} LOGIN IN ROLE progress_query",
            "CREATE ROLE stranger LOGIN",
            "CREATE ROLE metabase LOGIN IN ROLE progress_query",
            "CREATE ROLE grafana LOGIN",
            "GRANT SELECT ON event_store.events TO grafana",
        ):
            admin.run(statement)
        running = "SELECT FROM pg_stat_activity WHERE usename = 'progress_transport_a'"
        with closing(service.connect("progress_transport_a", "old")):
            assert not logins.restrict(owner)
            assert admin.run("SELECT FROM pg_roles WHERE rolname = 'progress_transport_a'")
        readiness.wait(lambda: not admin.run(running), "the end of the former system")
        logins.restrict(owner)
        logins.apply(owner, [Login("progress_query", ours, "own")])
        may = "SELECT rolname, has_database_privilege(oid, 'kept', 'CONNECT') FROM pg_roles"
        found = dict(admin.run(may))
        admin.run("GRANT CONNECT ON DATABASE kept TO PUBLIC")
    for name in (ours, "looking", "metabase", "grafana", "keeper"):
        assert found[name], name
    for name in ("progress_transport_c", "progress_backup", theirs, "stranger"):
        assert not found[name], name
    assert {"progress_transport_a", "progress_transport_b"}.isdisjoint(found)
    service.connect(ours, "own").close()


def test_no_two_databases_have_a_login_in_common() -> None:
    names = ["a" * 40, "a" * 41, "a" * 62, "a" * 63, "ü" * 31, "ü" * 30 + "ö", "A", "a"]
    made = [logins.name_after("progress_project", name) for name in names]
    assert len({*made}) == len(names)
    assert max(len(name.encode()) for name in made) <= 63
    assert made[0] == f"progress_project_{'a' * 40}"


def test_passwords_appear_neither_in_the_server_log_nor_in_errors(service: Service) -> None:
    with closing(service.admin()) as admin:
        admin.run("CREATE ROLE foreign_one LOGIN SUPERUSER")
    with pytest.raises(ProgressError) as refused:
        admit(service, Login("progress_query", "foreign_one", "s3cr3t"))
    admit(service, Login("progress_query", "told", "s3cr3t"))
    with closing(service.connect()) as owner, pytest.raises(ProgressError) as reserved:
        logins.apply(owner, [Login("progress_query", "pg_reserved", "s3cr3t")])
    assert 'role name "pg_reserved" is reserved' in str(reserved.value)
    assert "is reserved" in service.logged()
    for text in (service.logged(), str(refused.value), str(reserved.value)):
        assert "s3cr3t" not in text
    assert "s3cr3t" not in repr(Login("progress_query", "told", "s3cr3t"))


def test_migrate_applies_the_migrations_and_creates_the_logins(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", service.url())
    monkeypatch.setenv("DATABASE_LOGINS", "progress_ingest=teller:s3cr3t progress_query=told:new")
    done = CliRunner().invoke(cli.build_app(), ["migrate"])
    assert done.exit_code == 0, done.output
    assert "teller logs in as progress_ingest" in done.output
    assert "s3cr3t" not in done.output
    service.connect("teller", "s3cr3t").close()
    service.connect("told", "new").close()


def test_an_invalid_setting_is_reported_without_its_password() -> None:
    for text, message in [
        ("progress_query", "entry 1: expected group=login"),
        ("progress_query=a progress_query=", "entry 2: expected group=login"),
        ("progress_query=a:", "entry 1: expected group=login"),
        ("=a:s3cr3t", "entry 1: expected one of the groups progress_ingest"),
        ("progress_erasure=a:s3cr3t", "expected one of the groups progress_ingest"),
        ("postgres=s3cr3t", "expected one of the groups"),
        ("progress_query=progress_project:s3cr3t", "progress_project is a group"),
        ("progress_query=a:s3cr3t progress_batch=a:s3cr3t", "a is listed twice"),
        (f"progress_query={'a' * 64}:s3cr3t", "is longer than 63 bytes"),
        ("progress_query=a progress_batch=%FF:s3cr3t", "entry 2: expected UTF-8"),
        ("progress_query=a:s3cr3t%FF", "entry 1: expected UTF-8"),
    ]:
        with pytest.raises(SettingsError, match=message) as refused:
            logins.parse(text)
        assert "s3cr3t" not in str(refused.value)


def test_an_empty_setting_is_parsed_as_no_logins() -> None:
    assert logins.parse(" ") == []
