"""`progress events` selects events and follows the log; `progress learners` finds learners."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from progress import settings
from progress.adapters.postgres.database import Connection
from progress.projections import batch
from tests.conftest import Store
from tests.support import cli, sample_events
from tests.support.stage import append


@pytest.fixture
def trail(store: Store, connection: Connection) -> Store:
    for user, number in (("anna", 1), ("bert", 1), ("anna", 2)):
        append(connection, sample_events.lesson(user, number))
    return store


def positions(store: Store, *options: str) -> list[int]:
    lines = cli.expect_success(cli.progress(store.url, "events", *options)).splitlines()
    return [json.loads(line)["global_position"] for line in lines]


def test_events_are_selected_by_learner_type_and_time(trail: Store, connection: Connection) -> None:
    assert positions(trail) == list(range(1, 25))
    assert positions(trail, "--user", "bert") == list(range(9, 17))
    assert positions(trail, "--type", "SessionStarted") == [1, 9, 17]
    assert positions(trail, "--type", "SessionStarted", "--user", "anna") == [1, 17]
    assert positions(trail, "--limit", "2") == [23, 24]
    assert positions(trail, "--type", "SessionStarted", "--limit", "2") == [9, 17]
    assert positions(trail, "--user", "anna", "--limit", "3") == [22, 23, 24]
    assert positions(trail, "--since", "1h", "--limit", "30") == list(range(1, 25))
    [[recorded_at]] = connection.run(
        "SELECT created_at FROM event_store.events WHERE global_position = 9"
    )
    assert positions(trail, "--since", recorded_at.isoformat()) == list(range(9, 25))
    later = (recorded_at + timedelta(days=1)).isoformat()
    for options in (("--since", later), ("--since", later, "--limit", "1", "--user", "anna")):
        assert positions(trail, *options) == []


def test_follow_prints_new_events_until_ctrl_c(trail: Store, connection: Connection) -> None:
    with following(trail, "--limit", "1", "--follow") as lines:
        assert json.loads(next(lines))["global_position"] == 24
        append(connection, sample_events.lesson("anna", 3))
        assert json.loads(next(lines))["global_position"] == 25


@contextmanager
def following(store: Store, *options: str) -> Iterator[Iterator[str]]:
    """Yield the lines that `progress events` prints. Then send Ctrl-C, and assert a silent end."""
    command = subprocess.Popen(
        [*cli.COMMAND, "events", *options],
        env=settings.child_env(DATABASE_URL=store.url),
        cwd=cli.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert command.stdout
    try:
        yield iter(command.stdout.readline, "")
        command.send_signal(signal.SIGINT)
        _, errors = command.communicate(timeout=60)
        assert (command.returncode, errors) == (130, "")
    finally:
        command.kill()
        command.wait()


def test_learners_are_found_by_a_part_of_their_id(connection: Connection, store: Store) -> None:
    for user in ("anna", "Johanna", "bert"):
        append(connection, sample_events.lesson(user, 1))
    batch.run(connection)

    def find(*arguments: str) -> list[str]:
        output = cli.expect_success(cli.progress(store.url, "learners", *arguments, "--json"))
        return [json.loads(line)["user_id"] for line in output.splitlines()]

    assert find() == ["Johanna", "anna", "bert"]
    assert find("ANNA") == ["Johanna", "anna"]
    assert find("%") == []
    assert find("--first", "1") == ["Johanna"]
    listing = cli.expect_success(cli.progress(store.url, "learners", "bert"))
    assert "bert" in listing
    more = cli.expect_success(cli.progress(store.url, "learners", "--first", "1"))
    assert "more than 1 such learners" in more
    assert "no such learners" in cli.expect_success(cli.progress(store.url, "learners", "zoe"))


def test_a_user_at_a_terminal_is_asked_before_read_models_are_dropped(store: Store) -> None:
    controller, terminal = pty.openpty()
    os.write(controller, b"n\n")
    refused = subprocess.run(
        [*cli.COMMAND, "prune-schemas"],
        cwd=cli.ROOT,
        env=settings.child_env(DATABASE_URL=store.url),
        stdin=terminal,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(controller)
    os.close(terminal)
    assert refused.returncode == 1
    assert "Drop the read models of all other versions?" in refused.stdout
    assert "Kept" not in refused.stdout
    assert "Kept" in cli.expect_success(cli.progress(store.url, "prune-schemas", "--yes"))
