"""DuckDB computes the same sums as PostgreSQL for any rows."""

import json
import signal
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from progress.adapters import storage
from progress.archive import files, restore, runs
from progress.projections.projector import Projector
from tests.conftest import Store
from tests.support import archives

ODD = [
    "", " ", ",", '"', '""', "\\", "\\N", "\\.", "NULL", "\n", "\r\n", "\t", "\x01", "\x1f",
    "a\x1fb", "\x7f", "\\u0000", "\\ud800", "\u0130i\u0307", "e\u0301", "\u00e9", "\u202e",
    "\ufeff", "\ufffd", "\U0001f600", "日本語", "'; --", "{}", "[]", "null", "1e999", "-0.0",
    "x" * 5_000, "\U0010ffff", "learner-", "%", "$1", "::",
]  # fmt: skip


def test_duckdb_uses_only_built_in_extensions() -> None:
    with files.open_workspace() as workspace:
        rows = workspace._duck.execute(
            "SELECT name, value FROM duckdb_settings() "
            "WHERE name IN ('autoinstall_known_extensions', 'autoload_known_extensions')"
        ).fetchall()
        assert sorted(rows) == [
            ("autoinstall_known_extensions", "false"),
            ("autoload_known_extensions", "false"),
        ]
        built_in = workspace._duck.execute(
            "SELECT extension_name FROM duckdb_extensions() WHERE loaded"
        ).fetchall()
        assert {("parquet",), ("icu",)} <= set(built_in)


def test_ctrl_c_interrupts_a_statement_without_an_error_of_duckdb() -> None:
    endless = "SELECT max(a.range * b.range) FROM range(1000000) a, range(1000000) b"
    ctrl_c = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])

    def execute_and_interrupt(workspace: files.Workspace) -> None:
        ctrl_c.start()
        files.execute(workspace._duck, endless, {})

    with files.open_workspace() as workspace, pytest.raises(KeyboardInterrupt):
        execute_and_interrupt(workspace)
    ctrl_c.join()


def test_the_folders_of_dead_processes_are_removed_and_those_of_live_ones_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "progress-parquet-left"
    left.mkdir()
    (left / "rows.csv").touch()
    with files.open_workspace() as first, files.open_workspace() as second:
        assert {*tmp_path.iterdir()} == {first.folder, second.folder}
    assert [*tmp_path.iterdir()] == []


def test_the_rows_of_a_bucket_are_split_into_small_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB reads a whole CSV file into memory; one file for a full range would be too large."""
    monkeypatch.setattr(runs, "_MAX_BYTES", 10)
    rows = [b"%d,%d\n" % (n % 3 - 1, n) for n in range(30)]
    with runs.open_files(tmp_path) as output:
        for row in rows:
            output.write(row)
    for bucket, paths in output.by_bucket.items():
        assert b"".join(path.read_bytes() for path in paths) == b"".join(rows[bucket + 1 :: 3])
        assert max(path.stat().st_size for path in paths) < 10 + len(b"-1,29\n")
    assert sorted(output.by_bucket) == [-1, 0, 1]


@given(
    texts=st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        min_size=1,
        max_size=20,
        unique=True,
    )
)
@example(texts=ODD)
@settings(max_examples=1)
def test_hash_sums_agree_and_restored_rows_are_the_same_for_any_text_and_time(
    stores: Callable[[], Store], tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    stored = storage.open_storage(str(tmp_path_factory.mktemp("archive")))
    with closing(stores().connect()) as log, closing(stores().connect()) as other:
        log.run(archives.BLOCKS["insert odd events"], texts=json.dumps(texts))
        Projector(log).catch_up_all()
        log.run(archives.BLOCKS["set the zone"])
        archives.run(log, stored)
        assert archives.differing(log, stored) == []
        restore.run(other, stored, lambda *_: None)
        log.run("RESET ALL")
        other.run("RESET ALL")
        rows = archives.BLOCKS["rows"]
        assert other.run(rows) == log.run(rows)
        assert len(other.run(rows)) == len(texts)
