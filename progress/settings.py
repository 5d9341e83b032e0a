"""Every setting, read in one place: the environment variables that docs/settings.md lists.

A variable that begins like one of ours, or is one letter away from one that is not set, stops the
start and is named, so that a misspelt setting is never silently ignored.
"""

import functools
import os
from collections.abc import Mapping
from typing import Annotated, Literal, get_args

import msgspec

from progress.errors import SettingsError

Environment = Literal["development", "staging", "production"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the environment says; None where it says nothing."""

    database_url: str | None = None
    database_logins: str | None = None
    instance_connection_name: str | None = None
    db_name: str | None = None
    db_iam_user: str | None = None
    cloud_sql_address: str | None = None
    redis_url: str | None = None
    pubsub_project_id: str = "progress-local"
    pubsub_emulator_host: str | None = None
    changes_subscription: str | None = None
    auth_issuer: str | None = None
    auth_audience: str | None = None
    auth_jwks_url: str | None = None
    auth_sign_in_url: str | None = None
    cors_origins: str = ""
    rate_limit_per_minute: Annotated[int, msgspec.Meta(ge=1)] = 100
    graphql_introspection: bool | None = None
    environment: Environment = "production"
    otel_exporter_otlp_endpoint: str | None = None
    archive_bucket: str | None = None
    cloud_scheduler_emulator_host: str | None = None
    storage_emulator_host: str | None = None
    progress_data_dir: str = ".progress"
    cloud_run_job: str | None = None
    cloud_run_execution: str | None = None
    cloud_run_task_index: int = 0
    cloud_run_task_count: int = 1
    cloud_run_task_attempt: int = 0

    def __repr__(self) -> str:
        return f"Settings(environment={self.environment!r})"  # the rest may hold secrets


_EXPECTED = {
    "environment": ", ".join(get_args(Environment)),
    "graphql_introspection": "true or false",
    "rate_limit_per_minute": "a positive integer",
}  # of what is neither text nor any number

_SCHEMES = {
    "redis_url": ("redis://", "rediss://", "unix://"),
    "auth_sign_in_url": ("https://", "http://"),
    "otel_exporter_otlp_endpoint": ("http://", "https://"),
}
_OURS = (
    "DATABASE_",
    "DB_",
    "AUTH_",
    "CORS_",
    "RATE_LIMIT",
    "GRAPHQL_",
    "PROGRESS_",
    "ARCHIVE_",
    "CHANGES_",
)


def read(environment: Mapping[str, str]) -> Settings:
    """The settings in `environment`; SettingsError names a bad or unknown variable."""
    known = {field.name.upper() for field in msgspec.structs.fields(Settings)}
    unset = known - environment.keys()
    for name in environment.keys() - known:
        if meant := next((each for each in sorted(unset) if _one_letter_away(name, each)), None):
            raise SettingsError(f"unknown setting {name}: is {meant} meant?")
        if name.startswith(_OURS):
            raise SettingsError(f"unknown setting {name}: is it misspelt?")
    given = {n.lower(): environment[n] for n in known if environment.get(n)}
    for name, schemes in _SCHEMES.items():
        if not given.get(name, schemes[0]).startswith(schemes):
            raise SettingsError(f"{name.upper()}: expected a URL that begins with {schemes[0]}")
    try:
        return msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as fault:
        name = str(fault).rpartition("$.")[2].rstrip("`")
        expected = _EXPECTED.get(name, "an integer")
        raise SettingsError(f"{name.upper()}: expected {expected}; found {given[name]!r}") from None


def _one_letter_away(one: str, other: str) -> bool:
    """Whether a letter more, less or other, or two that changed places, makes one the other."""
    if abs(len(one) - len(other)) > 1:
        return False
    pairs = enumerate(zip(one, other, strict=False))
    same = next((n for n, (x, y) in pairs if x != y), min(len(one), len(other)))
    a, b = one[same:], other[same:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])


@functools.cache
def current() -> Settings:
    """The settings of this process, read once."""
    return read(os.environ)


def fill_in(**missing: str) -> None:
    """Variables that a library reads for itself, where the environment says nothing of them."""
    for name, value in missing.items():
        os.environ.setdefault(name, value)


def inherited(**changed: str) -> dict[str, str]:
    """The environment for a process that we start: ours, with some variables changed."""
    return {**os.environ, **changed}
