"""Compare Progress with other event stores: `python -m bench.compare`.

Print the chart and the table, and write them to `.progress/compare` as `chart.svg` and `table.md`.
"""

import sys

from rich.console import Console

from bench import server
from bench.compare import report, rows
from bench.compare.rows import Sizes


def main(sizes: Sizes) -> int:
    """Compare all systems; return the exit code 0."""
    console = Console(markup=False, highlight=False)
    systems = rows.find_systems(console.print)
    with server.run() as postgres, console.status("comparing"):
        compared = list(rows.compare_all(postgres, systems, sizes))
    report.write(console, compared, list(systems))
    return 0


if __name__ == "__main__":
    sys.exit(main(Sizes()))
