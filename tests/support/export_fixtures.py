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
    return Path(settings.current().progress_data_dir) / "exports"


def export(operator: Operator, learner: str = "ann", **options: Any) -> Any:
    return operator.start("exportUser", f'userId: "{learner}", ', **options)


def export_statistics(operator: Operator, arguments: str, **options: Any) -> Any:
    return operator.start("exportStatistics", f"{arguments}, ", **options)


def read(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def export_files(operator: Operator, exports: Path) -> dict[str, bytes]:
    done = operator.run(export(operator)["id"])
    assert done["state"] == "SUCCEEDED", done["error"]
    return read(exports / json.loads(done["result"])["object"])


def list_rows(files: dict[str, bytes], name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files[name].decode("utf-8-sig"))))


def expect_api(rows: list[dict[str, str]], expected: list[Any]) -> None:
    fields = [*expected[0]]
    columns = [re.sub("[A-Z]", r"_\g<0>", field).lower() for field in fields]
    assert [[row[column] for column in columns] for row in rows] == [
        [write_text(value[field]) for field in fields] for value in expected
    ]


def write_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value == int(value):
        return f"{value:g}"
    return "" if value is None else str(value)


def get(operator: Operator, operation_id: str, user: str = "ann", roles: str = "learner") -> Any:
    query = f'{{ operation(id: "{operation_id}") {{ id state {DOWNLOAD} }} }}'
    body = operator.ask(query, user, roles=roles)
    assert "errors" not in body, body
    return body["data"]["operation"]
