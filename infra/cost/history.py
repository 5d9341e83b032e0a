"""The cost of the whole history: storage of the archive, rebuilds and analyses."""

from dataclasses import dataclass

from infra.cost.bill import FACTS, GIB, PRICES, Month, archived_gib

_MEASURED, _ASSUMED, _MACHINES = FACTS["measured"], FACTS["assumed"], FACTS["rebuild"]
_HOUR_S = 3_600


@dataclass(frozen=True)
class Rebuild:
    """The cost of rebuilds: CPU seconds of the database, durations, and US dollars.

    `load_seconds` is the database's CPU time in a rebuild from the archive, `place_seconds` in a
    rebuild from the log. `task_seconds` and `dataflow_seconds` are durations. Google's free tier is
    not subtracted from the dollars, because the monthly bill already subtracts it.
    """

    load_seconds: float
    place_seconds: float
    task_seconds: float
    task_usd: float
    dataflow_seconds: float
    dataflow_usd: float


def compute_rebuild(month: Month) -> Rebuild:
    """Return the cost of a rebuild from the archive, and of a rebuild from the log.

    A duration is the time to fold all buckets plus the time to load them, without any overlap.
    """
    load_seconds = _cpu_seconds(month, "load_cpu_us")
    loading = load_seconds / month.facts["sql"]["cpu"]
    tasks, workers = _MACHINES["tasks"], _MACHINES["dataflow"]
    task_seconds = max(_ASSUMED["job_seconds"], _fold_seconds(month, tasks) + loading)
    dataflow_seconds = _ASSUMED["dataflow_start_seconds"] + _fold_seconds(month, workers) + loading
    reading = _price_reading(month)
    return Rebuild(
        load_seconds=load_seconds,
        place_seconds=_cpu_seconds(month, "place_cpu_us"),
        task_seconds=task_seconds,
        task_usd=reading
        + task_seconds
        * tasks["count"]
        * sum(tasks[part] * PRICES[f"job_{part}"].usd for part in ("cpu", "memory")),
        dataflow_seconds=dataflow_seconds,
        dataflow_usd=reading
        + dataflow_seconds
        / _HOUR_S
        * workers["count"]
        * sum(workers[part] * PRICES[f"dataflow_{part}"].usd for part in ("cpu", "memory", "disk")),
    )


def price_storage(month: Month) -> float:
    """Return the monthly cost of storing the archive, in dollars."""
    names = {"storage": "storage", "nearline": "storage_nearline", "coldline": "storage_coldline"}
    gib = archived_gib(month)
    return sum(gib[name] * PRICES[price].usd for name, price in names.items())


def price_analysis(month: Month) -> float:
    """Return the dollars that it costs to read the archive once in BigQuery.

    An analysis costs at least this amount. It costs more if its view reads the archive more than
    once, as several views do. The free TiB is not subtracted.
    """
    read = month.archived_events * _MEASURED["event_bytes"] / GIB  # uncompressed
    return float(read * PRICES["bigquery_read"].usd + _price_reading(month))


def _price_reading(month: Month) -> float:
    gib = archived_gib(month)
    return sum(gib[name] * PRICES[f"retrieval_{name}"].usd for name in ("nearline", "coldline"))


def _fold_seconds(month: Month, machines: dict[str, float]) -> float:
    return _cpu_seconds(month, "fold_cpu_us") / (machines["count"] * machines["cpu"])


def _cpu_seconds(month: Month, fact: str) -> float:
    return float(month.archived_events * _MEASURED[fact] / 1e6 * _ASSUMED["cpu_factor"])
