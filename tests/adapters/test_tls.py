"""The certificate authorities and host names that the clients of PostgreSQL and Redis accept."""

import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
import uvloop

from progress.adapters.postgres import database, migrations
from progress.adapters.redis import async_client, blocking_client, commands
from progress.adapters.redis.url import parse_url
from progress.errors import DatabaseUnavailable, RedisUnavailable, SettingsError
from progress.projections import rebuild
from progress.serve import ports, system_account
from tests.conftest import skip_without
from tests.support import cache_instances, folders, tls_certificates
from tests.support.api import QueryClient
from tests.support.postgres_servers import OLDEST, OLDEST_PROGRAMS, OwnServer

HOST = "127.0.0.1"
ELSEWHERE = "another.example"
PASSWORD = "s:cret"  # noqa: S105 - the password of a server that only these tests start


@pytest.fixture(scope="module")
def authority() -> tls_certificates.Authority:
    return tls_certificates.Authority()


@pytest.fixture(scope="module", params=[HOST, ELSEWHERE])
def named(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def memorystore(
    authority: tls_certificates.Authority, named: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a Valkey that requires TLS and a password; the URL has no CA certificate."""
    certificate = authority.certificate(tmp_path_factory.mktemp("tls"), named)
    with (
        cache_instances.own_valkey("--requirepass", PASSWORD) as own,
        tls_certificates.serve_tls(own.port, certificate) as port,
    ):
        yield f"rediss://:{quote(PASSWORD)}@{HOST}:{port}/0"


def with_authority(url: str, authority: tls_certificates.Authority, *, named: bool) -> str:
    """Return the URL with the authority's certificate, in the format that Terraform writes."""
    check = "" if named else "&ssl_check_hostname=false"
    return f"{url}?ssl_ca_data={quote(authority.pem, safe='')}{check}"


def answers_the_query_function(url: str) -> bool:
    async def ping() -> bool:
        client = async_client.Client(url, timeout_s=10)
        try:
            return await client.run(commands.ping()) == [b"PONG"]
        finally:
            await client.close()

    return uvloop.run(ping())


@pytest.mark.parametrize("is_checked", [True, False])
def test_redis_is_trusted_if_the_authority_in_the_url_signed_the_certificate(
    memorystore: str, authority: tls_certificates.Authority, named: str, *, is_checked: bool
) -> None:
    url = with_authority(memorystore, authority, named=is_checked)
    if is_checked and named != HOST:
        check_is_not_trusted(url)
    else:
        blocking_client.check(url)
        assert answers_the_query_function(url)


def check_is_not_trusted(url: str) -> None:
    with pytest.raises(RedisUnavailable, match="certificate"):
        blocking_client.check(url)
    with pytest.raises(RedisUnavailable):
        answers_the_query_function(url)


def test_an_unknown_authority_is_not_trusted(memorystore: str) -> None:
    stranger = tls_certificates.Authority()
    for url in (memorystore, with_authority(memorystore, stranger, named=False)):
        check_is_not_trusted(url)


def test_authorities_in_the_url_replace_those_of_the_system(
    memorystore: str,
    authority: tls_certificates.Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system = tmp_path / "system.pem"
    system.write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(system))
    check_is_not_trusted(with_authority(memorystore, tls_certificates.Authority(), named=False))


def test_either_of_two_authorities_is_trusted(
    memorystore: str, authority: tls_certificates.Authority
) -> None:
    both = tls_certificates.Authority().pem + "\n" + authority.pem
    url = f"{memorystore}?ssl_check_hostname=false&ssl_ca_data={quote(both, safe='')}"
    blocking_client.check(url)


def test_an_invalid_certificate_authority_in_a_url_is_reported() -> None:
    for options, message in [
        ("ssl_ca_data=nonsense", "ssl_ca_data: expected certificates"),
        ("ssl_ca_data=%C3%BC", "ssl_ca_data: expected certificates"),
        ("ssl_check_hostname=false", "needs CA certificates"),
        ("ssl_check_hostname=no", "expected true or false"),
    ]:
        with pytest.raises(SettingsError, match=message):
            parse_url(f"rediss://h?{options}")


@pytest.fixture(scope="module")
def encrypted(
    request: pytest.FixtureRequest, authority: tls_certificates.Authority, named: str
) -> Iterator[str]:
    """The TCP URL of a PostgreSQL server that rejects connections without TLS."""
    if not OLDEST_PROGRAMS.exists():  # the embedded server is built without TLS
        skip_without(request, OLDEST)
    with folders.create("test") as folder:
        port = ports.reserve()
        admits = "local all all trust\nhostssl all all all trust\n"
        server = OwnServer(folder, OLDEST_PROGRAMS, admits=admits)
        certificate = authority.certificate(folder / "postgres", named)
        files = {"ssl_cert_file": certificate.chain, "ssl_key_file": certificate.key}
        for file in files.values():
            shutil.chown(file, system_account.find() or file.owner())
        options = [f"{name}={file}" for name, file in files.items()]
        server.start(f"listen_addresses={HOST}", "ssl=on", *options, port=port)
        yield f"postgresql://postgres@{HOST}:{port}/postgres"
        server.stop()


@pytest.mark.first_in_gate
def test_sslmode_verify_full_requires_the_host_name_in_the_certificate(
    encrypted: str,
    authority: tls_certificates.Authority,
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    url = f"{encrypted}?sslmode=verify-full"
    if named == HOST:
        with closing(database.connect(url)) as owner:
            assert owner.run("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [[True]]
            migrations.apply(owner)
        rebuild.ensure(lambda: database.connect(url))
        with closing(QueryClient(url)) as fetch:
            assert fetch(fetch.queries.get_current_progress("nobody")) is None
    else:
        with pytest.raises(DatabaseUnavailable, match="not valid for"):
            database.connect(url)
        with (
            closing(QueryClient(url)) as fetch,
            pytest.raises(DatabaseUnavailable, match="not valid for"),
        ):
            fetch(fetch.queries.get_current_progress("nobody"))


def test_sslmode_require_means_encryption_without_a_check_of_the_host_name(encrypted: str) -> None:
    with closing(database.connect(f"{encrypted}?sslmode=require")) as owner:
        assert owner.run("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [[True]]
    with pytest.raises(DatabaseUnavailable):
        database.connect(f"{encrypted}?sslmode=disable")


def test_the_database_must_speak_tls_1_3(encrypted: str) -> None:
    url = f"{encrypted}?sslmode=require"
    with closing(database.connect(url)) as owner:
        owner.run("ALTER SYSTEM SET ssl_max_protocol_version = 'TLSv1.2'")
        owner.run("SELECT pg_reload_conf()")
        try:
            with pytest.raises(DatabaseUnavailable, match=r"(?i)protocol"):
                reconnect(url)
            with (
                closing(QueryClient(url)) as fetch,
                pytest.raises(DatabaseUnavailable, match=r"(?i)protocol"),
            ):
                fetch(fetch.queries.get_current_progress("nobody"))
        finally:
            owner.run("ALTER SYSTEM RESET ssl_max_protocol_version")
            owner.run("SELECT pg_reload_conf()")


def reconnect(url: str) -> None:
    """Connect until the server's new setting is in force, which takes a moment."""
    for _ in range(100):
        database.connect(url).close()
        time.sleep(0.1)
