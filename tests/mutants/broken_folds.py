"""The folds broken on purpose, and deliveries that show it.

`python -m tests.mutants.broken_folds URL` looks for a delivery for each mutant that has none yet,
in an empty database at the URL, and adds it to mutants.jsonl.
"""

import json
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from progress.adapters.postgres import database, migrations, statements
from progress.errors import ProgressError
from progress.event_store import time_zones
from progress.projections import schema as read_model_schema
from tests.support.event_logs import ZONES, Disturbance, Log, Published, logs
from tests.support.stage import Stage

HERE = Path(__file__).parent
DELIVERIES = HERE / "mutants.jsonl"


@dataclass
class Delivery:
    """A delivery, and the names of the mutants that it shows."""

    mutants: list[str]
    log: Log
    how: Disturbance


@dataclass(frozen=True)
class Mutant:
    """Another `text` in sql/{file}.sql."""

    name: str
    file: str
    text: str
    by: str


def load_mutants() -> list[Mutant]:
    """All of mutants.toml."""
    found = tomllib.loads((HERE / "mutants.toml").read_text(encoding="utf-8"))
    return [Mutant(**values) for values in found["mutant"]]


def load_deliveries() -> list[Delivery]:
    """All of mutants.jsonl."""
    lines = DELIVERIES.read_text(encoding="utf-8").splitlines() if DELIVERIES.exists() else []
    return [_shown(json.loads(line)) for line in lines]


def _shown(line: dict[str, Any]) -> Delivery:
    published = tuple(Published(envelope, tuple(turns)) for envelope, turns in line["log"])
    how: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in line["how"].items()
    }
    log = Log(published, datetime.fromisoformat(line["now"]))
    return Delivery(line["mutants"], log, Disturbance(**how))


def _line(each: Delivery) -> str:
    line = {
        "mutants": each.mutants,
        "now": each.log.now.isoformat(),
        "how": asdict(each.how),
        "log": [(p.envelope, p.turns) for p in each.log.published],
    }
    return json.dumps(line, separators=(",", ":")) + "\n"


@contextmanager
def stage_with(url: str, mutant: Mutant) -> Iterator[Stage]:
    """A stage whose read models are the mutant's; LookupError if its text is not found."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        copy = Path(folder) / "sql"
        shutil.copytree(statements.SQL, copy)
        path = copy / f"{mutant.file}.sql"
        before = path.read_text(encoding="utf-8")
        if mutant.text not in before:
            raise LookupError(f"{mutant.name}: its text is not in {mutant.file}.sql")
        path.write_text(before.replace(mutant.text, mutant.by), encoding="utf-8")
        patch.setattr(statements, "SQL", copy)
        patch.setattr(time_zones, "names", lambda: frozenset(ZONES))  # all of them take a second
        _forget()
        try:
            with _staged(url) as stage:
                yield stage
        finally:
            _forget()


def _forget() -> None:
    """Nothing is kept of other folds."""
    for kept in (statements.blocks, statements.load, read_model_schema.fingerprint):
        kept.cache_clear()


@contextmanager
def _staged(url: str) -> Iterator[Stage]:
    connection = database.connect(url)
    schema = read_model_schema.schema_name()
    read_model_schema.create(connection)
    stage = Stage(url)
    try:
        yield stage
    finally:
        stage.sweep()
        stage.close()
        read_model_schema.drop(connection, schema)
        connection.close()


def is_killed_by(stage: Stage, log: Log, how: Disturbance) -> bool:
    """Whether the delivery fails, or the rows after it are others than the oracle's."""
    stage.sweep()
    try:
        stage.deliver(log, how)
    except ProgressError:
        return True
    return bool(stage.differences(log.now))


def find(stage: Stage, mutant: Mutant) -> Delivery:
    """A small delivery that shows the stage's mutant; hypothesis.errors.NoSuchExample if none."""
    plain = st.builds(
        Disturbance,
        sizes=st.sampled_from([(1,), (100,), (2, 4)]),
        every=st.sampled_from([1, None]),
        limit=st.sampled_from([1000, 2, 1]),
        workers=st.just(1),
        tasks=st.just(1),
        crashes=st.just(()),
    )
    log, how = hypothesis.find(
        st.tuples(logs(), plain),
        lambda delivery: is_killed_by(stage, *delivery),
        settings=hypothesis.settings(
            max_examples=500,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
    return Delivery([mutant.name], _smaller(stage, log, how), how)


def _smaller(stage: Stage, log: Log, how: Disturbance) -> Log:
    """The log without the events that are not needed. Hypothesis would make it nicer, for hours."""
    for event in reversed(log.published):
        fewer = replace(log, published=tuple(p for p in log.published if p is not event))
        if is_killed_by(stage, fewer, how):
            log = fewer
    return log


def main(url: str) -> None:
    """Look for what mutants.jsonl does not have."""
    connection = database.connect(url)
    migrations.apply(connection)
    connection.close()
    known = load_deliveries()
    for mutant in load_mutants():
        if any(mutant.name in each.mutants for each in known):
            continue
        with stage_with(url, mutant) as stage:
            for each in known:
                if is_killed_by(stage, each.log, each.how):
                    each.mutants.append(mutant.name)
                    break
            else:
                with suppress(hypothesis.errors.NoSuchExample):
                    known.append(find(stage, mutant))
        DELIVERIES.write_text("".join(map(_line, known)), encoding="utf-8")
        is_shown = any(mutant.name in each.mutants for each in known)
        print("     " if is_shown else "NOT  ", mutant.name)


if __name__ == "__main__":
    main(sys.argv[1])
