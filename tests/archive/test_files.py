"""DuckDB is imported only where files are written or read, and downloads nothing."""

import subprocess
import sys

from progress.archive import files


def test_the_project_function_and_the_commands_start_without_duckdb() -> None:
    code = "import sys, progress.operations.executor, progress.cli; print('duckdb' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_duckdb_has_what_it_needs_built_in_and_loads_no_extension() -> None:
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
