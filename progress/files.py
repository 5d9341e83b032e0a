"""The files beside the package: SQL, entry points of functions, word lists, documents, schemas."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
_IN_WHEEL = PACKAGE / "_files"

# The folder that contains `sql`, `functions`, `jobs`, `data`, `docs` and `schemas`: the top of a
# clone or an image, or a folder of the wheel (pyproject.toml).
ROOT = _IN_WHEEL if _IN_WHEEL.is_dir() else PACKAGE.parent
SQL = ROOT / "sql"
