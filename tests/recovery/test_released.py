"""The owner of a released version's database or dump restores it into this version.

`released/README.md` describes what is saved. No code of a released version runs here.
"""

import functools
import json
import lzma
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

from progress import files, settings
from progress.adapters.postgres import migrations
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Folder
from progress.archive import erasure_ledger
from progress.cli import maintenance
from progress.event_store import outgoing, publication, time_zones
from progress.event_store.events import EVENT_TYPES
from progress.operations import erasure_steps, records, runner
from progress.projections import batch, schema
from progress.projections.projector import SHARDS
from progress.recovery import checks, dumps, ledger_erasures
from tests.support import model_rows, operation_fixtures, sample_events, stage
from tests.support.erasure_fixtures import find_in_tables, push_events
from tests.support.fake_publisher import FakePublisher
from tests.support.postgres_servers import Machine, start_machine
from tests.support.recovery_fixtures import every_row, nobody

RELEASED = Path(__file__).parent / "released"
LINES = [json.loads(line) for line in (RELEASED / "log.jsonl").read_text("utf-8").splitlines()]
EVENTS = [event for line in LINES for event in line.get("data", ())]
(TAIL,) = (line["data"] for line in LINES if line["phase"] == "tail" and len(line["data"]) > 9)
DIRECT = "0.1.0/database.xz"
KEPT = ("event_store", "operations", "progress", schema.schema_name())
DATABASES, DUMPS, WAYS = (
    sorted(path.relative_to(RELEASED).parts[0] for path in RELEASED.glob(f"*/{name}"))
    for name in ("database.xz", "*/manifest.json", "way.xz")
)
# Of the databases, the gate takes the oldest, which goes over every migration, and the newest.
TAKEN = [
    pytest.param(version, marks=pytest.mark.exhaustive) if version in DATABASES[1:-1] else version
    for version in DATABASES
]


class End(NamedTuple):
    """A database, and what it had after `migrate`."""

    url: str
    schema: list[str]  # the sorted lines of its definitions and privileges
    rows: dict[str, list[str]]


Migrate = Callable[[str], End]
Use = Callable[[str], closing[Connection]]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with start_machine(None) as machine:
        yield machine


def create(machine: Machine, dump: str = "") -> str:
    name, file = f"d{uuid4().hex}", machine.folder / "dump"
    target = machine.create(name)
    if dump:
        file.write_bytes(lzma.decompress((RELEASED / dump).read_bytes()))
        machine.run("pg_restore", "progress", target, "--no-owner", "--no-privileges", file)
        with closing(stage.connect(machine.url(name))) as connection:
            if schema.exists(connection, schema.schema_name()):
                schema.set_search_path(connection)
                fill = schema.trace("zone_rules")["fill"]  # the rules are not saved
                connection.run(fill, rules=time_zones.encode_rules())
    return machine.url(name)


@pytest.fixture(scope="module")
def migrate(machine: Machine) -> Migrate:
    """A function that restores and migrates a saved database, once in this module."""

    @functools.cache
    def migrate(dump: str) -> End:
        url = create(machine, dump)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DATABASE_URL", url)
            settings.current.cache_clear()
            maintenance.migrate()
            maintenance.move_views()
        return describe(url, machine)

    return migrate


def describe(url: str, machine: Machine) -> End:
    name = url.partition("?")[0].rpartition("/")[2]
    only = [f"--schema={each}" for each in KEPT]
    file = machine.folder / "schema"
    machine.run("pg_dump", "progress", "--schema-only", "--file", file, name, *only)
    lines = re.sub(r"\\(un)?restrict .*", "", file.read_text()).splitlines()
    with closing(stage.connect(url)) as connection:
        rows = every_row(connection) | every_row(connection, "every row of the log")
        for table in ("milestone_definitions", "publisher_checkpoints"):  # times of `migrate`
            rows[table] = [re.sub(r'(,[tf])?,"[^"]+"', "", row) for row in rows[table]]
        # The folds of each version say, in their words and at their time, what they cannot fold.
        own = re.compile(rf"\({schema.schema_name().removeprefix('progress_')},\d+")
        rows["poison_marks"] = [mark[0] for row in rows["poison_marks"] if (mark := own.match(row))]
        poisoned = re.compile(r"(\(\d+,poisoned,.*?,position-\d+),.*", re.DOTALL)
        rows["dead_letters"] = [poisoned.sub(r"\1", row) for row in rows["dead_letters"]]
    return End(url, sorted(lines), rows)


@pytest.fixture
def use(fake_publisher: FakePublisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Use:
    """A function that connects to a database, which the settings then name."""
    monkeypatch.setenv("PROGRESS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", fake_publisher.address)
    monkeypatch.setenv("PUBLISH_EVENTS", "all")
    monkeypatch.setattr(erasure_steps, "_REQUESTS_END_S", 0.0)

    def use(url: str) -> closing[Connection]:
        monkeypatch.setenv("DATABASE_URL", url)
        settings.current.cache_clear()
        return closing(stage.connect(url))

    return use


def assert_sound(connection: Connection) -> None:
    batch.run(connection)
    schema.set_search_path(connection)
    assert sample_events.find_differences(connection) == []
    assert migrations.find_missing(connection) == []
    assert [*checks.check_roles(connection), *checks.run(connection, with_rows=True).findings] == []


def assert_published_once(connection: Connection, pubsub: FakePublisher, version: str) -> None:
    """Publish what is due: what the version has recorded and not published, and nothing again.

    What 0.1 recorded, which has published nothing, was never due.
    """
    for shard in SHARDS:
        publication.publish(connection, shard, settings.current())
    ids = [message.attributes["ce-id"] for message in pubsub.messages(outgoing.TOPIC)]
    before = json.loads((RELEASED / version / "published.json").read_text("utf-8"))
    assert len({*ids, *before}) == len(ids) + len(before)
    assert {event["event_id"] for event in TAIL if before} <= {*ids}


def test_each_version_is_saved_with_events_of_every_type() -> None:
    """A release saves its version, and a new event type needs a line in `log.jsonl`."""
    text = (files.ROOT / "CHANGELOG.md").read_text("utf-8")
    assert {*re.findall(r"^## (\d\S+)", text, re.MULTILINE)} == {*DATABASES}
    assert {event["event_type"] for event in EVENTS} >= {*EVENT_TYPES}


@pytest.mark.parametrize("version", TAKEN)
def test_a_database_gets_what_this_version_needs_and_goes_on_where_it_stopped(
    migrate: Migrate, use: Use, fake_publisher: FakePublisher, version: str
) -> None:
    with use(migrate(f"{version}/database.xz").url) as connection:
        assert_sound(connection)
        letters = model_rows.read_table(connection, "event_store.dead_letters")
        kinds = {letter["kind"] for letter in letters}
        assert kinds == {"conflict", "future", "invalid", "malformed", "poisoned", "session_owner"}
        accesses = model_rows.read_table(connection, "event_store.accesses")
        readers = {"ada", "system:export"} if version >= "0.3" else set()
        assert {row["read_by"] for row in accesses} == readers
        assert_published_once(connection, fake_publisher, version)
        stage.append(connection, EVENTS)
        for operation_id in records.list_unclaimed(connection):
            values = {"operation_id": operation_id, "remaining": "1 hour"}
            connection.run(operation_fixtures.BLOCKS["set remaining time"], **values)
            runner.run(operation_id)
        ended = {(each.kind, each.state) for each in records.get_operations(connection, first=9)}
        kinds = {"ERASE_USER", "EXPORT_USER", "REPLAY_DEAD_LETTERS"}
        assert ended == {(kind, "SUCCEEDED") for kind in kinds}
        deletions = [each.attributes["ce-type"] for each in fake_publisher.messages(outgoing.TOPIC)]
        assert deletions.count("UserDeleted") == 1
        assert_published_once(connection, fake_publisher, version)
        assert find_in_tables(connection, "dan-7f3a") == []
        assert_sound(connection)


@pytest.mark.parametrize("version", TAKEN)
def test_what_names_whom_a_version_has_erased_is_dropped_also_if_it_is_faulty(
    machine: Machine, use: Use, version: str
) -> None:
    """The digests of the learner and of the session have the form that the version stored."""
    with use(create(machine, f"{version}/database.xz")) as connection:
        migrations.apply(connection)
        gone, session = "gone-7f3a", "gone-7f3a-0"
        old = {"occurred_at": "1999-01-01T00:00:00Z"}
        for owner in ({"user_id": gone}, {"session_id": session, "item_id": "i0"}):
            for kind in ("GoalSet", "CorrectAnswerGiven"):
                event = sample_events.envelope(kind, owner, at=sample_events.BEGIN) | old
                assert push_events(connection, event) == {"erased": 1}
        other = sample_events.envelope("GoalSet", {"user_id": "gone"}, at=sample_events.BEGIN)
        assert push_events(connection, other | old) == {"invalid": 1}


@pytest.mark.first_in_gate
@pytest.mark.parametrize("version", DUMPS[::-1])
def test_a_dump_loads_and_what_was_erased_since_is_erased_again(
    machine: Machine, use: Use, fake_publisher: FakePublisher, tmp_path: Path, version: str
) -> None:
    shutil.copytree(RELEASED / version / "erasures", tmp_path / "archive" / "erasures")
    archive = Folder(tmp_path / "archive")
    with use(create(machine)) as connection:
        dumps.load(connection, Folder(RELEASED / version), archive, nobody)
        maintenance.migrate()
        schema.set_search_path(connection)
        assert_published_once(connection, fake_publisher, version)
        digests = erasure_ledger.read_digests(archive)
        assert [each.do for each in checks.run(connection, digests).findings] == [checks.ERASE]
        applied = ledger_erasures.apply(connection, archive, lambda *_: None)
        assert applied == (2, 0)
        again = [event for event in EVENTS if "-7f3a" in str(event["data"].get("user_id"))]
        assert push_events(connection, *again) == {"erased": len(again)}
        assert find_in_tables(connection, "-7f3a") == []
        assert checks.run(connection, digests).findings == []
        assert_sound(connection)
        assert_published_once(connection, fake_publisher, version)


@pytest.mark.first_in_gate
@pytest.mark.parametrize("version", WAYS[::-1])
def test_the_way_over_each_version_ends_as_the_direct_one(migrate: Migrate, version: str) -> None:
    direct, way = migrate(DIRECT), migrate(f"{version}/way.xz")
    assert {table for table in direct.rows if way.rows[table] != direct.rows[table]} == set()
    assert way.schema == direct.schema
