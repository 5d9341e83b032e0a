"""`progress doctor` names what needs a person, whatever hangs."""

import json
import shutil
import socket
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from google.cloud.sqladmin_v1 import SqlBackupsServiceClient, types
from google.cloud.sqladmin_v1.services.sql_backups_service.transports import (
    SqlBackupsServiceGrpcTransport,
)

from progress import __version__, settings
from progress.adapters import cloud_sql_backups
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.storage.storage import Folder
from progress.cli import doctor
from progress.projections import batch, gauges, schema
from progress.projections.projector import Projector
from progress.recovery import dumps
from tests.conftest import Store
from tests.support import (
    archives,
    cli,
    cloud_scheduler,
    recovery_fixtures,
    rows_by_hand,
    sample_events,
    stage,
)
from tests.support.fake_publisher import describe, serve_grpc
from tests.support.postgres_servers import connect_plainly
from tests.support.pushes import record_push


def test_each_finding_says_what_to_do_and_a_common_one_stands_once(
    store: Store, connection: Connection
) -> None:
    record_push(connection, b'{"event_id": "x", "event_type": "SessionStarted"}')
    ((newest,),) = connection.run(
        "DELETE FROM public.progress_migrations"
        " WHERE name = (SELECT max(name) FROM public.progress_migrations) RETURNING name"
    )
    connection.run("ALTER FUNCTION event_store.redact_events OWNER TO CURRENT_USER")
    cli.expect_failure(
        cli.progress(store.url, "check"), "TO progress_erasure", "`progress migrate`"
    )
    with closing(database.connect(store.url, name="locker")) as locker:
        locker.run("BEGIN")
        locker.run("LOCK TABLE event_store.events IN ACCESS EXCLUSIVE MODE")
        answer = cli.progress(store.url, "doctor")
    assert answer.returncode == 1, answer.stderr
    found = [line for line in answer.stdout.splitlines() if line.startswith("LOOK  ")]
    (letters,) = (line for line in found if "1 dead letters, invalid" in line)
    assert "progress dead-letters discard --kind invalid" in letters
    (migration,) = (line for line in found if newest in line)
    assert "run `progress migrate`" in migration
    (owner,) = (line for line in found if "redact_events" in line)
    assert "OWNER TO progress_erasure: run `progress migrate`" in owner
    (locked,) = (line for line in found if "has locked event_store.events" in line)
    assert "locker" in locked
    assert f"{len(found)} things need a person." in answer.stdout


@pytest.mark.parametrize(
    ("region", "found"),
    [
        ("asia-northeast1", "the schedule progress-batch is paused"),
        ("europe-west1", "there are no schedules in europe-west1"),
    ],
)
def test_the_schedules_are_those_of_the_region_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, region: str, found: str
) -> None:
    with cloud_scheduler.serve("effect-local", "asia-northeast1") as (address, scheduler):
        for job in scheduler.jobs.values():
            job.state = "PAUSED"  # type: ignore[assignment] # proto converts it
        monkeypatch.setenv("CLOUD_SCHEDULER_EMULATOR_HOST", address)
        monkeypatch.setenv("SCHEDULER_REGION", region)
        settings.current.cache_clear()
        _, findings = doctor.PARTS["schedules"]()
    assert found in [finding.found for finding in findings]


def test_the_newest_dump_is_described_and_a_missing_one_and_an_empty_database_need_a_person(
    store: Store,
    stores: Callable[[], Store],
    connection: Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def look(url: str) -> tuple[str, list[tuple[str, str]]]:
        monkeypatch.setenv("DATABASE_URL", url)
        settings.current.cache_clear()
        found, findings = doctor.PARTS["dumps"]()
        return found, [(finding.found, finding.do) for finding in findings]

    def make_older(hours: int) -> None:
        manifest = where / "000001" / dumps.NAME
        fields = json.loads(manifest.read_text())
        taken_at = datetime.now(UTC) - timedelta(hours=hours)
        manifest.write_text(json.dumps(fields | {"taken_at": taken_at.isoformat()}))

    do = "look for errors of the run, then run `progress dump`"
    monkeypatch.setenv("PROGRESS_DATA_DIR", str(tmp_path))
    sample_events.record_lessons(connection, "ann", lessons=1)
    assert look(store.url) == ("no dumps are made: DUMP_TO is not set", [])
    where = tmp_path / "dumps"
    monkeypatch.setenv("DUMP_TO", str(where))
    none = f"there is no dump in {where}"
    assert look(store.url) == (none, [])  # the system is new
    connection.run("ALTER TABLE event_store.events DISABLE TRIGGER append_only")
    connection.run(recovery_fixtures.BLOCKS["record earlier"], hours=31, after=0)
    assert look(store.url) == (none, [(f"no dump for over a day: {none}", do)])
    cli.expect_success(cli.progress(store.url, "dump"))
    found = f"dump 000001 in {where}, 0.0 hours old, up to position 11, by version {__version__}"
    assert look(store.url) == (found, [])
    empty = stores().url
    beside = f"the database is empty beside the {found}"
    for name in ("migrated", "bare"):
        assert look(empty)[1] == [(beside, f"run `progress load {where}`")], name
        with closing(connect_plainly(empty)) as owner:
            owner.run("DROP SCHEMA IF EXISTS event_store CASCADE")
    for hours, is_missing in ((29, False), (31, True), (-5, False), (-31, True)):
        make_older(hours)
        assert bool(look(store.url)[1]) == is_missing, hours
    shutil.rmtree(where)
    batch.run(connection)
    archives.run(connection, Folder(tmp_path / "archive"))
    assert look(empty)[1][0][0] == "the database is empty beside an archive of 11 events"


@pytest.mark.parametrize(
    ("ended", "found"),
    [
        ({5: "SUCCESSFUL", 60: "FAILED"}, []),
        ({0: "RUNNING", 35: "SUCCESSFUL"}, []),
        ({37: "SUCCESSFUL"}, ["the newest backup of p:r:progress is 37.0 hours old"]),
        ({1: "FAILED", 7: "SUCCESSFUL"}, ["a backup of p:r:progress failed: no space"]),
        ({}, ["the newest backup of p:r:progress is missing"]),
    ],
)
def test_a_late_or_failed_backup_of_cloud_sql_needs_a_person(
    monkeypatch: pytest.MonkeyPatch, ended: dict[int, str], found: list[str]
) -> None:
    def answer(request: types.ListBackupsRequest, _: object) -> types.ListBackupsResponse:
        assert (request.parent, request.filter) == ("projects/p", "instance:progress")
        backups = [
            types.Backup(
                instance="progress",
                state=state,
                error={"message": "no space"} if state == "FAILED" else None,
                backup_interval={"end_time": datetime.now(UTC) - timedelta(hours=hours)},
            )
            for hours, state in ended.items()
        ]
        at = int(request.page_token or 0)  # one for each page
        more = str(at + 1) if at + 1 < len(backups) else ""
        return types.ListBackupsResponse(backups=backups[at : at + 1], next_page_token=more)

    monkeypatch.setenv("INSTANCE_CONNECTION_NAME", "p:r:progress")
    settings.current.cache_clear()
    handler = describe("google.cloud.sql.v1.SqlBackupsService", types, ListBackups=answer)
    with serve_grpc(handler) as address, grpc.insecure_channel(address) as channel:
        transport = SqlBackupsServiceGrpcTransport(channel=channel)
        client = SqlBackupsServiceClient(transport=transport)
        monkeypatch.setattr(cloud_sql_backups, "_client", lambda: client)
        _, findings = doctor.PARTS["backups"]()
    assert [finding.found for finding in findings] == found


def test_an_event_that_waits_for_its_session_for_a_day_needs_a_person(
    store: Store, connection: Connection
) -> None:
    answer = {"session_id": "lost", "item_id": "i1", "response_time_ms": 900}
    stage.append(
        connection, [sample_events.envelope("CorrectAnswerGiven", answer, at=sample_events.BEGIN)]
    )
    for hours, exit_code in ((23, 0), (25, 1)):
        connection.run(
            "UPDATE event_store.pending SET received_at = now() - make_interval(hours => :hours)",
            hours=hours,
        )
        answered = cli.progress(store.url, "doctor")
        assert answered.returncode == exit_code, answered.stdout
        assert f"1 pending (the oldest for {hours}.0 hours)" in " ".join(answered.stdout.split())
        shown = cli.expect_success(cli.progress(store.url, "status"))
        assert f"The oldest pending event has waited for its session for {hours}.0 hours." in shown
        report = json.loads(cli.expect_success(cli.progress(store.url, "status", "--json")))
        assert report["oldest_pending_seconds"] == pytest.approx(hours * 3_600, abs=60)
        assert gauges.measure(connection).pending_ms == pytest.approx(hours * 3.6e6, abs=6e4)
    assert "LOOK  an event has waited for its session for 25.0 hours" in answered.stdout


def test_a_language_in_which_each_word_has_a_kind_of_its_own_needs_a_person(
    store: Store, connection: Connection
) -> None:
    items = ({"item_id": f"i{n}", "language": "en-GB", "kind": f"word {n}"} for n in range(20))
    rows_by_hand.insert(connection, "items", {"item_id": "other", "language": "pt"}, *items)
    finding = "the catalogue has 21 kinds of items in the language en: publish them again"
    for exit_code in (0, 1):
        answered = cli.progress(store.url, "doctor")
        assert (answered.returncode, finding in answered.stdout) == (exit_code, exit_code == 1)
        if not exit_code:
            rows_by_hand.insert(connection, "items", {"item_id": "no kind", "language": "en"})


def test_what_a_sender_should_mend_is_a_note_that_needs_nobody(
    store: Store, connection: Connection
) -> None:
    typed = sample_events.envelope("GoalSett", {"user_id": "ann"}, at=sample_events.BEGIN)
    stage.append(connection, [typed])
    Projector(connection).catch_up_all()  # else it may be late
    answer = cli.expect_success(cli.progress(store.url, "doctor"))
    (note,) = (line for line in answer.splitlines() if line.startswith("note  "))
    such = f"(such as {typed['event_id']})"
    assert note.endswith(
        f"  Events of an unknown type: 1 GoalSett {such}: Send GoalSet in its place."
    )
    assert "Nothing needs a person; the notes say what to mend." in answer
    assert "LOOK" not in answer
    report = json.loads(cli.expect_success(cli.progress(store.url, "doctor", "--json")))
    (found,) = (part["findings"] for part in report["parts"] if part["name"] == "intake")
    assert (report["healthy"], len(found)) == (True, 1)
    assert [part["name"] for part in report["parts"]] == [*doctor.PARTS]


def test_a_session_that_keeps_a_shard_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "STUCK_S", 0)
    monkeypatch.setenv("DATABASE_URL", store.url)
    settings.current.cache_clear()
    with closing(database.connect(store.url, name="keeper")) as keeper:
        schema.set_search_path(keeper)
        keeper.run("BEGIN")
        keeper.run(recovery_fixtures.BLOCKS["hold a shard"], shard=3)
        parts = {part.name: part for part in doctor.look(seconds=60)}
    (finding,) = parts["shards"].findings
    assert "keeper" in finding.found
    assert "shard 3" in finding.found
    assert finding.do == "run `progress shards release 3`"


@pytest.mark.parametrize(
    ("total", "free", "is_found"),
    [(100, 11, False), (100, 9, True), (40, 4.5, True), (20, 5.5, False)],
)
def test_a_disk_that_is_nearly_full_needs_a_person(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, total: float, free: float, is_found: bool
) -> None:
    monkeypatch.setenv("PROGRESS_DATA_DIR", str(tmp_path))
    settings.current.cache_clear()
    usage = SimpleNamespace(total=total * 1e9, free=free * 1e9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    found, findings = doctor.PARTS["disk"]()
    assert f"{free:.1f} GB free" in found
    assert bool(findings) == is_found


def test_a_misspelt_setting_is_one_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGRESS_URL", "https://example.com")
    settings.current.cache_clear()
    ((finding,),) = (part.findings for part in doctor.look())
    assert "PROGRESS_URL" in finding.found


def test_a_server_that_never_answers_keeps_no_part_past_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("DATABASE_URL", f"postgresql://u@127.0.0.1:{port}/d?sslmode=disable")
        settings.current.cache_clear()
        parts = {part.name: part for part in doctor.look(seconds=0.5)}
    assert [*parts] == [*doctor.PARTS]
    for name in ("versions", "status", "log", "shards", "dead letters"):
        (finding,) = parts[name].findings
        assert finding.found == f"{name} did not end within 0.5 s"
