"""Commands print stored and imported text as plain text, whatever it contains."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
import typer.main
from typer.core import TyperGroup

from progress import cli as app
from progress.adapters import terminal
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.event_store import dead_letters
from progress.operations import records
from progress.operations.records import OperationKind
from progress.projections import batch, schema
from tests.conftest import Store
from tests.support import cli, recovery_fixtures, sample_events
from tests.support.stage import append

BLOCKS = recovery_fixtures.BLOCKS


TEXT = "[/b]x\x1b[31m\x9b2J\u202e\u2028\nforged"
SHOWN = terminal.escape(TEXT)
IN_JSON = r"[/b]x\u001b[31m\u009b2J\u202e\u2028\nforged"
IN_ERROR = SHOWN.partition(r"\u2028")[0]  # an error is one line: other white space becomes a space
SESSION = "[/b]"  # PostgreSQL replaces unusual characters in the name of a session

# Commands that print no text of others, or print it only with functions of the commands below.
OTHERS = {
    *("up", "down", "env", "token", "open", "schema events", "migrate", "prune-schemas", "batch"),
    *("sql", "move-views", "status", "check", "warm", "rebuild", "analyse", "demo"),
    *("drill", "load", "schema", "schema release", "serve"),
    "erasures apply",
    *("archive restore", "dead-letters replay", "dead-letters discard", "shards release"),
    "shards end-sessions",
    *("operations download", "operations cancel", "operations retry"),
    *("schedule list", "schedule pause", "schedule resume", "schedule run"),
}

Case = tuple[str, list[str], str]  # a command, its arguments, and a part of its output


def list_commands(command: object, path: tuple[str, ...] = ()) -> Iterator[str]:
    inner = command.commands if isinstance(command, TyperGroup) else {}
    if not inner or (path and getattr(command, "invoke_without_command", False)):
        yield " ".join(path)
    for name, each in inner.items():
        yield from list_commands(each, (*path, name))


@pytest.fixture
def hostile(connection: Connection) -> Connection:
    sample_events.record_lessons(connection, TEXT, lessons=1)
    batch.run(connection)
    at = sample_events.BEGIN
    append(connection, [sample_events.envelope(TEXT, {"user_id": TEXT, TEXT: TEXT}, at=at)])
    future = sample_events.envelope(TEXT, {}, at=at.replace(year=2999))
    append(connection, [future, future | {"event_id": TEXT}])
    connection.run("UPDATE event_store.dead_letters SET reason = :text", text=TEXT)
    return connection


def end_operation(connection: Connection, state: str) -> UUID:
    kind = OperationKind.RUN_BATCH
    operation_id = records.accept(connection, kind, caller=TEXT, key=state, subject=None)
    connection.run(
        "UPDATE operations.operations SET state = :state, error = :text, finished_at = started_at,"
        " result = jsonb_build_object('text', CAST(:text AS text)) WHERE operation_id = :id",
        state=state,
        text=TEXT,
        id=operation_id,
    )
    return operation_id


def list_table_cases(connection: Connection) -> list[Case]:
    failed = str(end_operation(connection, "FAILED"))
    return [
        ("learners", [], SHOWN),
        ("dead-letters list", [], SHOWN),
        ("dead-letters count", [], SHOWN),
        ("operations list", [], SHOWN),
        ("operations wait", [failed], IN_ERROR),
        ("shards list", [], SESSION),
        ("doctor", [], SHOWN),
    ]


def list_other_cases(connection: Connection) -> list[Case]:
    done = str(end_operation(connection, "SUCCEEDED"))
    letter = str(dead_letters.list_letters(connection)[0].letter_id)
    return [
        ("learners", ["--json"], IN_JSON),
        ("events", ["--user", TEXT], IN_JSON),
        ("explain", ["--user", TEXT, "--day", f"{sample_events.BEGIN:%Y-%m-%d}"], SHOWN),
        ("dead-letters list", ["--json"], IN_JSON),
        ("dead-letters count", ["--json"], IN_JSON),
        ("dead-letters show", [letter], IN_JSON),
        ("operations list", ["--json"], IN_JSON),
        ("operations show", [done], IN_JSON),
        ("operations wait", [done], IN_JSON),
        ("export", [f"no {TEXT}"], IN_ERROR),
        ("erase", [f"no {TEXT}", "--yes"], IN_ERROR),
    ]


def list_file_cases(folder: Path) -> list[Case]:
    log, lines = folder / f"{TEXT}.csv", folder / "events"
    log.parent.mkdir()
    log.write_text(f'card_id,"{TEXT}"', encoding="utf-8")
    event = sample_events.envelope(TEXT, {}, at=sample_events.BEGIN)
    lines.write_text(json.dumps(event), encoding="utf-8")
    return [
        *[(f"import {name}", [str(log)], IN_ERROR) for name in ("anki", "reviews")],
        ("import list", [f"{log}s", "--name", "n"], IN_ERROR),
        ("import roster", [f"{log}"], IN_ERROR),
        ("publish", [str(lines)], SHOWN),
        ("dump", [str(folder / TEXT)], SHOWN),
        ("archive", ["--now"], SHOWN),
        ("archive check", [], "The archive is complete."),
    ]


def require_plain_output(store: Store, folder: Path, cases: list[Case]) -> None:
    for name, arguments, shown in cases:
        environment = {"PROGRESS_DATA_DIR": str(folder / TEXT), "COLUMNS": "900"}
        answer = cli.progress(store.url, *name.split(), *arguments, **environment)
        printed = answer.stdout + answer.stderr
        assert shown in printed, (name, printed)
        assert all(line.isprintable() for line in printed.split("\n")), (name, printed)
        assert "Traceback" not in printed
        assert "\nforged" not in printed


def test_each_command_either_has_a_case_or_prints_no_text_of_others(
    hostile: Connection, tmp_path: Path
) -> None:
    cases = [*list_table_cases(hostile), *list_other_cases(hostile), *list_file_cases(tmp_path)]
    commands = list_commands(typer.main.get_command(app.build_app()))
    assert {name for name, _, _ in cases} | OTHERS == {*commands}


def test_tables_and_messages_have_no_markup_and_no_control_characters(
    store: Store, hostile: Connection, tmp_path: Path
) -> None:
    with closing(database.connect(store.url, name=SESSION)) as holder:
        schema.set_search_path(holder)
        holder.run("BEGIN")
        holder.run(BLOCKS["hold a shard"], shard=3)
        cases = [*list_table_cases(hostile), *list_file_cases(tmp_path)]
        require_plain_output(store, tmp_path, cases)


@pytest.mark.exhaustive
def test_json_and_errors_have_no_control_characters(
    store: Store, hostile: Connection, tmp_path: Path
) -> None:
    require_plain_output(store, tmp_path, list_other_cases(hostile))
