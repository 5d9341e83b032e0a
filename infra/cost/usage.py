"""How much of each thing that has a price a month takes: pure arithmetic over facts.toml."""

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FACTS: dict[str, Any] = tomllib.loads((HERE / "facts.toml").read_text(encoding="utf-8"))

DAYS = 30
HOURS = 24 * DAYS
GIB = 2**30

_MEASURED, _ASSUMED = FACTS["measured"], FACTS["assumed"]
_ACTIVE = _ASSUMED["active_hours"] * 3_600  # seconds of a day
_DAY_HOURS = 16  # in which the larger minimum is kept; infra/terraform/environments/prod.tfvars
_LEAST_BYTES = 1_000  # that Pub/Sub counts of a request

Usage = dict[str, float]  # by price


@dataclass(frozen=True)
class Month:
    """So many events a day in an environment."""

    name: str
    events: float  # a day
    events_a_message: int = 1
    logged: float = 1  # the share of what is told of successes that no filter leaves out
    months_kept: float = _ASSUMED["months_kept"]
    is_watched: bool = True  # by the environment's alerts

    @property
    def messages(self) -> float:
        """A day."""
        return self.events / self.events_a_message

    @property
    def environment(self) -> dict[str, Any]:
        here: dict[str, Any] = FACTS["environment"][self.name]
        if self.events >= FACTS["larger"]["events_a_day"]:
            return {**here, "sql": FACTS["larger"]["sql"]}
        return here

    @property
    def sessions(self) -> float:
        """A day."""
        return self.events / float(_MEASURED["events_a_session"])

    @property
    def questions(self) -> float:
        """A day."""
        return self.sessions * float(_ASSUMED["questions_a_session"])

    @property
    def wakes(self) -> float:
        """A day."""
        return self.messages * float(_ASSUMED["wakes_a_message"])

    @property
    def stored_gib(self) -> float:
        """Of events, in the month that is paid."""
        return float(self.held * _MEASURED["stored_bytes"] / GIB)

    @property
    def held(self) -> float:
        """Events in the database, in the month that is paid."""
        return self.events * DAYS * self.months_kept


def usage(month: Month) -> Usage:
    """Of everything, by the price's name."""
    used: Usage = {}
    for part in (_functions, _jobs, _messages, _database, _observed, _kept, _edge):
        for name, amount in part(month).items():
            used[name] = used.get(name, 0) + amount
    return used


def instance_seconds(requests: float, cpu_ms: float, streams: float = 0) -> float:
    """A day, in which an instance has something to do: streams are how many are open at a time."""
    rate = requests / _ACTIVE
    busy = 1 - math.exp(-(rate * _ASSUMED["request_seconds"] + streams))
    core = rate * cpu_ms / 1_000 * _ASSUMED["cpu_factor"] / _ASSUMED["utilisation"]
    return float(_ACTIVE * max(busy, core, streams / _ASSUMED["streams_an_instance"]))


def _functions(month: Month) -> Usage:
    streams = month.sessions * _ASSUMED["page_seconds_a_session"] / _ACTIVE
    busy = {
        "ingest": instance_seconds(month.messages, _MEASURED["ingest_cpu_ms"]),
        "project": instance_seconds(month.wakes, _MEASURED["project_cpu_ms"]),
        "query": instance_seconds(month.questions, _MEASURED["query_cpu_ms"], streams),
    }
    used: Usage = {"run_requests": DAYS * (month.messages + month.wakes + month.questions)}
    for name, size in month.environment["functions"].items():
        ready = 3_600 * (size["min_instances"] * _DAY_HOURS + size["night"] * (24 - _DAY_HOURS))
        idle = max(0.0, ready - busy[name])
        for price, seconds in (("run", busy[name]), ("run_idle", idle)):
            for what in ("cpu", "memory"):
                key = f"{price}_{what}"
                used[key] = used.get(key, 0) + DAYS * seconds * size[what]
    return used


def _jobs(month: Month) -> Usage:
    jobs = month.environment["jobs"].values()
    seconds = _ASSUMED["job_seconds"] * DAYS
    return {
        f"job_{what}": sum(seconds * j["runs_a_day"] * j["tasks"] * j[what] for j in jobs)
        for what in ("cpu", "memory")
    }


def _messages(month: Month) -> Usage:
    """Each message is published, pushed and written to BigQuery; its wake-up published, pushed."""
    message = _MEASURED["event_bytes"] * month.events_a_message + _ASSUMED["message_bytes"]
    wake = 30 + _ASSUMED["message_bytes"]
    twice = 2 * max(message, _LEAST_BYTES) * month.messages + 2 * _LEAST_BYTES * month.wakes
    pulled = wake * month.wakes if month.environment["batch_on_demand"] else 0
    week = 6 * (message * month.messages + wake * month.wakes)  # a day of it is free
    return {
        "pubsub": DAYS * (twice + pulled) / GIB,
        "pubsub_bigquery": DAYS * message * month.messages / GIB,
        "pubsub_kept": week / GIB,
    }


def _database(month: Month) -> Usage:
    here = month.environment
    if here["database"] == "neon":
        return _neon(month)
    sql = here["sql"]
    disk = max(sql["disk"], month.stored_gib * 1.2)
    return {
        "sql_cpu": HOURS * sql["cpu"] * sql["copies"],
        "sql_memory": HOURS * sql["memory"] * sql["copies"],
        "sql_storage": disk * sql["copies"],
        "sql_backup": month.stored_gib * 1.2,
        "redis_standard": HOURS * here["redis_gib"],
    }


def awake_hours(month: Month) -> float:
    """Of a month, in which a database that sleeps does not."""
    each = _MEASURED["session_seconds"] + _ASSUMED["wake_seconds"]
    by_learners = 1 - math.exp(-month.sessions * each / 86_400)
    by_the_clock = month.environment["jobs"]["backup"]["runs_a_day"] * 400 / 86_400
    if not month.environment["batch_on_demand"]:
        return float(HOURS)
    return float(HOURS * min(1.0, by_learners + by_the_clock))


def _neon(month: Month) -> Usage:
    answers = month.questions * _MEASURED["answer_bytes"]
    return {
        "neon_compute": awake_hours(month) * month.environment["compute_units"],
        "neon_storage": month.stored_gib * 1.0737 + 0.03,  # GB; what is there without events
        "neon_transfer": DAYS * 4 * answers / 1e9,
    }


def _observed(month: Month) -> Usage:
    line = _MEASURED["line_bytes"] + _ASSUMED["envelope_bytes"]
    requests = (month.messages + month.wakes + month.questions) * month.logged
    runs = month.environment["jobs"]["batch"]["runs_a_day"]
    entries = requests * (line + _ASSUMED["request_entry_bytes"]) + runs * 4 * line
    if month.environment["policies"]:  # the load balancer's, of one request in ten
        entries += month.questions * month.logged * _ASSUMED["request_entry_bytes"] / 10
    conditions = month.environment["conditions"] if month.is_watched else 0
    return {
        "logging": DAYS * entries / GIB,
        "metrics": _points(HOURS * 60) / 2**20,
        "alert_conditions": conditions,
        "alert_points": conditions * HOURS * 60,
        "uptime": month.environment["checks_a_month"],
    }


def _points(minutes: float) -> float:
    """Bytes of the log-based metrics, if each series had a point each minute."""
    distributions, counts = 14, 16
    return minutes * (80 * distributions + 8 * counts)


def _kept(month: Month) -> Usage:
    here = month.environment
    rows = month.held * (_MEASURED["event_bytes"] + _ASSUMED["message_bytes"]) / GIB
    copies = here["jobs"]["backup"]["runs_a_day"] * here["backup_days"]
    models = month.held * _MEASURED["model_bytes"] / GIB
    recent = min(1.0, 3 / month.months_kept)  # touched within 90 days
    starts = _ASSUMED["instance_starts"] + DAYS * here["jobs"]["batch"]["runs_a_day"]
    return {
        "bigquery_active": rows * recent,
        "bigquery_long_term": rows * (1 - recent),
        "storage": copies * models * _ASSUMED["backup_ratio"],
        "images": _ASSUMED["images_gib"],
        "builds": _ASSUMED["builds"] * _ASSUMED["build_minutes"],
        "schedules": here["schedules"],
        "secrets": here["secrets"],
        "secret_readings": starts,
    }


def _edge(month: Month) -> Usage:
    out = month.questions * _MEASURED["answer_bytes"] + month.sessions * _MEASURED["page_bytes"]
    used = {"egress": DAYS * out / GIB}
    if month.environment["policies"]:
        used |= {
            "balancer": HOURS,
            "balanced": used["egress"] * 1.5,
            "armor_policy": month.environment["policies"],
            "armor_rules": month.environment["rules"],
            "armor_requests": DAYS * month.questions,
        }
    return used
