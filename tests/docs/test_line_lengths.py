"""Lines of documents, SQL, Terraform and Dockerfiles have at most 120 characters."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUFFIXES = {".md", ".sql", ".tf", ".tfvars"}

# Lines that cannot be broken: table rows, and list items that hold only a reference (`path::name`).
_UNBREAKABLE = re.compile(r"\||  - (test )?`[^`]+`$")


def _files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = (Path(line) for line in listed.stdout.splitlines())
    return [str(path) for path in paths if path.suffix in SUFFIXES or path.name == "Dockerfile"]


@pytest.mark.parametrize("file", _files())
def test_lines_have_at_most_120_characters(file: str) -> None:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 120 and not _UNBREAKABLE.match(line)] == []
