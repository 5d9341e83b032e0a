"""`python -m infra.cost` writes the tables of docs/cost.md between their markers."""

from pathlib import Path

from infra.cost import history
from infra.cost.bill import SERVICES, Month, compute_items, compute_services

DOCUMENT = Path(__file__).parents[2] / "docs" / "cost.md"

VOLUMES = {"1 k": 1_000, "100 k": 100_000, "10 M": 10_000_000}  # events a day
FREE = Month("dev", VOLUMES["1 k"], has_alerts=False)
LARGEST = Month("prod", VOLUMES["10 M"])
SAVINGS = {
    "today's setup": LARGEST,
    "ten events per message": Month("prod", LARGEST.events, events_per_message=10),
    "log lines about successes: only 1 % kept": Month("prod", LARGEST.events, logged=0.01),
    "events and read models kept for only three months": Month(
        "prod", LARGEST.events, months_kept=3
    ),
    "all three changes": Month("prod", LARGEST.events, 10, 0.01, 3),
}


def tabulate_services() -> str:
    """Return a table of each service's monthly cost in production, for three volumes of events."""
    bills = {name: compute_services(Month("prod", events)) for name, events in VOLUMES.items()}
    rows = [
        [service, *(_dollars(bill[service]) for bill in bills.values())]
        for service in SERVICES
        if service in bills["1 k"]
    ]
    total = ["**total**", *(f"**{_dollars(sum(bill.values()))}**" for bill in bills.values())]
    return _table(["US dollars a month, by events a day", *bills], [*rows, total])


def tabulate_free_profile() -> str:
    """Return a table of the free profile: the usage, free amount and cost of each priced item."""
    rows = [
        [
            f"`{name}`",
            f"{_number(item.used)} {item.price.unit}",
            _number(item.price.free) if item.price.free else "none",
            _dollars(item.usd),
        ]
        for name, item in compute_items(FREE).items()
        if item.used
    ]
    total = ["**total**", "", "", f"**{_dollars(sum(compute_services(FREE).values()))}**"]
    return _table(["priced item", "used in a month", "free", "cost"], [*rows, total])


def tabulate_savings() -> str:
    """Return a table of the cost at ten million events a day, today and after each saving."""
    columns = ("Cloud SQL", "Cloud Logging", "Cloud Run functions", "Pub/Sub")
    rows = []
    for change, month in SAVINGS.items():
        bill = compute_services(month)
        rest = sum(usd for service, usd in bill.items() if service not in columns)
        amounts = [*(bill[service] for service in columns), rest]
        rows.append([change, *map(_dollars, amounts), f"**{_dollars(sum(bill.values()))}**"])
    return _table(["10 M events a day", *columns, "rest", "total"], rows)


def tabulate_history() -> str:
    """Return a table of what a year's history costs: the archive, rebuilds and an analysis."""
    months = {name: Month("prod", events) for name, events in VOLUMES.items()}
    rebuilds = {name: history.compute_rebuild(month) for name, month in months.items()}
    rows = {
        "events in the archive": [f"{month.archived_events:,.0f}" for month in months.values()],
        "storage of the archive, US dollars a month": [
            _dollars(history.price_storage(m)) for m in months.values()
        ],
        "rebuild by eight tasks: duration": [_duration(r.task_seconds) for r in rebuilds.values()],
        "rebuild by eight tasks: US dollars": [_dollars(r.task_usd) for r in rebuilds.values()],
        "rebuild by Dataflow: duration": [_duration(r.dataflow_seconds) for r in rebuilds.values()],
        "rebuild by Dataflow: US dollars": [_dollars(r.dataflow_usd) for r in rebuilds.values()],
        "rebuild from the archive: CPU time of the database": [
            _duration(r.load_seconds) for r in rebuilds.values()
        ],
        "rebuild from the log: CPU time of the database": [
            _duration(r.place_seconds) for r in rebuilds.values()
        ],
        "analysis in BigQuery: US dollars (minimum)": [
            _dollars(history.price_analysis(m)) for m in months.values()
        ],
    }
    return _table(
        ["after a year, by events a day", *months], [[what, *cells] for what, cells in rows.items()]
    )


TABLES = {
    "by service": tabulate_services,
    "free profile": tabulate_free_profile,
    "savings": tabulate_savings,
    "history": tabulate_history,
}


def update(document: str) -> str:
    """Return the document with its tables recomputed."""
    for name, tabulate in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        if document.count(begin) != 1 or document.count(end) != 1:
            raise SystemExit(f"docs/cost.md must have the markers of the table `{name}` once each")
        before, rest = document.split(begin)
        document = before + begin + tabulate() + end + rest.split(end)[1]
    return document


def _dollars(usd: float) -> str:
    return f"{usd:.2f}" if usd < 9.995 else f"{usd:,.0f}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    DOCUMENT.write_text(update(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
