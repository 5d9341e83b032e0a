"""PostgreSQL and DuckDB compute the same hash sums for any rows. Restored rows are unchanged."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from progress.adapters import storage
from progress.adapters.postgres.database import Connection
from progress.archive import restore
from progress.projections.projector import Projector
from tests.conftest import Store
from tests.support import archives

ODD = [
    "", " ", ",", '"', '""', "\\", "\\N", "\\.", "NULL", "\n", "\r\n", "\t", "\x01", "\x1f",
    "a\x1fb", "\x7f", "\\u0000", "\\ud800", "\u0130i\u0307", "e\u0301", "\u00e9", "\u202e",
    "\ufeff", "\ufffd", "\U0001f600", "日本語", "'; --", "{}", "[]", "null", "1e999", "-0.0",
    "x" * 5_000, "\U0010ffff", "learner-", "%", "$1", "::",
]  # fmt: skip


def archive_and_restore(source: Store, target: Store, texts: list[str], folder: str) -> None:
    """Archive a log with these texts; check that the restored rows are the same."""
    connection, other = source.connect(), target.connect()
    try:
        connection.run(archives.blocks()["insert odd events"], texts=json.dumps(texts))
        fold(connection)
        connection.run(archives.blocks()["set the zone"])
        stored = storage.open_storage(folder)
        archives.run(connection, stored)
        assert archives.differing(connection, stored) == []
        restore.run(other, stored, lambda *_: None)
        connection.run("RESET ALL")
        other.run("RESET ALL")
        rows = archives.blocks()["rows"]
        assert other.run(rows) == connection.run(rows)
        assert len(other.run(rows)) == len(texts)
    finally:
        connection.close()
        other.close()


def fold(connection: Connection) -> None:
    Projector(connection).catch_up_all()


def test_hash_sums_agree_for_unusual_texts_and_times(
    stores: Callable[[], Store], tmp_path_factory: pytest.TempPathFactory
) -> None:
    archive_and_restore(stores(), stores(), ODD, str(tmp_path_factory.mktemp("archive")))


@given(
    texts=st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        min_size=1,
        max_size=20,
        unique=True,
    )
)
@settings(max_examples=5)
def test_hash_sums_agree_for_any_text(
    stores: Callable[[], Store], tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    archive_and_restore(stores(), stores(), texts, str(tmp_path_factory.mktemp("archive")))
