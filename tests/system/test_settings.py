"""Settings: valid values, and errors that prevent startup."""

import json
import traceback
from collections.abc import Callable

import pytest

from progress import settings
from progress.adapters.postgres import database
from progress.adapters.postgres import url as postgres_url
from progress.adapters.redis import url as redis_url
from progress.errors import SettingsError
from tests.support import cli
from tests.support.api import NOWHERE


def test_by_default_the_environment_is_production_and_no_database_is_set() -> None:
    read = settings.read({})
    assert (read.environment, read.database_url, read.redis_url) == ("production", None, None)
    assert (read.rate_limit_per_minute, read.graphql_introspection) == (100, None)
    assert read.erase_deleted_after_days is None


def test_values_are_converted_to_the_types_of_the_settings() -> None:
    expected = {
        "rate_limit_per_minute": 7, "graphql_introspection": False, "environment": "staging",
        "cloud_run_task_index": 2, "erase_deleted_after_days": 30, "malformed_days": 400,
        "app_url": "https://a.example/{list}?f={filter}&{from}{to}{item}{level}{language}#%7bx%7d",
    }  # fmt: skip
    read = settings.read({name.upper(): str(value).lower() for name, value in expected.items()})
    assert {name: getattr(read, name) for name in expected} == expected


SECRET = "whsec_" + "A" * 32  # 24 bytes


@pytest.mark.parametrize(
    ("url", "secret", "found"),
    [
        ("https://hooks.example.com/a?b=c", SECRET, ""),
        ("http://localhost:9000/", f"{SECRET} whsec_{'B' * 43}", ""),
        ("http://127.8.9.1", SECRET, ""),
        ("HTTP://[::1]:80/", SECRET, ""),
        ("http://hooks.example.com/", SECRET, "WEBHOOK_URL: expected a URL that begins with https"),
        *(
            (url, SECRET, "WEBHOOK_URL: expected a URL")
            for url in (
                *("http://localhost.example.com/", "http://127.0.0.1.example.com/", "https://"),
                *("http://0.0.0.0/", "ftp://localhost/", "hooks.example.com", "https://[::1/"),
                "https://hooks.example.com:http/",
            )
        ),
        ("https://me:pass@hooks.example.com/", SECRET, "WEBHOOK_URL: expected .* without a user"),
        ("http://localhost@hooks.example.com/", SECRET, "WEBHOOK_URL: expected .* without a user"),
        ("https://hooks.example.com/", "", "WEBHOOK_SECRET: .* of at least 24 bytes"),
        ("https://hooks.example.com/", "whsec_" + "A" * 30, "WEBHOOK_SECRET: expected"),
        ("https://hooks.example.com/", "A" * 32, "WEBHOOK_SECRET: expected"),
        ("https://hooks.example.com/", SECRET + "*", "WEBHOOK_SECRET: expected"),
        ("https://hooks.example.com/", " ".join([SECRET] * 3), "WEBHOOK_SECRET: expected .* two"),
    ],
)
def test_a_webhook_has_tls_or_stays_on_this_machine_and_has_a_secret(
    url: str, secret: str, found: str
) -> None:
    given = {"WEBHOOK_URL": url, "WEBHOOK_SECRET": secret}
    if not found:
        settings.read(given)
        with pytest.raises(SettingsError, match=r"WEBHOOK_URL is for `progress serve`"):
            settings.read({**given, "K_SERVICE": "progress-project"})
        return
    with pytest.raises(SettingsError, match=found) as raised:
        settings.read(given)
    assert not any(part in str(raised.value) for part in ("pass@", "example.com", "AAAA"))


FOREIGN = (
    "API_URL AMQP_URL WEB_URL APP_ENV APP_KEY APP_NAME SERVICE MY_SERVICE SERVICE_URL PORT HOST TZ "
    "REDIS_HOST REDIS_TTL REDIS_DB WORKER_ID WORKDIR PGHOST POSTGRES_URL MAX_AGE_SECONDS ENV "
    "REPORTS_BUCKET TRUSTED_HOSTS ENVIRONMENT_NAME PUBSUB_TOPIC AUTH0_AUDIENCE "
    "AUTH0_ISSUER REDIS_SSL "
    # Those that OpenTelemetry reads.
    "OTEL_TRACES_SAMPLER OTEL_TRACES_SAMPLER_ARG OTEL_RESOURCE_ATTRIBUTES OTEL_SERVICE_NAME "
    "OTEL_BSP_SCHEDULE_DELAY OTEL_METRIC_EXPORT_INTERVAL OTEL_EXPORTER_OTLP_HEADERS "
    "OTEL_EXPORTER_OTLP_TIMEOUT OTEL_EXPORTER_OTLP_PROTOCOL OTEL_EXPORTER_OTLP_COMPRESSION "
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT OTEL_EXPORTER_OTLP_METRICS_ENDPOINT KUBERNETES_PORT"
)
LIKE_OURS = (
    "AUTH_AUDIENCE_URL AUTH_SIGN_UP_URL CORS_ALLOWED_ORIGINS DATABASE_HOST DATABASE_SSL DB_PASS "
    "DB_USER GRAPHQL_URL"
)


def test_variables_of_other_programs_stop_nothing_and_are_named_if_they_look_like_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [*FOREIGN.split(), *LIKE_OURS.split()]:
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("REDIS_URL", "redis://r")
    monkeypatch.setenv("REDIS_URI", "redis://r")  # no mistake beside the other one
    settings.current()
    assert settings.describe_unread().endswith(f": {', '.join(LIKE_OURS.split())}")


def test_a_command_and_the_doctor_name_a_variable_that_looks_like_a_setting() -> None:
    answer = cli.progress(NOWHERE, "doctor", "--json", AUTH_AUDIENCE_URL="x")
    (line,) = answer.stderr.splitlines()
    (found,) = (p["found"] for p in json.loads(answer.stdout)["parts"] if p["name"] == "settings")
    assert line == f"progress: {found}"
    assert found.endswith(": AUTH_AUDIENCE_URL")


def test_an_empty_value_counts_as_not_set() -> None:
    assert settings.read({"DATABASE_URL": "", "RATE_LIMIT_PER_MINUTE": ""}) == settings.read({})


def test_the_printed_settings_and_urls_do_not_contain_secrets() -> None:
    secret = "hunter2"  # noqa: S105 - not a real password
    url = f"postgresql://progress:{secret}@db.example:5433/numbers"
    assert secret not in repr(
        settings.read({"DATABASE_URL": url, "REDIS_URL": f"redis://:{secret}@r"})
    )
    assert secret not in repr(postgres_url.parse_url(url))
    with pytest.raises(SettingsError) as error:
        settings.read({"DATABASE_URL": url, "ENVIRONMENT": "x"})
    assert secret not in str(error.value)


def test_a_database_url_is_parsed() -> None:
    for url, expected in [
        ("postgresql://u:p@h:5433/d", ("u", "p", "h", 5433, "d", "prefer")),
        ("postgres://h/d", ("postgres", None, "h", 5432, "d", "prefer")),
        ("postgresql://u@/d?host=/run/pg", ("u", None, "/run/pg", 5432, "d", "prefer")),
        ("postgresql://u%40x:p%2Fq@h/d?sslmode=require", ("u@x", "p/q", "h", 5432, "d", "require")),
        (
            "postgresql://u:p@/d?host=/cloudsql/a:b:c&port=6543",
            ("u", "p", "/cloudsql/a:b:c", 6543, "d", "prefer"),
        ),
        ("postgresql://", ("postgres", None, "127.0.0.1", 5432, "postgres", "prefer")),
        ("postgresql://u@h/d?password=a%2541", ("u", "a%41", "h", 5432, "d", "prefer")),
    ]:
        at = postgres_url.parse_url(url)
        assert (at.user, at.password, at.host, at.port, at.database, at.sslmode) == expected


def test_a_parameter_of_a_url_that_is_not_known_is_named(caplog: pytest.LogCaptureFixture) -> None:
    for parse, url, warning in (
        (postgres_url.parse_url, "postgresql://h?user=u&sslmode=require", ""),
        (postgres_url.parse_url, "postgresql://u:hush@h?channel_binding=x", "channel_binding is"),
        (postgres_url.parse_url, "postgresql://h?sslrootcert=x", "is ignored: SSL_CERT_FILE"),
        (redis_url.parse_url, "rediss://h?db=3&username=u&ssl_check_hostname=true", ""),
        (redis_url.parse_url, "redis://h?ssl_check_hostname=true", "ssl_check_hostname is ignored"),
        (redis_url.parse_url, "rediss://h?ssl_ca_certs=x", "is ignored: SSL_CERT_FILE"),
    ):
        caplog.clear()
        parse(url)
        assert (warning in caplog.text, len(caplog.messages)) == (True, bool(warning)), url
        assert "hush" not in caplog.text


def test_an_invalid_database_url_is_rejected() -> None:
    for url in ["mysql://h/d", "h:5432", "postgresql://h:port/d", "/var/run"]:
        with pytest.raises(SettingsError, match="DATABASE_URL"):
            postgres_url.parse_url(url)


@pytest.mark.parametrize("password", ["[hush", "hush]", "\u2100hush", "a/hush", "a#hush", "a?hush"])
@pytest.mark.parametrize(
    ("read", "name"), [(postgres_url.parse_url, "DATABASE_URL"), (redis_url.parse_url, "REDIS_URL")]
)
def test_an_unquoted_password_is_rejected_and_not_shown(
    read: Callable[[str], object], name: str, password: str
) -> None:
    scheme = {"DATABASE_URL": "postgresql", "REDIS_URL": "redis"}[name]
    with pytest.raises(SettingsError, match=f"{name}.*quoted as in a URL") as error:
        read(f"{scheme}://u:{password}@h:5432/1")
    assert "hush" not in "".join(traceback.format_exception(error.value))


def test_the_error_names_database_url_if_no_database_is_set() -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        database.connect(settings.read({}))


MISSPELLED = (
    "DATABASE_URI AUTH_ISUER PROGRESS_DATADIR PROGRESS_HOME DB_NMAE DATABSE_ULR RADIS_URLS "
    "AUTH_AUDIENCES_ TRUSTED_PROXY_S ENVIRONMEN"
)
INVALID = [
    ("RATE_LIMIT_PER_MINUTE", "many"),
    ("RATE_LIMIT_PER_MINUTE", "0"),
    ("RATE_LIMIT_PER_MINUTE", "-1"),
    ("ENVIRONMENT", "produktion"),
    ("GRAPHQL_INTROSPECTION", "perhaps"),
    ("CLOUD_RUN_TASK_COUNT", "1.5"),
    ("MALFORMED_DAYS", "0"),
    ("MALFORMED_DAYS", "401"),
]
OF_APP = [
    ("https://a.example/?f={filtr}", "APP_URL: unknown placeholder {filtr}; known are filter"),
    ("https://a.example/?f={Filter}", "unknown placeholder {Filter}"),
    ("https://a.example/{}", "unknown placeholder {}"),
    ("https://{item}/", "APP_URL: expected a host without placeholders"),
]
URLS = ("REDIS_URL", "OTEL_EXPORTER_OTLP_ENDPOINT", "AUTH_SIGN_IN_URL")


@pytest.mark.parametrize(
    ("given", "error"),
    [
        *(({name: "x"}, name) for name in MISSPELLED.split()),
        ({"AUTH_ISSUER": "x", "AUTH_ISUERS": "x"}, "did you mean AUTH_ISSUER"),
        *(({n: v}, f"^{n}: expected [a-z0-9, ]+; found '{v}'$") for n, v in INVALID),
        *(({"APP_URL": url}, error) for url, error in OF_APP),
        *(({name: "zzz"}, f"{name}: expected a URL that begins with") for name in URLS),
    ],
)
def test_the_error_names_what_is_wrong(given: dict[str, str], error: str) -> None:
    with pytest.raises(SettingsError, match=error):
        settings.read(given)
