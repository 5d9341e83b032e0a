"""The tables of docs/cost.md, as Markdown."""

from infra.cost.bill import PRICES, SERVICES, items, services
from infra.cost.usage import FACTS, Month, awake_hours

VOLUMES = {"1 k": 1_000, "100 k": 100_000, "10 M": 10_000_000}
FREE = Month("dev", VOLUMES["1 k"], is_watched=False)
LARGEST = Month("prod", VOLUMES["10 M"])
LEVERS = {
    "as it is": LARGEST,
    "ten events in a message": Month("prod", LARGEST.events, events_a_message=10),
    "1 % of what is told of successes is kept": Month("prod", LARGEST.events, logged=0.01),
    "events and their read models kept for three months": Month(
        "prod", LARGEST.events, months_kept=3
    ),
    "all three": Month("prod", LARGEST.events, 10, 0.01, 3),
}


def production() -> dict[str, dict[str, float]]:
    """What each service costs in production, by volume."""
    return {told: services(Month("prod", events)) for told, events in VOLUMES.items()}


def by_service() -> str:
    """Production at the three volumes."""
    bills = production()
    rows = [
        [service, *(dollars(bill[service]) for bill in bills.values())]
        for service in SERVICES
        if service in bills["1 k"]
    ]
    total = ["**all**", *(f"**{dollars(sum(bill.values()))}**" for bill in bills.values())]
    return _table(["US dollars a month, events a day", *bills], [*rows, total])


def nothing() -> str:
    """The free profile, meter by meter."""
    rows = [
        [
            f"`{name}`",
            f"{number(item.used)} {item.price.unit}",
            number(item.price.free) if item.price.free else "none",
            dollars(item.usd),
        ]
        for name, item in items(FREE).items()
        if item.used
    ]
    total = ["**all**", "", "", f"**{dollars(sum(services(FREE).values()))}**"]
    return _table(["meter", "a month takes", "free", "costs"], [*rows, total])


def levers() -> str:
    """What changes the bill at ten million events a day."""
    rows = []
    for told, month in LEVERS.items():
        bill = services(month)
        named = ("Cloud SQL", "Cloud Logging", "Cloud Run functions", "Pub/Sub")
        rest = sum(usd for service, usd in bill.items() if service not in named)
        rows.append(
            [told, *(dollars(bill[each]) for each in named), dollars(rest),
             f"**{dollars(sum(bill.values()))}**"]
        )  # fmt: skip
    head = ["10 M events a day", "Cloud SQL", "Logging", "functions", "Pub/Sub", "rest", "all"]
    return _table(head, rows)


def prices() -> str:
    """Each price and where it was read."""
    rows = [
        [
            f"`{name}`",
            f"{each.usd:.10f}".rstrip("0").rstrip("."),
            each.unit,
            number(each.free) if each.free else "none",
            each.source,
        ]
        for name, each in PRICES.items()
    ]
    return _table(["price", "US dollars", "for one of", "free a month", "read where"], rows)


def facts() -> str:
    """What was measured, and what was assumed."""
    rows = [
        [f"`{name}`", number(value), kind]
        for kind in ("measured", "assumed")
        for name, value in FACTS[kind].items()
    ]
    return _table(["fact", "", "is"], rows)


def sleeping() -> str:
    """How long a sleeping database is kept awake, and by how many events a day it stays free."""
    rows = [
        [number(events), number(round(awake_hours(month))), number(round(month_units(month)))]
        for events in (300, 1_000, 3_000, 10_000, 30_000)
        for month in [Month("dev", events)]
    ]
    return _table(["events a day", "hours awake a month, of 720", "CU-h of 100 free"], rows)


def month_units(month: Month) -> float:
    """Compute-unit hours."""
    return awake_hours(month) * float(month.environment["compute_units"])


TABLES = {
    "by service": by_service,
    "nothing": nothing,
    "sleeping": sleeping,
    "levers": levers,
    "prices": prices,
    "facts": facts,
}


def dollars(usd: float) -> str:
    """To the cent below ten, to the dollar above."""
    return f"{usd:.2f}" if usd < 9.995 else f"{usd:,.0f}"


def number(value: float) -> str:
    """Three digits that say something, or the whole number."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    ruled = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in ruled)
