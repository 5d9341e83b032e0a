#!/usr/bin/env python3
"""Print the non-blank lines of the tracked files by class and folder.

    .ci/count_lines.py [REVISION]

Exit with 1 if more lines are written by hand than the file `ceiling` beside this script allows.
"""

import subprocess
import sys
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

# The first pattern that matches a path gives the file's class; all other files are by hand.
CLASSES = (
    # Data folders, pictures, golden answers, dumps and vectors.
    ("data", "data/* *.csv *.gz *.jsonl *.png *.svg"),
    ("data", "tests/demo/answers/* tests/projections/views.json tests/*/released/* sql/earlier/*"),
    ("data", "clients/vectors.json"),
    # Files that a command writes and the gate compares, and locks.
    ("generated", "schemas/* docs/events.md tests/query/api_additions.graphql"),
    ("generated", "infra/docker/grafana/dashboards/* docs/accessibility.md docs/openacr.yaml"),
    ("generated", "*requirements.txt requirements-dev.txt *package-lock.json *.lock.hcl"),
    # Files of others, unchanged.
    ("vendored", "LICENSE tests/query/api.graphql tests/event_store/asyncapi/*"),
    ("vendored", "progress/query/graphiql/*.min.* progress/query/graphiql/LICENSE.*"),
)
BY_HAND = "by hand"


def main(*revision: str) -> None:
    grep = ["git", "grep", "--count", "-Iz", "[^[:space:]]", *revision]
    lines = subprocess.run(grep, stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()
    counts: Counter[tuple[str, str]] = Counter()
    for line in lines:
        path, count = line.removeprefix(f"{''.join(revision)}:").split("\0")
        counts[classify(path), path.split("/")[0] if "/" in path else "."] += int(count)
    totals: Counter[str] = Counter()
    for (kind, folder), number in sorted(counts.items()):
        print(f"{kind:<10}{folder:<12}{number:>8,}")
        totals[kind] += number
    for kind, number in totals.items():
        print(f"{kind:<10}{'in all':<12}{number:>8,}")
    ceiling = int(Path(__file__).with_name("ceiling").read_text(encoding="utf-8"))
    if not revision and totals[BY_HAND] > ceiling:
        sys.exit(f"{totals[BY_HAND]:,} lines are by hand, and .ci/ceiling allows {ceiling:,}.")


def classify(path: str) -> str:
    matching = (
        kind for kind, patterns in CLASSES if any(fnmatch(path, one) for one in patterns.split())
    )
    return next(matching, BY_HAND)


if __name__ == "__main__":
    main(*sys.argv[1:])
