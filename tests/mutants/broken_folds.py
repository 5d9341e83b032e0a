"""Mutants are folds that are broken on purpose.

A delivery is an event log and a way to deliver it. It kills a mutant if the mutant's rows then
differ from the oracle's, or if the delivery fails.

`python -m tests.mutants.broken_folds` finds deliveries for the mutants that have none, and adds the
deliveries to mutants.jsonl.
"""

import json
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from progress import files
from progress.adapters.postgres import database, migrations, statements
from progress.errors import ProgressError
from progress.projections import schema as read_model_schema
from tests.support import postgres_servers, sample_events
from tests.support.event_logs import Disturbance, Log, Published, logs
from tests.support.stage import Stage

HERE = Path(__file__).parent
DELIVERIES = HERE / "mutants.jsonl"
_STUDIED = [event for user in ("ann", "bob") for event in sample_events.varied_study(user)]
_SAMPLE = Log(
    tuple(Published(event, (n,)) for n, event in enumerate(_STUDIED)),
    sample_events.BEGIN + timedelta(days=60),
)


@dataclass
class Delivery:
    """A delivery, and the names of the mutants that it kills."""

    mutants: list[str]
    log: Log
    how: Disturbance


@dataclass(frozen=True)
class Mutant:
    """A broken fold: in sql/{file}.sql, `by` replaces `text`."""

    name: str
    file: str
    text: str
    by: str


def load_mutants() -> list[Mutant]:
    """Return the mutants of mutants.toml, in which a heading is an SQL file and a name."""
    tables = tomllib.loads((HERE / "mutants.toml").read_text(encoding="utf-8"))
    return [
        Mutant(name, file, **change)
        for file, entries in tables.items()
        for name, change in entries.items()
    ]


def load_deliveries() -> list[Delivery]:
    lines = DELIVERIES.read_text(encoding="utf-8").splitlines()
    return [_parse(json.loads(line)) for line in lines]


def _parse(line: dict[str, Any]) -> Delivery:
    published = tuple(Published(envelope, tuple(turns)) for envelope, turns in line["log"])
    how: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in line["how"].items()
    }
    log = Log(published, datetime.fromisoformat(line["now"]))
    return Delivery(line["mutants"], log, Disturbance(**how))


def _line(delivery: Delivery) -> str:
    line = {
        "mutants": delivery.mutants,
        "now": delivery.log.now.isoformat(),
        "how": asdict(delivery.how),
        "log": [(p.envelope, p.deliveries) for p in delivery.log.published],
    }
    return json.dumps(line, separators=(",", ":")) + "\n"


def break_sql(mutant: Mutant) -> str:
    """Return the text of the broken SQL file; raise LookupError if the file lacks `text`."""
    before = (files.SQL / f"{mutant.file}.sql").read_text(encoding="utf-8")
    if mutant.text not in before:
        raise LookupError(f"{mutant.name}: its text is not in {mutant.file}.sql")
    return before.replace(mutant.text, mutant.by)


@contextmanager
def broken_sql(mutant: Mutant) -> Iterator[None]:
    """Run the block with the mutant's SQL; raise LookupError if the file lacks its `text`."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        copy = Path(folder) / "sql"
        shutil.copytree(files.SQL, copy)
        patch.setattr(files, "SQL", copy)
        (copy / f"{mutant.file}.sql").write_text(break_sql(mutant), encoding="utf-8")
        _clear_caches()
        try:
            yield
        finally:
            _clear_caches()


def _clear_caches() -> None:
    """Clear the caches that depend on the SQL files."""
    for kept in (
        *(statements.parse, statements.blocks, statements.load),
        *(read_model_schema.parts, read_model_schema.fingerprint),
    ):
        kept.cache_clear()


@contextmanager
def stage_with(url: str, mutant: Mutant) -> Iterator[Stage]:
    """Open a stage with the mutant's folds; raise LookupError if the SQL file lacks `text`."""
    with broken_sql(mutant), closing(database.connect(url)) as connection:
        schema = read_model_schema.schema_name()
        read_model_schema.create(connection)
        stage = Stage(url)
        try:
            yield stage
        finally:
            stage.sweep()
            stage.close()
            read_model_schema.drop(connection, schema)


def is_killed_by(stage: Stage, log: Log, how: Disturbance) -> bool:
    """Return whether the delivery fails, or the rows differ from those of the oracle."""
    stage.sweep()
    try:
        stage.deliver(log, how)
    except ProgressError:
        return True
    return bool(stage.differences(log.now))


def find(stage: Stage, mutant: Mutant) -> Delivery:
    """Return a small delivery that kills the mutant; raise NoSuchExample if none is found.

    The sample comes first, because its events give rows to every model, then generated logs. Most
    deliveries are folded in one run, in windows: a run takes as long as the fold of 20 events.
    """
    ways = [
        *(Disturbance((100,), every=None, limit=limit) for limit in (1_000, 7, 2, 1)),
        Disturbance((7,), every=1, limit=1_000),
    ]
    of_sample = ((_SAMPLE, how) for how in ways if is_killed_by(stage, _SAMPLE, how))
    log, how = next(of_sample, None) or hypothesis.find(
        st.tuples(logs() | logs(crowded=True) | logs(collected=True), st.sampled_from(ways)),
        lambda delivery: is_killed_by(stage, *delivery),
        settings=hypothesis.settings(
            max_examples=500,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
    return Delivery([mutant.name], _shrink(stage, log, how), how)


def _shrink(stage: Stage, log: Log, how: Disturbance) -> Log:
    """Return the log without the events that are not needed to kill the mutant.

    Hypothesis would need hours to find these events.
    """
    for size in (64, 16, 4, 1):
        for first in reversed(range(0, len(log.published), size)):
            kept = (*log.published[:first], *log.published[first + size :])
            if is_killed_by(stage, fewer := replace(log, published=kept), how):
                log = fewer
    return log


def main(url: str) -> None:
    """Find the deliveries that mutants.jsonl lacks, and add them."""
    with closing(database.connect(url)) as connection:
        migrations.apply(connection)
    known = load_deliveries()
    for mutant in load_mutants():
        if any(mutant.name in delivery.mutants for delivery in known):
            continue
        with stage_with(url, mutant) as stage:
            for delivery in known:
                if is_killed_by(stage, delivery.log, delivery.how):
                    delivery.mutants.append(mutant.name)
                    break
            else:
                with suppress(hypothesis.errors.NoSuchExample):
                    known.append(find(stage, mutant))
        DELIVERIES.write_text("".join(map(_line, known)), encoding="utf-8")
        is_killed = any(mutant.name in delivery.mutants for delivery in known)
        print("     " if is_killed else "NOT  ", mutant.name, flush=True)


if __name__ == "__main__":
    with postgres_servers.start(None) as url:
        main(url)
