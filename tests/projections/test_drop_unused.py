"""Each revision has its own read models, which are dropped when unused."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from progress.adapters.postgres.database import Connection
from progress.errors import ProjectionError, RebuildRunning
from progress.projections import batch, replacement
from progress.projections import schema as read_model_schema
from tests.conftest import Store
from tests.support import programs, sample_events
from tests.support.stage import append

ROOT = Path(__file__).resolve().parents[2]
OTHER = "progress_0123456789ab"
USERS = [f"u{n}" for n in range(4)]

# WAKE does the work of functions/project; ANSWER queries a read model.
WAKE = """
from progress.projections import projector
for shard in projector.SHARDS:
    projector.wake(shard)
"""
ANSWER = """
import json
from progress.adapters.postgres import database
from progress.projections import schema
from progress import settings
connection = database.connect(settings.current())
schema.set_search_path(connection)
print(json.dumps(connection.run("SELECT user_id, answers FROM user_progress")))
"""


@dataclass(frozen=True)
class Revision:
    """A revision of the code; its commands run as separate processes."""

    folder: Path
    url: str

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self._run("-m", "progress.cli", *words)

    def migrate(self) -> None:
        self._print("-m", "progress.cli", "migrate")

    def wake(self) -> None:
        self._print("-c", WAKE)

    def answer(self) -> dict[str, int]:
        return dict(json.loads(self._print("-c", ANSWER)))

    def _print(self, *words: str) -> str:
        done = self._run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _run(self, *words: str) -> programs.Ended:
        variables = {"PYTHONPATH": str(self.folder), "DATABASE_URL": self.url}
        variables["PATH"] = os.environ["PATH"]
        return programs.try_run([sys.executable, *words], variables, folder=self.folder)


@pytest.fixture
def populated(connection: Connection) -> Connection:
    sample_events.record_lessons(connection, *USERS)
    return connection


@pytest.fixture
def blue(store: Store, populated: Connection) -> Revision:
    """The unchanged code of this repository."""
    return Revision(ROOT, store.url)


@pytest.fixture
def green(store: Store, tmp_path: Path) -> Revision:
    """A copy of this code whose fold counts each answer twice."""
    for part in ("progress", "sql"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "sql/read_models/user_progress.sql"
    before = file.read_text()
    after = before.replace(
        "coalesce(sum(change) FILTER (WHERE grade IS NOT NULL), 0) AS answers",
        "2 * coalesce(sum(change) FILTER (WHERE grade IS NOT NULL), 0) AS answers",
    )
    assert after != before
    file.write_text(after)
    return Revision(tmp_path, store.url)


def schema_names(connection: Connection) -> set[str]:
    return {
        row[0] for row in connection.run("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'")
    } - {"information_schema"}


@pytest.mark.exhaustive
def test_two_revisions_fold_and_serve_queries_side_by_side(
    blue: Revision, green: Revision, populated: Connection
) -> None:
    blue.wake()
    before = blue.answer()
    green.migrate()
    assert green.answer() == {user: 2 * answers for user, answers in before.items()}
    append(populated, [event for user in USERS for event in sample_events.lesson(user, 4)])
    blue.wake()  # the workers of any revision fold the read models of both
    assert blue.answer() == {user: answers + 3 for user, answers in before.items()}
    assert green.answer() == {user: 2 * answers + 6 for user, answers in before.items()}
    append(populated, [event for user in USERS for event in sample_events.lesson(user, 5)])
    green.wake()
    assert blue.answer() == {user: answers + 6 for user, answers in before.items()}
    batch.run(populated)
    read_model_schema.set_search_path(populated)
    assert not sample_events.find_differences(populated)

    own = read_model_schema.schema_name()
    (others,) = {name for name in schema_names(populated) if name.startswith("progress_")} - {own}
    done = blue.command("prune-schemas")
    assert (done.stdout, done.stderr) == (f"dropped {others}\nKept: {own}.\n", "")
    assert others not in schema_names(populated)
    green.migrate()
    done = green.command("prune-schemas")
    assert done.stdout == f"dropped {own}\nKept: {others}.\n"


@pytest.mark.exhaustive
def test_after_a_newer_migration_the_older_code_serves_queries_but_cannot_migrate(
    blue: Revision, green: Revision, populated: Connection
) -> None:
    file = green.folder / "sql/migrations/9000_expand.sql"
    file.write_text("ALTER TABLE event_store.events ADD later text;")
    green.migrate()
    append(populated, sample_events.lesson("u0", 4))
    blue.wake()
    assert blue.answer()["u0"] == 15
    assert blue.command("batch").returncode == 0
    assert blue.command("prune-schemas").returncode == 0
    refused = blue.command("migrate")
    assert refused.returncode == 1
    assert "the database is newer than this code: it has 9000_expand.sql" in refused.stderr
    assert blue.answer()["u0"] == 15


def test_only_unused_read_model_schemas_are_dropped_and_none_during_a_rebuild(
    store: Store, populated: Connection
) -> None:
    own = read_model_schema.schema_name()
    left = [OTHER, f"{OTHER}_building", f"{OTHER}_retired", f"{own}_building", f"{own}_retired"]
    kept = ["progress_reports", "progress_0123456789abc", "learners", f"{OTHER}_copy"]
    before = schema_names(populated)
    for schema in (*left, *kept):
        populated.run(f"CREATE SCHEMA {schema} CREATE TABLE numbers (n int)")
    with (
        closing(store.connect()) as other,
        replacement.hold_lock(other),
        pytest.raises(RebuildRunning),
    ):
        list(replacement.drop_unused(populated))
    assert sorted(replacement.drop_unused(populated)) == sorted(left)
    assert schema_names(populated) == {*before, *kept}
    assert {"event_store", "operations", "public", own} <= schema_names(populated)
    assert list(replacement.drop_unused(populated)) == []


def test_nothing_is_dropped_if_the_schema_of_the_code_is_missing(populated: Connection) -> None:
    read_model_schema.create(populated, OTHER)
    read_model_schema.drop(populated, read_model_schema.schema_name())
    before = schema_names(populated)
    with pytest.raises(ProjectionError, match="other code may be serving: nothing is dropped"):
        list(replacement.drop_unused(populated))
    assert schema_names(populated) == before
