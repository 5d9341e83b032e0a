"""All settings, read from environment variables; their texts are the list of docs/settings.md.

A misspelt setting prevents startup. An unknown variable counts as a misspelt setting if its name
begins with PROGRESS_, or differs by at most two letters (one, if the name is short) from a setting,
which must not be set unless the name begins like a setting's. Others that begin so may be another
program's: they are named.
"""

import base64
import contextlib
import functools
import ipaddress
import os
import re
from collections.abc import Mapping
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

import msgspec

from progress.errors import SettingsError

Environment = Literal["development", "staging", "production"]

PublishEvents = Literal["milestones", "all", "off"]

LOCAL_PROJECT = "effect-local"  # all contexts share the local project

_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one process; a setting is None if it is not set and has no default.

    A text describes all settings since the text before it, for docs/settings.md.
    """

    database_url: str | None = None
    """The URL of a PostgreSQL database, version 15 or newer. With `sslmode=require`, `verify-ca` or
    `verify-full`, the server must speak TLS 1.3. Each session sets what its answers depend on
    ([sessions.sql](../sql/adapters/sessions.sql)): no default of the database or the login changes
    them, not even read-only. Of libpq's parameters, `host`, `port`, `user`, `password` and
    `sslmode` are read; a warning names the others. Name the direct endpoint: each process refuses a
    pooler in transaction mode, which runs each transaction in another session. A pooler in session
    mode works.
    """
    database_logins: str | None = None
    """One database login for each group role, as in `progress_query=name
    progress_batch=name:password …`. `progress migrate` adds each login to its role. With a
    password, it creates the login or changes its password. A login without a password must exist
    (as Cloud SQL's IAM logins do). Percent-encode names and passwords as in a URL. It is a secret.
    """
    instance_connection_name: str | None = None
    db_name: str | None = None
    db_iam_user: str | None = None
    """The instance, the database and the login for Cloud SQL. Without `DATABASE_URL`, Progress
    connects with these, through Google's connector and with IAM. `progress doctor` looks at the
    instance's backups.
    """
    cloud_sql_address: str | None = None
    """Cloud SQL's private address, for the connector. A function's start-up
    probe (`/startup`) waits until it accepts TCP connections.
    """
    database_pool_size: _Positive = 10
    database_past_sessions: _Positive = 3
    database_pool_idle_seconds: _Positive = 300
    """How many connections a process of the query function opens at most for queries, and for
    queries about the past; and when an idle one is closed. `progress serve` lowers the first two
    where the database admits few connections.
    """
    redis_url: str | None = None
    """An optional Redis server for the cache and the rate limit of all instances. It needs
    no persistence. Its user must be allowed to write and to run scripts (`EVAL`); otherwise
    `progress doctor` and `/ready` (`"cache": "rejects"`) say so, and the database answers more.
    Configure a memory limit and the policy `volatile-ttl`: what expires first is evicted first. A
    counter has at least 24 hours left while it limits, and a cache entry at most 24, so that nobody
    can evict the counters by filling the memory. With `rediss://…?ssl_ca_data=PEM`, clients trust
    only the certificate authorities in PEM. `&ssl_check_hostname=false` switches off the check of
    the host name; Memorystore needs it, because its certificate does not name the host. A warning
    names other parameters of redis-py, which are not read.
    """
    pubsub_project_id: str = LOCAL_PROJECT
    """The Google Cloud project of Pub/Sub and Cloud Monitoring. To its topics, commands publish
    events with `--pubsub`.
    """
    pubsub_emulator_host: str | None = None
    """The address of an emulator of Pub/Sub and Cloud Monitoring, for commands. `progress up` does
    not read it.
    """
    changes_subscription: str | None = None
    """An optional pull subscription on the topic `progress-commands`, which receives the wake-ups
    of ingest. A run of the batch job that finds it empty ends without connecting to the database,
    because nothing was recorded since the last run; not if a setting below erases learners by time.
    """
    serve_commands_url: str | None = None
    serve_events_url: str | None = None
    serve_key: str | None = None
    serve_wakes: _Positive | None = None
    """Set by [`progress serve`](serving.md) and `progress up` for their own processes. They are the
    address of the project function, which gets wake-ups without Pub/Sub; that of ingest's posted
    events, to which the query function forwards posts to its own `/events`; the key, a secret, by
    which the processes know each other; and how many wake-ups the project function runs at a time.
    """
    events_url: str | None = None
    events_token: str | None = None
    """Where `progress publish` and `progress import` [post](publishing.md#posting-events) events if
    not to the system on this machine: the address of ingest's `/events`, and a publisher's token.
    """
    publish_events: PublishEvents = "milestones"
    """What leaves the system on the topic `progress-events`
    ([events.md](events.md#published-messages)): `milestones` (also announced erasures), `all` (also
    every recorded event) or `off`. The project function, the batch job and `progress erasures
    apply` read it. Events recorded under another setting are not published later.
    """
    webhook_url: str | None = None
    webhook_secret: str | None = None
    """In `serve` and `up`, [where each message is posted](serving.md#events-out) in place of the
    topic, and the secret that signs it: `whsec_` and base64 of at least 24 bytes, or two with a
    blank between, which both sign. The address has no user name, and TLS unless its host is
    `localhost` or a loopback address.
    """
    auth_issuer: str | None = None
    auth_audience: str | None = None
    auth_jwks_url: str | None = None
    """The issuer, the audience and the public keys of the tokens that the query function accepts,
    and, outside of Cloud Run, ingest for [posted events](publishing.md). The query function
    requires `AUTH_AUDIENCE`; without it, ingest accepts no post, except on Cloud Run, where IAM
    admits the posters. Without the others, the issuer is Firebase Authentication of the project
    that the audience names. Tokens must be signed by RS256 or ES256; other keys in `AUTH_JWKS_URL`
    are not used. The claim `roles` is a role or a list of roles (`learner`, `teacher`, `support`,
    `admin`). A token whose only role is `publisher` may post events, and reads nothing. The claim
    `groups` of a teacher is a list of at most 50 group ids. With the audience
    `32555940559.apps.googleusercontent.com`, the issuer is Google, and a token is what `gcloud auth
    print-identity-token` prints. Only its claim `sub` is read: everybody with a Google account is a
    learner of their own data, and nobody has a role. A function refuses to start with this audience
    unless `ENVIRONMENT` is development.
    """
    auth_sign_in_url: str | None = None
    """The address of the issuer's sign-in page, to which the page sends a learner without a token;
    see [below](#sign-in).
    """
    app_url: str | None = None
    """The address of the learning app, which the page's buttons open. In its
    placeholders, such as `{filter}`, the page says
    [which words to practise](from-an-app.md#from-the-page-to-the-app).
    """
    dashboard_url: str | None = None
    """The address of the dashboards, to which the administrator's page then links."""
    runbook_url: str | None = None
    """The address of the [runbook](runbook.md), to whose sections the alarms of the administrator's
    page then link. The local stack serves the runbook itself.
    """
    page_pause_minutes: _Count = 0
    """After so many minutes without input, an open page closes its connection, which keeps an
    instance busy and costs money ([cost](cost.md#the-free-profile)), and asks nothing until
    somebody touches it. With 0, only a hidden page pauses. Terraform sets 10 in dev.
    """
    cors_origins: str = ""
    """The origins, separated by commas, whose web pages may call the query function, such as
    `https://app.example.com`. Apps in a web view and extensions of browsers have one, too:
    `capacitor://localhost`, `https://localhost`, `tauri://localhost`, `chrome-extension://ID`. The
    local stack allows `http://localhost:*,http://127.0.0.1:*` unless you set others. Functions
    elsewhere refuse to start with these two.
    """
    rate_limit_per_minute: _Positive = 100
    """How many requests the query function accepts from a caller in a minute."""
    learners_may_post: bool | None = None
    """`true` or `false`: whether learners may [post events about themselves](from-an-app.md) to the
    query function; on in `progress up`, off elsewhere.
    """
    learner_entries_per_day: _Positive = 1_000_000
    """How many entries of all learners are accepted in a UTC day. Terraform sets this and
    `LEARNERS_MAY_POST` from the fields of `learners`.
    """
    trusted_proxies: _Count = 0
    """How many proxies in front of the query function add an entry to `X-Forwarded-For`. The
    client's address is the entry of the first of them; with 0, the connection's. Cloud Run adds one
    entry, a load balancer in front of it one more.
    """
    workers: _Positive = 1
    """The processes of each instance of the query function. They share the instance's limits of 800
    open streams and sockets, and of 100 sockets whose clients have not sent a token yet. The limits
    for each caller and address, `DATABASE_PAST_SESSIONS` and `DATABASE_POOL_SIZE` apply to each
    process.
    """
    max_lag_events: _Positive = 1_000
    max_lag_seconds: _Positive = 5
    max_lag_batch_seconds: _Positive = 600
    """The lag above which a realtime projection, or one of the batch job (the last setting), is
    `CRITICAL` in `projectionStatus`, `progress status` and the [Python API](python.md). Terraform
    sets them and the limits of the alerts from one variable each.
    """
    graphql_introspection: bool | None = None
    """`true` (the default in development) or `false` (elsewhere): whether the query function allows
    introspection and serves GraphiQL at `/graphql`. The schema is always at `/schema.graphql`.
    """
    environment: Environment = "production"
    """Development, staging or production."""
    otel_exporter_otlp_endpoint: str | None = None
    """The address for traces and metrics, by OTLP over HTTP; without it, none are sent. Terraform
    sets `https://telemetry.googleapis.com`, where the service account of each function and job
    authenticates. OpenTelemetry's own environment variables apply too. Google rejects metrics
    without the resource attribute `cloud.region`.
    """
    archive_bucket: str | None = None
    """The bucket of the archive, as a name or as `gs://bucket`. Without it, the archive is in the
    folder `archive` in `PROGRESS_DATA_DIR`.
    """
    archive_buckets: Literal[16, 64, 256] = 16
    """The number of learner buckets in a new archive: 16, 64 for more than 100 million events, or
    256 for more than a billion. Each range of positions has one file for each bucket. An existing
    archive keeps its number; in Google Cloud, set `archive_buckets` in the environment's tfvars
    before `ARCHIVE` runs for the first time.
    """
    exports_bucket: str | None = None
    """The bucket for exported files. Without it, they are in the folder `exports` in
    `PROGRESS_DATA_DIR`, and the query function serves them.
    """
    dump_to: Annotated[str, msgspec.Meta(pattern="^(/|gs://.)")] | None = None
    """Where `progress dump` writes the log and `progress doctor` looks: the absolute path of a
    folder, or `gs://bucket/prefix`. `progress serve` then starts `progress dump --daily` every
    hour; with Neon, Cloud Scheduler does so every six hours. It makes a dump if the newest is 20
    hours old (or from a clock that was ahead), and keeps seven, and the first of each month for a
    year. The receipt of an erasure says so; for a bucket, it has the time from the bucket's
    lifecycle rules. If no rule deletes all objects by their age, every erasure fails, because no
    receipt would be true. Without this setting, nothing is dumped, and the receipt says 7 days;
    delete your own backups by then.
    """
    dump_copy_to: Annotated[str, msgspec.Meta(pattern="^gs://.")] | None = None
    """Where each dump in `DUMP_TO` is copied: `gs://bucket/prefix`, best of somebody else
    ([why](runbook.md#a-lost-region-or-project)). Receipts and `progress doctor` include it.
    """
    erase_deleted_after_days: _Positive | None = None
    """The batch job erases learners whose deletion was recorded more than this number of days ago,
    at most ten in a run. Without it, only administrators erase learners.
    """
    retention_months: Annotated[int, msgspec.Meta(ge=1, le=240)] | None = None
    """The batch job erases learners about whom nothing was recorded for this number of months. What
    counts is when an event was recorded, so an imported history is safe. First it announces the
    erasure on the topic `progress-events`
    ([ErasureAnnounced](events.md#erasureannounced-kind-is-announced)), 1,000 in a run. The erasure
    starts in the first run on the announced day, ten in a run, if Pub/Sub or the webhook took the
    announcement more than 30 days ago and no event of the learner was recorded since. Without this
    setting, and by a restore, announcements are withdrawn. Learners with events of unknown types
    only are not announced. Each process refuses the setting with `PUBLISH_EVENTS=off`, and
    `progress serve` without `WEBHOOK_URL` or `PUBSUB_PROJECT_ID`.
    """
    malformed_days: Annotated[int, msgspec.Meta(ge=1, le=400)] = 30
    """After so many days, the batch job empties a dead letter that nobody can decode; an erasure
    empties all that are there ([operations](operations.md#operations)).
    """
    former_schema_days: _Positive | None = None
    """How many days the batch job keeps the read models of another version after the last reader:
    7, and 1 in `up` and `serve`. Until then, [a rollback needs no
    rebuild](architecture.md#fingerprints).
    """
    scheduler_region: str = "europe-west1"  # as in infra/terraform
    """The region of Cloud Scheduler, for the administrator's page, `progress schedule` and
    `progress doctor`. Terraform sets it to the environment's `region`.
    """
    cloud_scheduler_emulator_host: str | None = None
    storage_emulator_host: str | None = None
    """The addresses of emulators that replace, in tests, Cloud Scheduler (`progress schedule`) and
    Cloud Storage (`progress dump`).
    """
    progress_data_dir: str = ".progress"
    """The folder with the local stack's state. Only its owner can access its files."""
    k_service: str | None = None
    cloud_run_job: str | None = None
    cloud_run_execution: str | None = None
    cloud_run_task_index: int = 0
    cloud_run_task_count: int = 1
    cloud_run_task_attempt: int = 0
    """Set by Cloud Run, which numbers the parallel tasks of a job. Each task of the batch job takes
    its share of the learners.
    """
    task_retries: _Count = 0
    """How often Cloud Run retries a failed task of this job. The batch job logs a failed attempt as
    a warning, with the outcome `retried`, if another follows, and the last one as an error.
    """

    def is_local(self) -> bool:
        """Return whether the process belongs to a local stack.

        The environment alone does not tell: dev is deployed, too, but nobody starts it with a key.
        """
        return self.environment == "development" and bool(self.serve_key)

    @property
    def erases_by_time(self) -> bool:
        """A run may erase learners although nothing was recorded."""
        return self.erase_deleted_after_days is not None or self.retention_months is not None

    def check_retention(self, publish_events: str) -> None:
        """Raise SettingsError if erasures are announced, but nothing is published."""
        if self.retention_months is not None and publish_events == "off":
            raise SettingsError(
                "RETENTION_MONTHS: expected PUBLISH_EVENTS milestones or all, and in `serve` "
                "WEBHOOK_URL or PUBSUB_PROJECT_ID, because erasures are announced; found off"
            )

    def webhook_keys(self) -> list[bytes]:
        """Return the keys of WEBHOOK_SECRET; raise SettingsError if one is invalid or missing."""
        secrets = (self.webhook_secret or "").split()
        if not 0 < len(secrets) < 3 or not all(map(_WEBHOOK_SECRET.fullmatch, secrets)):
            raise SettingsError(
                "WEBHOOK_SECRET: expected `whsec_` and base64 of at least 24 bytes, or two such "
                "secrets with a blank between"
            )
        return [base64.b64decode(f"{secret[6:]}==") for secret in secrets]

    def check_webhook(self) -> None:
        """Raise SettingsError, which repeats no part of the URL, if nothing can be posted."""
        try:
            parts = urlsplit(self.webhook_url or "https://unset")
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            parts, host = urlsplit(""), ""
        if "@" in parts.netloc:
            raise SettingsError("WEBHOOK_URL: expected an address without a user name")
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and _is_own(host))
        if not host or not is_safe:
            raise SettingsError(
                "WEBHOOK_URL: expected a URL that begins with https://, or with http:// and "
                "localhost or a loopback address"
            )
        if self.webhook_url and (self.k_service or self.cloud_run_job):
            raise SettingsError("WEBHOOK_URL is for `progress serve` and `up`: use a subscription")
        if self.webhook_url:
            self.webhook_keys()

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
    "dump_copy_to": "gs://bucket/prefix",
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
APP_PLACEHOLDERS = ("filter", "from", "to", "list", "item", "level", "language")
_OURS = "PROGRESS_"
_LIKE_OURS = (
    *("DATABASE_", "DB_", "AUTH_", "CORS_", "RATE_LIMIT", "GRAPHQL_", "ARCHIVE_", "EXPORTS_"),
    *("ERASE_", "LEARNER", "CHANGES_", "MAX_LAG_", "PUBLISH_", "SCHEDULER_", "SERVE_", "WEBHOOK_"),
)
_WEBHOOK_SECRET = re.compile(r"whsec_([A-Za-z0-9+/]{4}){8,}([A-Za-z0-9+/]{2,3})?={0,2}")
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
    typed = sorted(known - _NOT_TYPED)
    unset = [name for name in typed if name not in environment]
    for name in environment.keys() - known - _OTHERS:
        meant = typed if name.startswith(_LIKE_OURS) else unset
        near = (s for s in meant if _is_near(name, s, 1 if len(s) < _SHORT else 2))
        if nearest := next(near, None):
            raise SettingsError(f"unknown setting {name}: did you mean {nearest}?")
        if name.startswith(_OURS):
            raise SettingsError(f"unknown setting {name}: is it misspelt?")
    texts = {n.lower(): environment[n] for n in known if environment.get(n)}
    for name, schemes in _SCHEMES.items():
        if not texts.get(name, schemes[0]).startswith(schemes):
            raise SettingsError(f"{name.upper()}: expected a URL that begins with {schemes[0]}")
    _check_placeholders(texts.get("app_url", ""))
    try:
        settings = msgspec.convert(texts, Settings, strict=False)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("$.")[2].rstrip("`")
        expected = _EXPECTED.get(name, "an integer")
        raise SettingsError(f"{name.upper()}: expected {expected}; found {texts[name]!r}") from None
    settings.check_retention(settings.publish_events)
    settings.check_webhook()
    return settings


def _is_own(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _check_placeholders(url: str) -> None:
    """Raise SettingsError if the page could not fill in the app's address, behind its host."""
    for name in re.findall(r"\{(.*?)\}", url):
        if name not in APP_PLACEHOLDERS:
            known = ", ".join(APP_PLACEHOLDERS)
            raise SettingsError(f"APP_URL: unknown placeholder {{{name}}}; known are {known}")
    if re.match(r"\w+://[^/?#]*\{", url):
        raise SettingsError("APP_URL: expected a host without placeholders")


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


def is_repeated() -> bool:
    """Return whether Cloud Run runs this task again, because an attempt has failed.

    Read no other setting: a command that needs none runs although one is invalid.
    """
    return os.environ.get("CLOUD_RUN_TASK_ATTEMPT", "") not in {"", "0"}


def fill_in(**missing: str) -> None:
    """Set the given environment variables, except those that are set already."""
    for name, value in missing.items():
        os.environ.setdefault(name, value)


def child_env(**changed: str) -> dict[str, str]:
    """Return this process's environment with some variables changed, for a child process."""
    return {**os.environ, **changed}
