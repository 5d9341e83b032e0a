"""Plant faults that are drawn in the SQL of the folds, and note in a CSV file what detects each.

    python -m tests.mutants.drawn_faults FILE FIRST LAST     plant those that the file lacks

A fault follows from the seed, its index and the SQL. What PostgreSQL rejects as SQL is drawn again.
The file gives the line of the first delivery in mutants.jsonl after which the rows differ from the
oracle's or the definitions', `invariant` if only test_invariant.py fails, and otherwise nothing.
"""

import contextlib
import csv
import itertools
import os
import random
import re
import signal
import sys
from collections.abc import Iterator
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest

from progress import files
from progress.adapters.postgres import database, statements
from progress.errors import ProgressError
from progress.projections import definitions, schema
from progress.recovery import checks
from tests.mutants import broken_folds
from tests.support import postgres_servers
from tests.support.stage import Stage

SEED = 82
_COLUMN = r"[a-z_]+(?:\.[a-z_]+)?"
_CONDITION = r"(?:[^\n()]|\((?:[^\n()]|\([^\n()]*\))*\))+?"


def _swap(pairs: str) -> dict[str, str]:
    words = [two for pair in pairs.split(", ") for two in itertools.permutations(pair.split("|"))]
    return {rf"(?<=[ (]){re.escape(word)}(?=[ (\n])": by for word, by in words}


_KINDS = {
    "operator": _swap("=|<>, <|>, *|/, AND|OR, min|max, least|greatest, UNION|UNION ALL"),
    "sign": {**_swap("+|-"), r"(?<=[ (\[])-(?=[\da-z(])": ""},
    "bound": {**_swap("<|<=, >|>="), r"(?<=[ (\[])(\d+)(?=[ )\],\n])": r"(\1 + 1)"},
    "condition": {
        **_swap("IS NULL|IS NOT NULL, EXISTS|NOT EXISTS"),
        rf" AND {_CONDITION}(?= AND | OR | THEN |\n|\))": "",
        rf"(?<=\bWHERE ){_CONDITION}(?= AND | OR |\n|\))": "true",
        rf"(?<=\bWHEN ){_CONDITION}(?= THEN)": "false",
        rf"\bcoalesce\(({_COLUMN}), [^()\n]+\)": r"\1",
    },
    "columns": {rf"(?<!USING \()\b({_COLUMN})(, | (?:<=?|>=?|-) )({_COLUMN})\b(?!\()": r"\3\2\1"},
}
# The order of the names in these lines changes no row.
_NAMES = re.compile(r"--|GROUP BY|ON CONFLICT|PRIMARY KEY|INSERT INTO|CREATE|RETURNS|DECLARE|SET ")


def find_lines() -> list[tuple[str, int]]:
    """Return the lines, as files and numbers, of the blocks that folds and definitions run."""
    models = [f"read_models/{model.name}" for model in (*schema.REALTIME, *schema.BATCH)]
    models.remove("read_models/snapshots")  # copies of rows
    texts = [*schema._definitions(), *definitions.event_statements("postgresql")]
    run = "\n".join([*texts, *definitions.fold_statements("postgresql").values()])
    lines = []
    for file in (*models, "projections/definitions", "projections/fold", "projections/batch"):
        for block, text in statements.parse(file).items():
            is_table = block == "window" or (block == "table" and "facts" not in file)
            if not is_table and all(part in run for part in re.split(r"\n|\{[^}\n]+\}", text.text)):
                lines += [(file, text.line + n) for n in range(text.text.count("\n") + 1)]
    return lines


def draw(index: int) -> Iterator[tuple[str, broken_folds.Mutant]]:
    """Yield the fault with its place, then those that are drawn if the ones before are no SQL."""
    drawn, found = random.Random(f"{SEED} {index}"), find_lines()
    while True:
        (file, number), kind = drawn.choice(found), drawn.choice([*_KINDS])
        source = (files.SQL / f"{file}.sql").read_text(encoding="utf-8")
        lines = source.splitlines(keepends=True)
        code, *comment = re.split(r"(?=\s+-- )", lines[number - 1], maxsplit=1)
        places = [(m, by) for text, by in _KINDS[kind].items() for m in re.finditer(text, code)]
        if places and not _NAMES.match(code.strip()):
            match, by = drawn.choice(places)
            broken = code[: match.start()] + match.expand(by) + code[match.end() :]
            if broken == code:  # two columns of one name
                continue
            lines[number - 1] = "".join((broken, *comment))
            name = f"{kind}: {code.strip()} -> {broken.strip()}"
            yield f"{file}:{number}", broken_folds.Mutant(name, file, source, "".join(lines))


def is_detected(stage: Stage, delivery: broken_folds.Delivery) -> bool:
    """Return whether the delivery detects the fault; raise LookupError if it is no SQL."""
    stage.sweep()
    try:
        stage.deliver(delivery.log, delivery.how)
        return bool(stage.differences(delivery.log.now) or checks.find_differences(stage.admin))
    except (ProgressError, *database.ERRORS) as error:
        if database.read_failure(error.__cause__ or error).sqlstate.startswith("42"):
            raise LookupError(str(error)) from error
        return True


def find_detector(url: str, mutant: broken_folds.Mutant) -> int | str:
    """Return the line of the delivery that detects the fault, `invariant`, or nothing."""
    with broken_folds.stage_with(url, mutant) as stage:
        for number, delivery in enumerate(broken_folds.load_deliveries(), start=1):
            signal.alarm(120)  # seconds, after which the signal ends the process
            if is_detected(stage, delivery):
                return number
        signal.alarm(0)
    options = ["-xq", "--tb=no", "-Wignore::pytest.PytestAssertRewriteWarning", "-k", "embedded"]
    with broken_folds.broken_sql(mutant):
        return "invariant" if pytest.main([*options, "tests/projections/test_invariant.py"]) else ""


def plant(index: int, url: str, record: Path) -> None:
    for place, mutant in draw(index):
        with contextlib.suppress(LookupError, *database.ERRORS):  # it is no SQL
            note(record, index, place, mutant.name, find_detector(url, mutant))
            break


def note(record: Path, *row: object) -> None:
    with record.open("a", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(row)


def main(record: Path, first: int, last: int) -> None:
    record.touch()
    planted = {int(row.split(",")[0]) for row in record.read_text(encoding="utf-8").splitlines()}
    with postgres_servers.start(None) as os.environ["TEST_DATABASE_URL"]:
        server = postgres_servers.Server(os.environ["TEST_DATABASE_URL"])
        for index in sorted({*range(first, last + 1)} - planted):
            with server.open_database() as url:
                process = ForkProcess(target=plant, args=(index, url, record))
                process.start()
                process.join()
            if process.exitcode:
                note(record, index, "", "", f"the process ended with {process.exitcode}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
