"""Run the named benchmarks, or all of them: `python -m bench [ROW …]`.

`python -m bench ab REVISION [ROW …]` compares two trees.
"""

import sys
from collections.abc import Callable, Iterator

from rich.console import Console

from bench import (
    ab,
    explain,
    first_view,
    folds,
    imports,
    ingest,
    intake,
    server,
    starts,
    texts,
    visible,
)
from bench.lines import Line
from bench.server import Server

Row = Callable[[Server], Iterator[Line]]

ROWS: dict[str, Row] = {
    "history": folds.compare_with_short,
    "ingest": ingest.measure_load,
    "import": imports.measure_import,
    "starts": starts.compare_with_empty,
    "intake": intake.compare_logs,
    "explain": explain.compare_histories,
    "texts": texts.compare_texts,
    "visible": visible.measure_visible,
    "first view": first_view.measure_first_view,
}


def main(names: list[str]) -> int:
    """Measure the named rows, or all.

    Return the exit code: 0 if all bars are met, 1 if one is missed, 2 for an unknown row.
    """
    if names[:1] == ["ab"]:
        return ab.main(names[1:])
    console = Console(markup=False, highlight=False, soft_wrap=True)
    unknown = set(names) - ROWS.keys()
    if unknown:
        console.print(f"unknown row {', '.join(unknown)}; the rows are {', '.join(ROWS)}")
        return 2
    missed: list[str] = []
    with server.run() as postgres:
        for name in names or ROWS:
            with console.status(name):
                for line in ROWS[name](postgres):
                    missed += [] if line.passes else [f"{name}: {line}"]
                    console.print(f"{name}: {line}")
    for found in missed:
        console.print(f"MISSED  {found}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
