"""The benchmark's own SQL, in named blocks like the project's."""

from pathlib import Path

from progress.adapters.postgres import statements

_HERE = Path(__file__).resolve().parent


def blocks(file: str) -> dict[str, str]:
    """The blocks of `bench/{file}.sql` by name."""
    return statements.blocks(str(_HERE / file))
