"""The benchmarks' SQL in named blocks, in the same format as the files of `sql`."""

from pathlib import Path

from progress.adapters.postgres import statements

_FOLDER = Path(__file__).resolve().parent


def blocks(file: str) -> dict[str, str]:
    return statements.blocks(str(_FOLDER / file))
