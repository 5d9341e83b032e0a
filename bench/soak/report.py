"""A soak test's report: a table with a row per minute, and lines for the benchmarks' table."""

import statistics
from collections.abc import Sequence

from bench.lines import Line
from bench.soak.samples import INTERVAL_S, Sample

_HEADS = (
    "minute", "events", "lag, events", "lag, s", "undelivered", "dead letters", "database, MB",
    "files, MB", "queries/s", "p95, ms", "kills",
)  # fmt: skip


def minutes(samples: Sequence[Sample]) -> str:
    """Return a Markdown table with a row per minute, which shows the highest lag and latency."""
    names = list(samples[-1].memory_mb)
    heads = [*_HEADS, *(f"{name}, MB" for name in names)]
    rows = [heads, ["---:"] * len(heads)]
    by_minute: dict[int, list[Sample]] = {}
    for sample in samples:
        by_minute.setdefault(int(sample.at_s // 60), []).append(sample)
    for minute, group in by_minute.items():
        last = group[-1]
        rows.append(
            [
                str(minute + 1),
                f"{last.events:,}",
                f"{max(sample.lag for sample in group):,}",
                f"{max(sample.lag_ms for sample in group) / 1_000:.1f}",
                f"{max(sample.undelivered for sample in group):,}",
                str(last.dead_letters),
                f"{last.database_mb:,.0f}",
                f"{last.files_mb:.0f}",
                f"{sum(sample.queries for sample in group) / (len(group) * INTERVAL_S):.0f}",
                f"{max(sample.query_p95_ms for sample in group):.0f}",
                str(last.kills),
                *(f"{last.memory_mb[name]:.1f}" for name in names),
            ]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def lines(samples: Sequence[Sample], defects: Sequence[str]) -> list[Line]:
    """Return a line for the memory of each process that was not killed, and one for the defects."""
    result = [_memory_line(samples, name) for name in samples[-1].memory_mb]
    last = samples[-1].events
    what = f"soak of {samples[-1].at_s / 60:.0f} min: {last:,} events, {samples[-1].kills} kills"
    found = f"{len(defects)} defects"
    result.append(Line(what, found, "", len(defects), 0, "defects", at_most=True))
    return result


def _memory_line(samples: Sequence[Sample], name: str) -> Line:
    """Compare the median memory of the last third of the samples with that of the first third."""
    values = [sample.memory_mb[name] for sample in samples]
    third = max(1, len(values) // 3)
    first, last = statistics.median(values[:third]), statistics.median(values[-third:])
    return Line(
        f"soak: memory of {name} in the last third of the test, compared with the first third",
        f"{last:.1f} MB ({compute_slope(samples, name):+.1f} MB/h after the first third)",
        f"first third: {first:.1f} MB",
        last / first,
        1.1,
        at_most=True,
    )


def compute_slope(samples: Sequence[Sample], name: str) -> float:
    """Return the memory's growth after the first third, in MB/h, from a linear regression."""
    later = samples[len(samples) // 3 :]
    if len(later) < 2:
        return 0.0
    hours = [sample.at_s / 3_600 for sample in later]
    values = [sample.memory_mb[name] for sample in later]
    return statistics.linear_regression(hours, values).slope
