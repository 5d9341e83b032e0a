"""What a released version has saved loads into this one, and erased learners stay erased."""

import gzip
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from progress import settings
from progress.adapters.postgres import migrations
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Folder
from progress.archive import erasure_ledger
from progress.local import postgres
from progress.operations import erasure_steps
from progress.projections import batch, rebuild
from progress.recovery import checks, dumps, ledger_erasures
from tests.conftest import Store
from tests.support import model_rows, sample_events, stage
from tests.support.erasure_fixtures import find_in_tables, push_events
from tests.support.postgres_servers import Server
from tests.support.recovery_fixtures import nobody

RELEASED = Path(__file__).parent / "released"
NEEDLES = [text.format(user) for user in ("cem", "gone") for text in ('"{}"', "{}-0", "learner-{}")]
VERSIONS = sorted(folder.name for folder in RELEASED.iterdir() if folder.is_dir())


@pytest.fixture(params=VERSIONS)
def released(request: pytest.FixtureRequest) -> Path:
    return RELEASED / str(request.param)


@pytest.fixture
def bare(postgres_server: Server, stores: Callable[[], Store]) -> Iterator[Store]:
    """An entirely empty database, on a server that has the roles."""
    stores()
    name = postgres_server.create_bare_database("")
    yield Store(postgres_server.sibling(name))
    postgres_server.drop(name)


@pytest.fixture
def archive(released: Path, bare: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """The archive with the ledger of erasures; the settings name it and the empty database."""
    shutil.copytree(released / "erasures", tmp_path / "archive" / "erasures")
    monkeypatch.setenv("DATABASE_URL", bare.url)
    monkeypatch.setenv("PROGRESS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PUBLISH_EVENTS", "off")
    monkeypatch.setattr(erasure_steps, "_REQUESTS_END_S", 0.0)
    settings.current.cache_clear()
    return Folder(tmp_path / "archive")


def fill(connection: Connection, released: Path, archive: Folder, url: str) -> None:
    """Load the version's dump, or restore the output of pg_dump and migrate it."""
    for saved in released.glob("*.sql.gz"):
        psql = [str(postgres.programs() / "psql"), "-qv", "ON_ERROR_STOP=1", url]
        subprocess.run(psql, input=gzip.decompress(saved.read_bytes()), check=True)
        migrations.apply(connection)
        ledger_erasures.record(connection, archive)
        ledger_erasures.forbid(connection)
        return
    dumps.load(connection, Folder(released), archive, nobody)


def test_what_a_version_has_saved_loads_into_this_one(
    bare: Store, released: Path, archive: Folder
) -> None:
    with closing(bare.connect()) as empty:
        fill(empty, released, archive, bare.url)
        assert migrations.find_missing(empty) == []
    rebuild.ensure(bare.connect)
    with closing(stage.connect(bare.url)) as connection:
        batch.run(connection)
        assert not sample_events.find_differences(connection)
        users = [row["user_id"] for row in model_rows.read_table(connection, "user_progress")]
        assert sorted(users) == ["ann", "ben"]
        letters = model_rows.read_table(connection, "event_store.dead_letters")
        assert [letter["payload"] for letter in letters if "cem" in letter["payload"]] == []
        assert len(letters) == 5
        acting = connection.run("SELECT kind, acts_on FROM operations.records WHERE acts_on <> ''")
        assert ["REPLAY_DEAD_LETTERS", "2"] in acting
        (poisoned,) = model_rows.read_table(connection, "event_store.poison_marks")
        assert poisoned["error"]

        digests = erasure_ledger.read_digests(archive)
        checked = checks.run(connection, digests)
        assert checked.recorded_at  # messages are replayed since then, not since the deletion
        deleted = "SELECT max(created_at) FROM event_store.events WHERE event_type = 'UserDeleted'"
        assert [[checked.recorded_at]] < connection.run(deleted)
        (left,) = checked.findings  # `load` was killed here
        assert "1 erased learners still have rows" in left.found
        assert left.do == "run `progress erasures apply`"
        ledger_erasures._start(connection, *ledger_erasures.find_left(connection).values())
        (left,) = checks.run(connection, digests).findings  # or here
        assert (left.found[:27], left.do) == ("1 erasures have not ended, ", checks.ERASE)
        result = ledger_erasures.apply(connection, archive, stage.publisher(), lambda *_: None)
        assert result == (1, 0)
        again = sample_events.lesson("cem", 0) + sample_events.lesson("gone", 0)
        assert push_events(connection, *again) == {"erased": len(again)}
        assert find_in_tables(connection, *NEEDLES) == []
        assert not checks.run(connection, digests).findings
        assert not sample_events.find_differences(connection)
