"""The cost model: a month's usage (from facts.toml) times the prices (from prices.toml)."""

import math
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent
FACTS: dict[str, Any] = tomllib.loads((_FOLDER / "facts.toml").read_text(encoding="utf-8"))
_PRICES = tomllib.loads((_FOLDER / "prices.toml").read_text(encoding="utf-8"))
SERVICES = {service: tuple(prices) for service, prices in _PRICES.items()}

DAYS = 30
HOURS = 24 * DAYS
GIB = 2**30

_MEASURED, _ASSUMED = FACTS["measured"], FACTS["assumed"]
_ACTIVE_S = _ASSUMED["active_hours"] * 3_600  # per day
_DAY_HOURS = 16  # hours a day with `min_instances`; the other eight have `night` (prod.tfvars)
_MIN_BYTES = 1_000  # the minimum that Pub/Sub bills for a request

Usage = dict[str, float]  # keyed by the name of the price


@dataclass(frozen=True)
class Price:
    """The price in US dollars of each unit beyond the monthly free units."""

    usd: float
    unit: str
    source: str
    free: float = 0


PRICES = {name: Price(**price) for group in _PRICES.values() for name, price in group.items()}


@dataclass(frozen=True)
class Item:
    """One line of the bill."""

    used: float
    price: Price

    @property
    def usd(self) -> float:
        return max(0.0, self.used - self.price.free) * self.price.usd


@dataclass(frozen=True)
class Month:
    """A month of an environment with `events` events a day. All rates are per day."""

    environment: str
    events: float
    events_per_message: int = 1
    logged: float = 1  # the share of successes whose log lines are kept
    months_kept: float = _ASSUMED["months_kept"]
    has_alerts: bool = True

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = FACTS["environment"][self.environment]
        if self.events >= FACTS["larger"]["events_a_day"]:
            return {**facts, "sql": FACTS["larger"]["sql"]}
        return facts

    @property
    def messages(self) -> float:
        return self.events / self.events_per_message

    @property
    def sessions(self) -> float:
        return self.events / float(_MEASURED["events_a_session"])

    @property
    def queries(self) -> float:
        return self.sessions * float(_ASSUMED["queries_a_session"])

    @property
    def wakeups(self) -> float:
        return self.messages * float(_ASSUMED["wakeups_a_message"])

    @property
    def stored_events(self) -> float:
        return self.events * DAYS * self.months_kept

    @property
    def archived_events(self) -> float:
        """The number of events in the archive after a year, even if the database keeps fewer."""
        return self.events * DAYS * float(_ASSUMED["months_kept"])

    @property
    def stored_gib(self) -> float:
        return float(self.stored_events * _MEASURED["stored_bytes"] / GIB)


def compute_items(month: Month) -> dict[str, Item]:
    """Return the items of a month's bill, keyed by the name of the price."""
    return {name: Item(used, PRICES[name]) for name, used in compute_usage(month).items()}


def compute_services(month: Month) -> dict[str, float]:
    """Return the monthly cost in US dollars of each service that is in use."""
    items = compute_items(month)
    return {
        service: sum(items[name].usd for name in names if name in items)
        for service, names in SERVICES.items()
        if any(name in items for name in names)
    }


def compute_usage(month: Month) -> Usage:
    """Return a month's usage, keyed by the name of the price."""
    usage: Counter[str] = Counter()  # its update() adds values, and accepts floats
    for part in (_functions, _jobs, _pubsub, _database, _monitoring, _storage, _load_balancer):
        usage.update(part(month))
    return dict(usage)


def busy_seconds(requests: float, cpu_ms: float, streams: float = 0) -> float:
    """Return a function's billed seconds per day. On average, `streams` streams are open."""
    rate = requests / _ACTIVE_S
    overlapping = 1 - math.exp(-(rate * _ASSUMED["request_seconds"] + streams))
    cores = rate * cpu_ms / 1_000 * _ASSUMED["cpu_factor"] / _ASSUMED["utilisation"]
    return float(_ACTIVE_S * max(overlapping, cores, streams / _ASSUMED["streams_an_instance"]))


def _functions(month: Month) -> Usage:
    streams = month.sessions * _ASSUMED["page_seconds_a_session"] / _ACTIVE_S
    busy = {
        "ingest": busy_seconds(month.messages, _MEASURED["ingest_cpu_ms"]),
        "project": busy_seconds(month.wakeups, _MEASURED["project_cpu_ms"]),
        "query": busy_seconds(month.queries, _MEASURED["query_cpu_ms"], streams),
    }
    usage: Usage = {"run_requests": DAYS * (month.messages + month.wakeups + month.queries)}
    for name, size in month.facts["functions"].items():
        ready = 3_600 * (size["min_instances"] * _DAY_HOURS + size["night"] * (24 - _DAY_HOURS))
        idle = max(0.0, ready - busy[name])
        for price, seconds in (("run", busy[name]), ("run_idle", idle)):
            for resource in ("cpu", "memory"):
                key = f"{price}_{resource}"
                usage[key] = usage.get(key, 0) + DAYS * seconds * size[resource]
    return usage


def _jobs(month: Month) -> Usage:
    jobs = month.facts["jobs"].values()
    seconds = _ASSUMED["job_seconds"] * DAYS
    return {
        f"job_{resource}": sum(
            seconds * job["runs_a_day"] * job["tasks"] * job[resource] for job in jobs
        )
        for resource in ("cpu", "memory")
    }


def _pubsub(month: Month) -> Usage:
    """Return the usage of Pub/Sub in GiB, keyed by the name of the price."""
    message = _MEASURED["event_bytes"] * month.events_per_message + _ASSUMED["message_bytes"]
    wakeup = 30 + _ASSUMED["message_bytes"]
    pushed = 2 * max(message, _MIN_BYTES) * month.messages + 2 * _MIN_BYTES * month.wakeups
    pulled = wakeup * month.wakeups if month.facts["batch_on_demand"] else 0
    week = 6 * (message * month.messages + wakeup * month.wakeups)  # 7 days, the first is free
    return {
        "pubsub": DAYS * (pushed + pulled) / GIB,  # published, pushed or pulled
        "pubsub_bigquery": DAYS * message * month.messages / GIB,  # written to BigQuery
        "pubsub_kept": week / GIB,  # kept for a week
    }


def _database(month: Month) -> Usage:
    facts = month.facts
    if facts["database"] == "neon":
        return {
            "neon_compute": awake_hours(month) * facts["compute_units"],
            "neon_storage": month.stored_gib * 1.0737 + 0.03,  # GB; an empty database takes 0.03
            "neon_transfer": DAYS * 4 * month.queries * _MEASURED["answer_bytes"] / 1e9,
        }
    sql = facts["sql"]
    return {
        "sql_cpu": HOURS * sql["cpu"] * sql["copies"],
        "sql_memory": HOURS * sql["memory"] * sql["copies"],
        "sql_storage": max(sql["disk"], month.stored_gib * 1.2) * sql["copies"],
        "sql_backup": month.stored_gib * 1.2,
        "redis_standard": HOURS * facts["redis_gib"],
    }


def awake_hours(month: Month) -> float:
    """Return the hours of a month during which a Neon database is awake."""
    if not month.facts["batch_on_demand"]:
        return float(HOURS)
    session = _MEASURED["session_seconds"] + _ASSUMED["awake_after_seconds"]
    by_learners = 1 - math.exp(-month.sessions * session / 86_400)
    by_backups = month.facts["jobs"]["backup"]["runs_a_day"] * 400 / 86_400
    return float(HOURS * min(1.0, by_learners + by_backups))


def _monitoring(month: Month) -> Usage:
    facts = month.facts
    line = _MEASURED["line_bytes"] + _ASSUMED["envelope_bytes"]
    requests = (month.messages + month.wakeups + month.queries) * month.logged
    entries = requests * (line + _ASSUMED["request_entry_bytes"])
    entries += facts["jobs"]["batch"]["runs_a_day"] * 4 * line
    if facts["policies"]:  # the load balancer logs 10 % of the requests
        entries += month.queries * month.logged * _ASSUMED["request_entry_bytes"] / 10
    conditions = facts["conditions"] if month.has_alerts else 0
    distributions, counters = 16, 16  # time series, each with at most one point a minute
    return {
        "logging": DAYS * entries / GIB,
        "metrics": HOURS * 60 * (80 * distributions + 8 * counters) / 2**20,
        "alert_conditions": conditions,
        "alert_points": conditions * HOURS * 60,
        "uptime": facts["checks_a_month"],
    }


def _storage(month: Month) -> Usage:
    facts = month.facts
    rows = month.stored_events * (_MEASURED["event_bytes"] + _ASSUMED["message_bytes"]) / GIB
    backups = facts["jobs"]["backup"]["runs_a_day"] * facts["backup_days"]
    models = month.stored_events * _MEASURED["model_bytes"] / GIB
    recent = min(1.0, 3 / month.months_kept)  # the share of rows modified within 90 days
    archived = archived_gib(month)
    return {
        "bigquery_active": rows * recent,
        "bigquery_long_term": rows * (1 - recent),
        "storage": backups * models * _ASSUMED["backup_ratio"] + archived["storage"],
        "storage_nearline": archived["nearline"],
        "storage_coldline": archived["coldline"],
        "images": _ASSUMED["images_gib"],
        "builds": _ASSUMED["builds"] * _ASSUMED["build_minutes"],
        "schedules": facts["schedules"],
        "secrets": facts["secrets"],
        "secret_readings": _ASSUMED["instance_starts"]
        + DAYS * facts["jobs"]["batch"]["runs_a_day"],
    }


def archived_gib(month: Month) -> dict[str, float]:
    """Return the GiB of the archive in each storage class."""
    gib = month.archived_events * _MEASURED["archive_bytes"] / GIB
    # In buckets.tf, a file becomes Nearline after one month and Coldline after three.
    recent, older = 1 / _ASSUMED["months_kept"], 3 / _ASSUMED["months_kept"]
    return {
        "storage": gib * recent,
        "nearline": gib * (older - recent),
        "coldline": gib * (1 - older),
    }


def _load_balancer(month: Month) -> Usage:
    sent = month.queries * _MEASURED["answer_bytes"] + month.sessions * _MEASURED["page_bytes"]
    egress = DAYS * sent / GIB
    if not month.facts["policies"]:
        return {"egress": egress}
    return {
        "egress": egress,
        "balancer": HOURS,
        "balanced": egress * 1.5,
        "armor_policy": month.facts["policies"],
        "armor_rules": month.facts["rules"],
        "armor_requests": DAYS * month.queries,
    }
