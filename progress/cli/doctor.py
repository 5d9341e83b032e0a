"""`progress doctor`: the first look of the person on call, in one command.

The parts run at the same time, each with its own connection, and end after ten seconds at the
latest. A part that does not end is a finding, too: a database that hangs stops no other part.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urljoin

import msgspec
import typer
from rich.table import Column, Table

from progress import __version__, settings
from progress.adapters import cloud_sql_backups, storage, terminal
from progress.adapters.postgres import database, table_locks
from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub import loopback
from progress.adapters.terminal import Console
from progress.archive import catalogue
from progress.cli import connections, maintenance, schedule
from progress.cli.shared_options import AsJson
from progress.errors import ProgressError, SettingsError, StackError, TableLocked
from progress.event_store import dead_letters, intake
from progress.event_store.dead_letter_record import DeadLetterKind
from progress.projections import schema
from progress.recovery import checks, dumps, shard_locks
from progress.recovery.checks import Finding
from progress.serve import data_folder

_DEADLINE_S = 10.0
STUCK_S = 60.0  # a fold holds its shard for less
_BACKUP_LATE = timedelta(hours=36)
_PENDING_S = 86_400.0  # as the alert "pending-events"
_OUT, _OUT_S = "events out", 600.0
_UNITS = ("events", "seconds")
_DEAD_LETTERS = "-dead-letter-sub"
_READY = {"query": "/ready", "ingest": "/health", "project": "/"}
_MOST_KINDS = 20
_TEXTS = Path(__file__).parents[1] / "query" / "page" / "en.json"
_MIN_FREE = 0.1, 5e9  # of a disk, and bytes


class Part(msgspec.Struct, frozen=True):
    name: str
    found: str
    findings: list[Finding]
    seconds: float


class Advice(Finding, frozen=True):
    """A finding that is the sender's to mend, and by itself does not make the exit code 1."""


def doctor(as_json: AsJson = False) -> None:
    """Look at everything at once; exit with 1 if something needs a person."""
    parts = look()
    findings = _urgent(parts)
    if as_json:
        terminal.print_json({"healthy": not findings, "parts": parts})
    else:
        _show(parts)
    if findings:
        raise typer.Exit(1)


def _urgent(parts: list[Part]) -> list[Finding]:
    return [one for part in parts for one in part.findings if not isinstance(one, Advice)]


def _show(parts: list[Part]) -> None:
    console = Console()
    table = Table("", "", Column("", overflow="fold"), box=None, show_header=False)
    for part in parts:
        word = "LOOK" if _urgent([part]) else "note" if part.findings else "ok"
        table.add_row(word, part.name, part.found)
    console.print(table)
    for finding in (finding for part in parts for finding in part.findings):
        word = "note" if isinstance(finding, Advice) else "LOOK"
        console.print(f"{word}  {finding.found}: {finding.do}", soft_wrap=True)
    count = len(_urgent(parts))
    things = f"{count} {'thing needs' if count == 1 else 'things need'} a person."
    noted = "; the notes say what to mend" if any(part.findings for part in parts) else ""
    console.print(things if count else f"Nothing needs a person{noted}.")


def look(seconds: float = _DEADLINE_S) -> list[Part]:
    """Run all parts at the same time; a part that has not ended by then is a finding."""
    begun = time.monotonic()
    ended: dict[str, Part] = {}
    blockers: set[int | None] = set()  # one session may let several parts wait

    def run(name: str) -> None:
        try:
            found, findings = PARTS[name]()
        except TableLocked as error:
            found, findings = error.found, [Finding(error.found, error.do)]
            findings = [] if error.session in blockers else findings
            blockers.add(error.session)
        except (ProgressError, *database.ERRORS) as error:
            is_raw = isinstance(error, database.ERRORS)
            found = database.read_failure(error).message if is_raw else str(error)
            findings = [Finding(found, _REPAIRS.get(name, _REPAIR))]
        ended[name] = Part(name, found, findings, round(time.monotonic() - begun, 3))

    # Several threads that convert the settings first, at the same time, crash in msgspec.
    try:
        settings.current()
    except SettingsError as error:  # each part would say so
        return [Part("settings", str(error), [Finding(str(error), "see docs/settings.md")], 0.0)]
    # Threads of a pool would keep the process from ending.
    threads = [threading.Thread(target=run, args=(name,), daemon=True) for name in PARTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, begun + seconds - time.monotonic()))
    late = f"did not end within {seconds:g} s"
    return [
        ended.get(name)
        or Part(name, late, [Finding(f"{name} {late}", _REPAIRS.get(name, _REPAIR))], seconds)
        for name in PARTS
    ]


@contextmanager
def _open() -> Iterator[Connection]:
    """Connect as the owner; the server stops a statement that outlives the deadline."""
    opened = database.connect(
        connections.target().database(), name="progress-doctor", timeout_s=_DEADLINE_S
    )
    with closing(opened) as connection, table_locks.limit_waits(connection):
        yield connection


def _look_at_settings() -> tuple[str, list[Finding]]:
    return settings.describe_unread() or "every variable with the name of one is read", []


def _look_at_versions() -> tuple[str, list[Finding]]:
    with _open() as connection:
        server = database.run(connection, "event_store/status", "server version")[0][0]
        findings = checks.check_migrations(connection)
        has_models = schema.exists(connection, schema.schema_name())
    if not has_models:
        found = f"the read models of this version, {schema.schema_name()}, do not exist"
        findings.append(Finding(found, "run `progress migrate`"))
    return f"progress {__version__}, PostgreSQL {server}, {schema.schema_name()}", findings


def _look_at_catalogue() -> tuple[str, list[Finding]]:
    """Look for languages in which `kind` tells more than the cards of one word apart."""
    with _open() as connection:
        if not schema.exists(connection, schema.schema_name()):
            return "unknown", []
        schema.set_search_path(connection)
        kinds = database.run(connection, "read_models/items", "kinds")
    do = "publish them again, each kind for all words alike (docs/from-an-app.md)"
    findings = [
        Finding(f"the catalogue has {count:,} kinds of items in the language {language}", do)
        for language, count in kinds
        if count > _MOST_KINDS
    ]
    most = max((count for _, count in kinds), default=0)
    return f"at most {most:,} kinds of items in a language", findings


def _look_at_intake() -> tuple[str, list[Finding]]:
    """Look for what senders send and what does not count, or counts wrongly."""
    with _open() as connection:
        if not schema.exists(connection, schema.schema_name()):
            return "unknown", []
        schema.set_search_path(connection)
        asked = {"now": datetime.now(UTC), "declared": intake.declared_types()}
        found = intake.from_rows(database.run(connection, "query/intake", "findings", **asked))
    texts = msgspec.json.decode(_TEXTS.read_bytes())["intake"]
    findings: list[Finding] = []
    for each in found.findings:
        said = texts["kinds"][each.kind].format(count=f"{each.count:,}")
        do = texts["meant"].format(meant=each.meant) if each.meant else texts["mend"][each.kind]
        named = f" {each.name}" if each.name else ""
        findings.append(Advice(f"{said}{named} (such as {each.example})", do))
    return f"{found.events:,} events of seven days, findings: {len(findings)}", findings


def _look_at_roles() -> tuple[str, list[Finding]]:
    with _open() as connection:
        findings = checks.check_roles(connection, connections.target().logins())
    return findings[0].found if findings else "as this version needs them", findings


def _look_at_status() -> tuple[str, list[Finding]]:
    with _open() as connection:
        counts, projections = maintenance.read_status(connection)
        pending = maintenance.read_oldest_pending(connection)
    late = [row for row in projections if row["status"] != "NORMAL" and row["name"] != _OUT]
    findings = []
    if late:
        names = late[0]["name"] + (f" and {len(late) - 1} more" if late[1:] else "")
        events, seconds = (max(row[f"{unit}_behind"] for row in late) for unit in _UNITS)
        found = f"the projection of {names} is {events:,} events and {seconds:,.0f} s behind"
        findings.append(Finding(found, "see docs/runbook.md, Projection lag"))
    waited = f"for {pending / 3_600:,.1f} hours"
    if pending > _PENDING_S:
        found = f"an event has waited for its session {waited}"
        findings.append(Finding(found, "see docs/runbook.md, Pending events"))
    behind = max((row["events_behind"] for row in projections), default=0)
    held = f"{counts['pending']:,} pending" + (f" (the oldest {waited})" if pending else "")
    if conflicts := counts["learner_conflicts"]:
        held += f", {conflicts:,} of learners dropped in 30 days (an app used an id twice)"
    return f"{counts['events']:,} events, {held}, {behind:,} behind at most", findings


def _look_at_publication() -> tuple[str, list[Finding]]:
    with _open() as connection:
        count, seconds, answer = database.run(connection, "event_store/publication", "waiting")[0]
    if not count:
        return "nothing waits", []
    waited = f"{count:,} events or milestones have waited to leave for {seconds / 60:,.0f} minutes"
    found = f"{waited}; the last answer: {answer}" if answer else waited
    do = "look at the receiver and at WEBHOOK_URL, or see docs/runbook.md, Publication lag"
    return found, [Finding(found, do)] if seconds > _OUT_S else []


def _look_at_log() -> tuple[str, list[Finding]]:
    erased = connections.erased_digests()
    with _open() as connection:
        report = checks.run(connection, erased)
    return f"the log ends at position {report.head:,}", [*report.findings]


def _look_at_shards() -> tuple[str, list[Finding]]:
    with _open() as connection:
        shards = shard_locks.list_shards(connection)
    behind = [row for row in shards if row.events_behind]
    stuck = [row for row in shards if row.pid and (row.seconds > STUCK_S or row.waits_for)]
    findings = []
    for row in stuck:
        waits = f", waits for {' and '.join(map(str, row.waits_for))}" if row.waits_for else ""
        session = f"session {row.pid} ({row.login} {row.application}, {row.state})"
        found = f"{session} has held shard {row.shard} for {row.seconds:,.0f} s{waits}"
        findings.append(Finding(found, f"run `progress shards release {row.shard}`"))
    return f"{len(behind)} of {len(shards)} shards have events to fold", findings


def _look_at_schedules() -> tuple[str, list[Finding]]:
    try:
        schedules = schedule.scheduler().all()
    except StackError as error:
        return f"unknown: {error}", []
    if not schedules:
        found = f"there are no schedules in {settings.current().scheduler_region}"
        return found, [Finding(found, "set SCHEDULER_REGION to the region of the tfvars")]
    findings = []
    for each in schedules:
        if each.state != "ENABLED":
            do = f"run `progress schedule resume {each.name}` once the work on the system is over"
            findings.append(Finding(f"the schedule {each.name} is {each.state.lower()}", do))
        if each.code:
            found = f"the last run of {each.name} ended with code {each.code}"
            findings.append(Finding(found, "read its logs, then `progress schedule run`"))
    return ", ".join(f"{each.name} {each.state.lower()}" for each in schedules), findings


def _look_at_redis() -> tuple[str, list[Finding]]:
    try:
        url = connections.target().redis()
    except SettingsError:
        return "off", []
    from progress.adapters.redis import blocking_client  # imports redis-py, which takes 150 ms

    blocking_client.check(url)
    return "takes writes", []


def _look_at_dead_letters() -> tuple[str, list[Finding]]:
    """Letters about the future need nobody: they are appended when they are due."""
    with _open() as connection:
        reasons = dead_letters.count_by_reason(connection)
    findings = [
        Finding(
            f"{row.letters:,} dead letters, {row.kind}: {row.reason}",
            f"once a new version folds them, `progress dead-letters replay --kind {row.kind}`"
            if row.kind == DeadLetterKind.POISONED
            else "let the publisher send them again, corrected, with new ids, then `progress "
            f"dead-letters discard --kind {row.kind}`; if the rule was wrong and has changed, "
            "`replay` instead",
        )
        for row in reasons
        if row.kind != DeadLetterKind.FUTURE
    ]
    most = f", most of them {reasons[0].kind}: {reasons[0].reason}" if reasons else ""
    return f"{sum(row.letters for row in reasons):,} open{most}", findings


def _look_at_dumps() -> tuple[str, list[Finding]]:
    where = settings.current().dump_to
    newest = dumps.find_newest(storage.open_storage(where)) if where else None
    archived = catalogue.read(connections.archive())
    with _open() as connection:
        has_tables = database.run(connection, "recovery/dumps", "has log")[0][0]
        since = has_tables and database.run(connection, "recovery/dumps", "since")[0][0]
    now, do = datetime.now(UTC), "look for errors of the run, then run `progress dump`"
    found = f"there is no dump in {where}" if where else "no dumps are made: DUMP_TO is not set"
    if newest:
        name, dump = newest
        hours = (now - dump.taken_at) / timedelta(hours=1)
        age = f"{hours:,.1f} hours old" if hours >= 0 else "from a clock that was ahead"
        found = (
            f"dump {name} in {where}, {age}, up to position {dump.head:,}, "
            f"by version {dump.version}"
        )
    if not since and newest:
        lost = f"the database is empty beside the {found}"
        return found, [Finding(lost, f"run `progress load {where}`")]
    if not since and archived.end:
        upto = f"the database is empty beside an archive of {archived.end:,} events"
        return found, [Finding(upto, "see docs/runbook.md, Restore the log from the archive")]
    last = {f"no dump for over a day: {found}": newest and newest[1].taken_at} if where else {}
    if where and (elsewhere := settings.current().dump_copy_to):
        copied_at = dumps.find_copied(*map(storage.open_storage, (where, elsewhere)))
        last[f"no dump was copied to {elsewhere} for over a day"] = copied_at
    late = [what for what, at in last.items() if abs(now - (at or since or now)) >= dumps.LATE]
    return found, [Finding(what, do) for what in late]


def _look_at_backups() -> tuple[str, list[Finding]]:
    """Look for a backup of Cloud SQL; one is made every six hours."""
    if not (instance := settings.current().instance_connection_name):
        return "this is no Cloud SQL", []
    backups = cloud_sql_backups.list_ended(instance)
    whole = next((backup for backup in backups if not backup.error), None)
    age = whole and datetime.now(UTC) - whole.ended_at
    hours = f"{age / timedelta(hours=1):,.1f} hours old" if age is not None else "missing"
    found, do = f"the newest backup of {instance} is {hours}", "see docs/runbook.md, Batch job"
    findings = [Finding(found, do)] if age is None or age > _BACKUP_LATE else []
    if backups and backups[0].error:
        findings.append(Finding(f"a backup of {instance} failed: {backups[0].error}", do))
    return found, findings


def _look_at_backlog() -> tuple[str, list[Finding]]:
    undelivered = connections.count_undelivered()
    if isinstance(undelivered, str):
        return undelivered, []
    if not undelivered:
        return "there is no Pub/Sub on this machine", []
    refused = [each for each in undelivered if each.subscription.endswith(_DEAD_LETTERS)]
    findings = [
        Finding(
            f"{each.messages:,} messages wait in {each.subscription}",
            "see docs/runbook.md, Dead letters",
        )
        for each in refused
        if each.messages
    ]
    held = sum(each.messages for each in undelivered)
    return f"{held:,} messages are not delivered yet", findings


def _look_at_system() -> tuple[str, list[Finding]]:
    try:
        at = data_folder.running(connections.target().folder).addresses
    except StackError as error:
        needs = [Finding(str(error), _READ_LOG)] if connections.target().is_server else []
        return str(error), needs
    roots = {"query": at["graphql_url"], "ingest": at["ingest_url"], "project": at["project_url"]}
    answers = {
        name: loopback.find_status(urljoin(roots[name], path), timeout_s=_DEADLINE_S / 4)
        for name, path in _READY.items()
    }
    findings = [
        Finding(f"{name} answers {answer or 'nothing'}", _READ_LOG)
        for name, answer in answers.items()
        if answer != 200
    ]
    return ", ".join(f"{name} {answer or 'silent'}" for name, answer in answers.items()), findings


def _look_at_disk() -> tuple[str, list[Finding]]:
    folder = connections.target().folder.path
    if not folder.is_dir():
        return "there is no data folder here", []
    disk = shutil.disk_usage(folder)
    share = disk.free / disk.total
    found = f"the disk of {folder} has {disk.free / 1e9:,.1f} GB free ({share:.0%})"
    do = "free some space, or move PROGRESS_DATA_DIR to a larger disk"
    is_enough = share >= _MIN_FREE[0] and disk.free >= _MIN_FREE[1]
    return found, [] if is_enough else [Finding(found, do)]


PARTS: dict[str, Callable[[], tuple[str, list[Finding]]]] = {
    "settings": _look_at_settings,
    "versions": _look_at_versions,
    "system": _look_at_system,
    "disk": _look_at_disk,
    "roles": _look_at_roles,
    "catalogue": _look_at_catalogue,
    "intake": _look_at_intake,
    "shards": _look_at_shards,  # the cause of what is behind comes first
    "status": _look_at_status,
    _OUT: _look_at_publication,
    "log": _look_at_log,
    "schedules": _look_at_schedules,
    "redis": _look_at_redis,
    "dead letters": _look_at_dead_letters,
    "dumps": _look_at_dumps,
    "backups": _look_at_backups,
    "backlog": _look_at_backlog,
}
_READ_LOG = "read its log lines, and check that the database answers"
_REPAIR = "check that the database answers, and that the settings name it"
_REPAIRS = {
    "log": "run `progress check`, which has no deadline",
    "schedules": "run `progress schedule list`",
    "redis": "check that it runs, and that its user may write and run scripts (EVAL); "
    "until then, the database answers everything",
    "backlog": "run `progress status`",
    "backups": "run `gcloud sql backups list --instance=progress`",
    "dumps": "repair or remove it, then run `progress dump`",
}
