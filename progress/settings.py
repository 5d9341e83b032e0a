"""All settings, read from the environment variables that docs/settings.md lists.

A misspelt setting prevents startup. An unknown variable counts as a misspelt setting if its name
begins with PROGRESS_, or differs by at most two letters (one, if the name is short) from a setting,
which must not be set unless the name begins like a setting's. Others that begin so may be another
program's: they are named.
"""

import functools
import os
from collections.abc import Mapping
from typing import Annotated, Literal, get_args

import msgspec

from progress.errors import SettingsError

Environment = Literal["development", "staging", "production"]

PublishEvents = Literal["milestones", "all", "off"]

LOCAL_PROJECT = "effect-local"  # all contexts share the local project

_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one process; a setting is None if it is not set and has no default."""

    database_url: str | None = None
    database_logins: str | None = None
    instance_connection_name: str | None = None
    db_name: str | None = None
    db_iam_user: str | None = None
    cloud_sql_address: str | None = None
    database_pool_size: _Positive = 10
    database_past_sessions: _Positive = 3
    database_pool_idle_seconds: _Positive = 300
    redis_url: str | None = None
    pubsub_project_id: str = LOCAL_PROJECT
    pubsub_emulator_host: str | None = None
    changes_subscription: str | None = None
    user_events_topic: str | None = None
    serve_commands_url: str | None = None
    serve_events_url: str | None = None
    serve_key: str | None = None
    publish_events: PublishEvents = "milestones"
    auth_issuer: str | None = None
    auth_audience: str | None = None
    auth_jwks_url: str | None = None
    auth_sign_in_url: str | None = None
    app_url: str | None = None
    dashboard_url: str | None = None
    runbook_url: str | None = None
    page_pause_minutes: _Count = 0
    cors_origins: str = ""
    rate_limit_per_minute: _Positive = 100
    push_account: str | None = None
    learners_may_post: bool | None = None  # None: true in `up`, and false elsewhere
    learner_entries_per_day: _Positive = 1_000_000
    trusted_proxies: _Count = 0
    workers: _Positive = 1
    max_lag_events: _Positive = 1_000
    max_lag_seconds: _Positive = 5
    max_lag_batch_seconds: _Positive = 600
    graphql_introspection: bool | None = None
    environment: Environment = "production"
    otel_exporter_otlp_endpoint: str | None = None
    archive_bucket: str | None = None
    archive_buckets: Literal[16, 64, 256] = 16
    exports_bucket: str | None = None
    dump_to: Annotated[str, msgspec.Meta(pattern="^(/|gs://.)")] | None = None
    erase_deleted_after_days: _Positive | None = None
    retention_months: Annotated[int, msgspec.Meta(ge=1, le=240)] | None = None
    malformed_days: Annotated[int, msgspec.Meta(ge=1, le=400)] = 30
    former_schema_days: _Positive | None = None  # None: 7, and 1 in `up` and `serve`
    scheduler_region: str = "europe-west1"  # as in infra/terraform
    cloud_scheduler_emulator_host: str | None = None
    storage_emulator_host: str | None = None
    progress_data_dir: str = ".progress"
    k_service: str | None = None
    cloud_run_job: str | None = None
    cloud_run_execution: str | None = None
    cloud_run_task_index: int = 0
    cloud_run_task_count: int = 1
    cloud_run_task_attempt: int = 0
    task_retries: _Count = 0

    def is_local(self) -> bool:
        """Return whether the process belongs to a local stack.

        The environment alone does not tell: dev is deployed, too, but has no emulator of Pub/Sub.
        """
        return self.environment == "development" and bool(self.pubsub_emulator_host)

    @property
    def erases_by_time(self) -> bool:
        """A run may erase learners although nothing was recorded."""
        return self.erase_deleted_after_days is not None or self.retention_months is not None

    def check_retention(self, publish_events: str) -> None:
        """Raise SettingsError if erasures are announced, but nothing is published."""
        if self.retention_months is not None and publish_events == "off":
            raise SettingsError(
                "RETENTION_MONTHS: expected PUBLISH_EVENTS milestones or all, and in `serve` "
                "PUBSUB_PROJECT_ID, because erasures are announced; found off"
            )

    def lag_limits(self) -> dict[str, int]:
        return {
            "max_events": self.max_lag_events,
            "max_seconds": self.max_lag_seconds,
            "max_batch_seconds": self.max_lag_batch_seconds,
        }

    def __repr__(self) -> str:
        return f"Settings(environment={self.environment!r})"  # other settings may be secret


_EXPECTED = {
    "archive_buckets": "16, 64 or 256",
    "malformed_days": "an integer from 1 to 400",
    "retention_months": "an integer from 1 to 240",
    "environment": ", ".join(get_args(Environment)),
    "publish_events": ", ".join(get_args(PublishEvents)),
    "graphql_introspection": "true or false",
    "learners_may_post": "true or false",
    "dump_to": "an absolute path, or gs://bucket/prefix",
    **{
        field.name: "a positive integer"
        for field in msgspec.structs.fields(Settings)
        if _Positive in (field.type, *get_args(field.type))
    },
}  # the expected form of settings that are neither strings nor plain integers

_SCHEMES = {
    "redis_url": ("redis://", "rediss://", "unix://"),
    "auth_sign_in_url": ("https://", "http://"),
    "app_url": ("https://", "http://"),
    "dashboard_url": ("https://", "http://"),
    "runbook_url": ("https://", "http://"),
    "otel_exporter_otlp_endpoint": ("http://", "https://"),
}
_OURS = "PROGRESS_"
_LIKE_OURS = (
    *("DATABASE_", "DB_", "AUTH_", "CORS_", "RATE_LIMIT", "GRAPHQL_", "ARCHIVE_", "EXPORTS_"),
    *("ERASE_", "LEARNER", "CHANGES_", "MAX_LAG_", "PUBLISH_", "SCHEDULER_", "SERVE_"),
)
_SHORT = 8  # letters; most names that differ by two letters from a shorter one are no misspelling
# Names of other programs that are as near to a setting as a misspelling.
_OTHERS = {
    *("API_URL", "AUTH0_AUDIENCE", "AUTH0_ISSUER", "AUTH_SIGN_UP_URL", "DATABASE_SSL"),
    *("IMPORTS_BUCKET", "MAX_AGE_SECONDS", "REDIS_SSL", "REDIS_TTL", "REPORTS_BUCKET"),
}
_NOT_TYPED = {"K_SERVICE"}  # only Cloud Run sets it, and many names are near


def read(environment: Mapping[str, str]) -> Settings:
    """Return the settings; raise SettingsError if a setting is invalid or unknown."""
    known = _list_names()
    for name in environment.keys() - known - _OTHERS:
        may_be_set = name.startswith(_LIKE_OURS)
        meant = (s for s in sorted(known - _NOT_TYPED) if may_be_set or s not in environment)
        near = (s for s in meant if _is_near(name, s, 1 if len(s) < _SHORT else 2))
        if nearest := next(near, None):
            raise SettingsError(f"unknown setting {name}: did you mean {nearest}?")
        if name.startswith(_OURS):
            raise SettingsError(f"unknown setting {name}: is it misspelt?")
    texts = {n.lower(): environment[n] for n in known if environment.get(n)}
    for name, schemes in _SCHEMES.items():
        if not texts.get(name, schemes[0]).startswith(schemes):
            raise SettingsError(f"{name.upper()}: expected a URL that begins with {schemes[0]}")
    try:
        settings = msgspec.convert(texts, Settings, strict=False)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("$.")[2].rstrip("`")
        expected = _EXPECTED.get(name, "an integer")
        raise SettingsError(f"{name.upper()}: expected {expected}; found {texts[name]!r}") from None
    settings.check_retention(settings.publish_events)
    return settings


def _list_names() -> set[str]:
    return {field.name.upper() for field in msgspec.structs.fields(Settings)}


def _is_near(one: str, other: str, letters: int) -> bool:
    """Return whether at most so many letters are added, missing, replaced or swapped."""
    if abs(len(one) - len(other)) > letters or len({*one} ^ {*other}) > 2 * letters:
        return False
    pairs = enumerate(zip(one, other, strict=False))
    same = next((n for n, (x, y) in pairs if x != y), min(len(one), len(other)))
    a, b = one[same:], other[same:]
    if not (a or b):
        return True
    rests = [(a[1:], b[1:]), (a[1:], b), (a, b[1:])]
    if a[:2] == b[1::-1]:
        rests.append((a[2:], b[2:]))
    return letters > 0 and any(_is_near(x, y, letters - 1) for x, y in rests)


def describe_unread() -> str:
    """Name the variables that are no settings and begin like one; "" if there are none."""
    names = sorted(n for n in os.environ.keys() - _list_names() if n.startswith(_LIKE_OURS))
    return f"no settings of Progress, and not read: {', '.join(names)}" if names else ""


@functools.cache
def current() -> Settings:
    return read(os.environ)


def fill_in(**missing: str) -> None:
    """Set the given environment variables, except those that are set already."""
    for name, value in missing.items():
        os.environ.setdefault(name, value)


def child_env(**changed: str) -> dict[str, str]:
    """Return this process's environment with some variables changed, for a child process."""
    return {**os.environ, **changed}
