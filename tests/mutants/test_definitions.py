"""The comparison with the live rows detects each broken definition."""

import tomllib
from dataclasses import dataclass

import pytest

from progress.adapters.postgres.database import Connection
from progress.adapters.postgres.statements import blocks, parse
from progress.projections import definitions, schema
from progress.recovery import checks
from tests.conftest import Store
from tests.mutants import broken_folds
from tests.support.stage import Stage


@dataclass(frozen=True)
class Mutant:
    """A broken block of sql/{file}.sql, in which `by` replaces `text`."""

    file: str
    block: str
    text: str
    by: str

    @property
    def table(self) -> str:
        """The name of the table, or of the relation shared by folds, that the block computes."""
        if self.block == "definition":
            return self.file.removeprefix("read_models/")
        return self.block.split()[-1]


def load_mutants() -> list[Mutant]:
    """Return the mutants of definitions.toml, and one that loses a row for each table.

    In the file, a heading is an SQL file and a block.
    """
    tables = tomllib.loads((broken_folds.HERE / "definitions.toml").read_text(encoding="utf-8"))
    written = [
        Mutant(file, block, **change)
        for file, blocks_of_file in tables.items()
        for block, changes in blocks_of_file.items()
        for change in changes
    ]
    return written + [lose_a_row(*definitions._QUERIES[table]) for table in definitions.TABLES]


def lose_a_row(file: str, block: str) -> Mutant:
    text = blocks(file)[block]
    lost = f"SELECT * FROM (\n{text}\n) found OFFSET 1"  # noqa: S608 - a block of sql
    return Mutant(file, block, text, lost)


def is_detected(connection: Connection, mutant: Mutant) -> bool:
    """Return whether rows of the broken fold differ from the live rows.

    The definitions have already filled temporary tables in this transaction. If the fold of a table
    is broken, fold and compare only this table again. If a shared relation is broken, fold and
    compare all tables.
    """
    before = blocks(mutant.file)[mutant.block]
    assert mutant.text in before, mutant
    connection.run("SAVEPOINT folded")
    with pytest.MonkeyPatch.context() as patch:
        written, broken = parse(mutant.file), before.replace(mutant.text, mutant.by)
        patch.setitem(blocks(mutant.file), mutant.block, broken)
        patch.setitem(written, mutant.block, written[mutant.block]._replace(text=broken))
        if mutant.table in definitions.TABLES:
            patch.setattr(definitions, "TABLES", (mutant.table,))
            fold_again(connection, mutant.table)
        else:
            connection.run("DISCARD TEMPORARY")
            checks.fold(connection)
        differences = checks.compare(connection)
    connection.run("ROLLBACK TO folded")
    return bool(differences)


def fold_again(connection: Connection, table: str) -> None:
    """Replace the temporary table by the result of the table's definition."""
    sql = blocks("recovery/comparison")
    connection.run(sql["read only temporary tables"])
    connection.run(f"DROP TABLE {table} CASCADE")
    connection.run(definitions.fold_statements("postgresql")[table])
    connection.run(sql["read live tables"], schema=schema.schema_name())


def test_each_shared_relation_has_a_mutant() -> None:
    relations = definitions.fold_statements("postgresql").keys() - schema.REMEMBERED.keys()
    relations -= {"session_facts"}  # only queries read it, which test_past_fields.py compares
    assert {mutant.table for mutant in load_mutants()} == {*relations, "events", "states"}


def test_the_sql_contains_the_text_of_each_mutant() -> None:
    mutants = load_mutants()
    assert [m for m in mutants if m.text not in blocks(m.file)[m.block]] == []


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_each_mutant_of_a_whole_fold_is_detected(store: Store) -> None:
    alive = load_mutants()
    stage = Stage(store.url)
    for delivery in broken_folds.load_deliveries():
        stage.sweep()
        stage.deliver(delivery.log, delivery.how)
        with checks.open_snapshot(stage.admin):
            checks.fold(stage.admin)
            assert checks.compare(stage.admin) == []
            alive = [mutant for mutant in alive if not is_detected(stage.admin, mutant)]
        if not alive:
            break
    stage.close()
    assert alive == []
