"""The receipt of an erasure, as text."""

import msgspec
from rich.table import Column, Table

from progress.adapters.terminal import Console

_PLACES = {
    "events": "events emptied",
    "sessions": "sessions detached from the learner",
    "pending": "pending events deleted",
    "dead_letters": "dead letters emptied",
    "snapshots": "snapshots deleted",
    "poisoned": "marks of poisoned events deleted",
    "operations": "operations from which the learner's id was removed",
    "exports": "exported files deleted",
    "files": "archive files written again",
    "archived_events": "events removed from these files",
}
_COPIES = {
    "backups": "backups of the database",
    "pubsub": "messages in Pub/Sub",
    "pubsub_dead_letters": "dead letters of Pub/Sub",
}


class Receipt(msgspec.Struct, frozen=True):
    """The result of ERASE_USER.

    `erased` maps each place to the number of rows that were erased there. After the erasure, a
    search finds the rows that still contain the learner's id. `places` maps a place to the number
    of these rows.
    """

    digest: str
    erased_at: str
    closed_at: str
    erased: dict[str, int]
    found: int
    places: dict[str, int]
    in_events_of_others: int
    copies_until: dict[str, str]


def show(console: Console, result: str) -> None:
    """Print the receipt; `result` is its JSON."""
    receipt = msgspec.json.decode(result, type=Receipt)
    table = Table("", Column("", overflow="fold"), box=None, show_header=False)
    table.add_row("learner, as a digest", receipt.digest)
    table.add_row("events dropped since", receipt.erased_at)
    table.add_row("erased completely", receipt.closed_at)
    for place, name in _PLACES.items():
        if place in receipt.erased:
            table.add_row(name, f"{receipt.erased[place]:,}")
    left = ", ".join(f"{rows:,} in {place}" for place, rows in receipt.places.items())
    table.add_row("rows found afterwards", f"{receipt.found:,}" + (f": {left}" if left else ""))
    table.add_row("other learners' events that name the id", f"{receipt.in_events_of_others:,}")
    for copies, name in _COPIES.items():
        table.add_row(f"{name} deleted by", receipt.copies_until[copies])
    console.print(table)
