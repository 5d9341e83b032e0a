"""SQL statements are named blocks of `.sql` files; a prepared one takes one round trip."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from progress import files
from progress.adapters.postgres import database, statements
from tests.support.postgres_wire import Wire


def clear_caches() -> None:
    for kept in (statements.parse, statements.blocks, statements.load, statements.load_columns):
        kept.cache_clear()


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with monkeypatch.context() as patch:
        patch.setattr(files, "SQL", tmp_path)
        clear_caches()
        yield tmp_path
    clear_caches()


def test_constants_replace_their_parameters_in_the_text(made: Path) -> None:
    (made / "listed.sql").write_text(
        "-- rows --\nSELECT :order, :order_by FROM t WHERE a = CAST(:order AS text);\n"
    )
    numbered = statements.load("listed", "rows", order="DUE")
    assert numbered.text == "SELECT 'DUE', $1 FROM t WHERE a = CAST('DUE' AS text);"
    assert numbered.names == ("order_by",)
    with pytest.raises(ValueError, match="expected an identifier as the value of order"):
        statements.load("listed", "rows", order="DUE' OR TRUE --")


def test_a_part_fills_a_name_in_braces_and_may_include_blocks(made: Path) -> None:
    (made / "made.sql").write_text("-- all --\nCALL {name}({folds}, '{}');\n-- one --\n{name}\n")
    assert statements.fill("made", "all", name="f", folds="{made one}") == "CALL f(f, '{}');"
    with pytest.raises(KeyError, match="folds"):
        statements.fill("made", "all", name="f")


def test_a_trace_gives_the_place_of_each_line_and_of_a_part_of_several_lines(made: Path) -> None:
    text = "-- all --\nSELECT {inner one},\n{folds}\n{columns}\nFROM t\nWHERE u;\n"
    (made / "outer.sql").write_text(text)
    (made / "inner.sql").write_text("\n-- one --\n1\n-- two --\n2,\n3\n")
    parts = {"folds": "{inner two}", "columns": "a,\nb"}
    assert statements.trace("outer", "all", parts).splitlines() == [
        "-- sql/outer.sql:2, sql/inner.sql:3",
        "SELECT 1,",
        "-- sql/inner.sql:5",
        "2,",
        "3",
        "-- sql/outer.sql:4",
        "a,",
        "b",
        "-- sql/outer.sql:5",
        "FROM t",
        "WHERE u;",
    ]


def test_block_names_are_unique_within_a_file() -> None:
    for path in files.SQL.rglob("*.sql"):
        if path.parent.name not in ("migrations", "earlier", "functions"):
            names = re.findall(r"^-- ([a-z][a-z0-9_ ]*) --$", path.read_text(), re.MULTILINE)
            assert names, path
            assert sorted(set(names)) == sorted(names), path
            assert all(statements.blocks(str(path.with_suffix(""))).values()), path


def test_a_statement_sends_no_flush_and_a_kept_one_takes_one_round_trip(wire: Wire) -> None:
    with closing(database.connect(wire.url)) as connection:
        wire.sent = b""
        assert connection.run("SELECT :n + 1", n=1) == [[2]]
        types = {*kinds(wire.sent)}
        assert {"P", "B", "E", "S"} <= types  # Parse, Bind, Execute, Sync
        assert "H" not in types  # Flush
        kept = "SELECT CAST(:number AS int)"
        assert connection.run_prepared(kept, number=1) == [[1]]
        wire.sent = b""
        assert connection.run_prepared(kept, number=2) == [[2]]
    # Bind, Execute and Sync. A Flush would cost another round trip.
    assert list(kinds(wire.sent))[:3] == ["B", "E", "S"]


def kinds(sent: bytes) -> Iterator[str]:
    while sent:
        yield chr(sent[0])
        sent = sent[1 + int.from_bytes(sent[1:5], "big") :]
