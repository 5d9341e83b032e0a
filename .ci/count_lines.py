#!/usr/bin/env python3
"""Print the non-blank lines of the tracked files, and their characters, by class and folder.

    .ci/count_lines.py [REVISION]

The blanks at both ends of a line do not count. Exit with 1 if more lines or characters are written
by hand than the file `ceiling` beside this script allows.
"""

import subprocess
import sys
from collections import Counter, defaultdict
from fnmatch import fnmatch
from itertools import groupby
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
    grep = ["git", "grep", "-Iz", "--no-line-number", "[^[:space:]]", *revision]
    found = subprocess.run(grep, stdout=subprocess.PIPE, check=True).stdout.decode(errors="replace")
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for name, some in groupby(found.split("\n")[:-1], lambda line: line.split("\0")[0]):
        path = name.removeprefix(f"{''.join(revision)}:")
        texts = [line.split("\0", 1)[1].strip() for line in some]
        count = {"lines": len(texts), "characters": sum(map(len, texts))}
        counts[classify(path), path.split("/")[0] if "/" in path else "."].update(count)
        counts[classify(path), "in all"].update(count)
    for kind, folder in sorted(counts, key=lambda place: (place[1] == "in all", place)):
        lines, characters = counts[kind, folder].values()
        print(f"{kind:<10}{folder:<12}{lines:>8,}{characters:>12,}")
    if not revision:
        check(counts[BY_HAND, "in all"])


def check(counts: Counter[str]) -> None:
    """Exit with 1 if one of the counts is above its line in the file `ceiling`."""
    ceilings = Path(__file__).with_name("ceiling").read_text(encoding="utf-8")
    for what, ceiling in (line.split() for line in ceilings.splitlines()):
        if counts[what] > int(ceiling):
            allowed = f"and .ci/ceiling allows {int(ceiling):,}"
            sys.exit(f"{counts[what]:,} {what} are by hand, {allowed}.")


def classify(path: str) -> str:
    matching = (
        kind for kind, patterns in CLASSES if any(fnmatch(path, one) for one in patterns.split())
    )
    return next(matching, BY_HAND)


if __name__ == "__main__":
    main(*sys.argv[1:])
