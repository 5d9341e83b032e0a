"""Functions that start and run exports, and read the files in the ZIP archives."""

import csv
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from progress import settings
from tests.support.operation_fixtures import Operator

DOWNLOAD = "download { url expiresAt bytes sha256 }"


@pytest.fixture
def exports(operator: Operator) -> Path:
    """The folder of the exported files."""
    return Path(settings.current().progress_data_dir) / "exports"


def export(operator: Operator, learner: str = "ann", **options: Any) -> Any:
    """Start an export of the learner's record; return the operation."""
    return operator.start("exportUser", f'userId: "{learner}", ', **options)


def export_statistics(operator: Operator, arguments: str, **options: Any) -> Any:
    """As an administrator, start an export of statistics; return the operation."""
    return operator.start("exportStatistics", f"{arguments}, ", **options)


def read(path: Path) -> dict[str, bytes]:
    """Check that the ZIP archive is intact; return its files by name."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def export_files(operator: Operator, exports: Path) -> dict[str, bytes]:
    """Export Ann's record; return the files in the ZIP archive by name."""
    done = operator.run(export(operator)["id"])
    assert done["state"] == "SUCCEEDED", done["error"]
    return read(exports / json.loads(done["result"])["object"])


def list_rows(files: dict[str, bytes], name: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    return list(csv.DictReader(io.StringIO(files[name].decode("utf-8-sig"))))


def expect_api(rows: list[dict[str, str]], expected: list[Any]) -> None:
    """Check that the rows have the values of the API's objects, in the columns of their fields."""
    fields = [*expected[0]]
    columns = [re.sub("[A-Z]", r"_\g<0>", field).lower() for field in fields]
    assert [[row[column] for column in columns] for row in rows] == [
        [write_text(value[field]) for field in fields] for value in expected
    ]


def write_text(value: object) -> str:
    """Return the text of a value of the API in a CSV file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value == int(value):
        return f"{value:g}"
    return "" if value is None else str(value)


def get(operator: Operator, operation_id: str, user: str = "ann", roles: str = "learner") -> Any:
    """Return the operation and its download, as this user sees them."""
    query = f'{{ operation(id: "{operation_id}") {{ id state {DOWNLOAD} }} }}'
    body = operator.ask(query, user, roles=roles)
    assert "errors" not in body, body
    return body["data"]["operation"]
