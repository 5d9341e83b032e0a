"""The bill: how much of each thing is beyond what is free, times its price."""

import tomllib
from dataclasses import dataclass

from infra.cost.usage import HERE, Month, usage


@dataclass(frozen=True)
class Price:
    """Of one unit, in US dollars, beyond what is free each month."""

    usd: float
    unit: str
    source: str
    free: float = 0


@dataclass(frozen=True)
class Item:
    """One line of the bill."""

    name: str
    used: float
    price: Price

    @property
    def usd(self) -> float:
        return max(0.0, self.used - self.price.free) * self.price.usd


PRICES = {
    name: Price(**told)
    for name, told in tomllib.loads((HERE / "prices.toml").read_text(encoding="utf-8")).items()
}

# In the order of an event's way.
SERVICES = {
    "Cloud Run functions": (
        "run_cpu", "run_memory", "run_requests", "run_idle_cpu", "run_idle_memory",
    ),
    "Cloud Run jobs": ("job_cpu", "job_memory"),
    "Pub/Sub": ("pubsub", "pubsub_bigquery", "pubsub_kept"),
    "Cloud SQL": ("sql_cpu", "sql_memory", "sql_storage", "sql_backup"),
    "Neon": ("neon_compute", "neon_storage", "neon_transfer"),
    "Memorystore": ("redis_standard",),
    "Cloud Logging": ("logging",),
    "Cloud Monitoring": ("metrics", "alert_conditions", "alert_points", "uptime"),
    "BigQuery": ("bigquery_active", "bigquery_long_term"),
    "Cloud Storage": ("storage",),
    "Artifact Registry, Cloud Build": ("images", "builds"),
    "Cloud Scheduler, Secret Manager": ("schedules", "secrets", "secret_readings"),
    "Load balancer, Cloud Armor": (
        "balancer", "balanced", "armor_policy", "armor_rules", "armor_requests",
    ),
    "Traffic to the internet": ("egress",),
}  # fmt: skip


def items(month: Month) -> dict[str, Item]:
    """The lines of a month's bill, by the price's name."""
    return {name: Item(name, used, PRICES[name]) for name, used in usage(month).items()}


def services(month: Month) -> dict[str, float]:
    """What each service costs in the month, in US dollars; those that are not used are left out."""
    lines = items(month)
    return {
        service: sum(lines[name].usd for name in names if name in lines)
        for service, names in SERVICES.items()
        if any(name in lines for name in names)
    }
