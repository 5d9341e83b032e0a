"""`python -m bench [NAME …]`: all rows of the table, or the named ones."""

import sys
from collections.abc import Callable, Iterator

from rich.console import Console

from bench import (
    append,
    as_of,
    batching,
    bursts,
    daily,
    expensive,
    history,
    ingest,
    latency,
    live,
    memory,
    page,
    rare,
    rare_appends,
    rebuilding,
    report,
    server,
    starts,
    streams,
)
from bench.lines import LeftOut, Line
from bench.server import Server

Row = Callable[[Server], Iterator[Line]]

ROWS: dict[str, Row] = {
    "copy": append.against_copy,
    "append": append.against_recorder,
    "rare appends": rare_appends.against_new,
    "live": live.against_runner,
    "history": history.against_short,
    "rare": rare.against_answers,
    "rebuild": rebuilding.against_live,
    "batch": batching.against_fewer,
    "ingest": ingest.under_load,
    "bursts": bursts.of_large_bodies,
    "starts": starts.against_empty,
    "memory": memory.under_load,
    "miss": daily.missed,
    "hit": daily.hit,
    "page": page.answered,
    "as of": as_of.of_a_moment,
    "expensive": expensive.of_all_documents,
    "streams": streams.told,
    "latency": latency.published_to_answered,
}


def main(names: list[str]) -> int:
    """0 when all was measured, whether the bars are met or not; 2 for a name of no row."""
    console = Console()
    unknown = set(names) - ROWS.keys()
    if unknown:
        console.print(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
        return 2
    lines: list[Line] = []
    try:
        with server.running() as postgres:
            for name in names or ROWS:
                with console.status(name):
                    for line in _measured(console, name, postgres):
                        lines.append(line)
                        console.print(f"{name}: {line.what}: {line.measured} ({line.bound})")
    finally:
        report.show(console, lines)  # what was measured, though a row broke off
    return 0


def _measured(console: Console, name: str, postgres: Server) -> Iterator[Line]:
    try:
        yield from ROWS[name](postgres)
    except LeftOut as why:
        console.print(f"{name}: left out: {why}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
