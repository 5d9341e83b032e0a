"""The functions that workers call in a schema of read models are those of one file."""

import re

import pytest

from progress.adapters.postgres import statements
from progress.adapters.postgres.database import Connection

pytestmark = pytest.mark.every_postgres

FILE = statements.blocks("projections/interface")
FOUND = """
SELECT p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid)
FROM pg_proc p
WHERE p.pronamespace = CAST(current_schema() AS regnamespace) AND p.proname = ANY (:names)
ORDER BY p.proname
"""


def test_a_schema_has_the_functions_of_the_interface(connection: Connection) -> None:
    """A change of one of them needs another version (see the file)."""
    signatures = sorted(connection.run(FILE["signatures"]))
    assert connection.run(FOUND, names=[name for name, *_ in signatures]) == signatures


def test_workers_call_no_other_function_of_a_schema(connection: Connection) -> None:
    signatures = {name for name, *_ in connection.run(FILE["signatures"])}
    calls = [text for name, text in FILE.items() if name not in {"signatures", "functions"}]
    called = set(re.findall(r"(?<![.\w])(\w+)\(", "\n".join(calls)))
    in_schema = {name for (name, *_) in connection.run(FOUND, names=[*called])}
    assert in_schema == called & signatures == signatures
