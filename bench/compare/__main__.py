"""Compare Progress with other event stores: `python -m bench.compare`.

Print the chart and the table, and write them to `.progress/compare` as `chart.svg` and `table.md`.
"""

import sys

from rich.console import Console

from bench import server
from bench.compare import report, rows
from bench.compare.rows import LIBRARY, Sizes


def main(sizes: Sizes) -> int:
    """Compare all systems; return 1 if a ratio to `eventsourcing` misses its bar, else 0."""
    console = Console(markup=False, highlight=False)
    systems = rows.find_systems(console.print)
    with server.run() as postgres, console.status("comparing"):
        compared = list(rows.compare_all(postgres, systems, sizes))
    report.write(console, compared, list(systems))
    missed = [one for one in compared if one.ratio(LIBRARY) < one.bar]
    for one in missed:
        console.print(f"MISSED  {one.what}: {one.ratio(LIBRARY):.2f} × (≥ {one.bar:.2f} ×)")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(Sizes()))
