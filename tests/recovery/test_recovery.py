"""The runbook recovers a lost database with all events, including those that arrive meanwhile."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from progress.adapters.postgres import database, statements
from progress.serve import data_folder, development_key, ports, readiness
from tests.support import (
    cloud_scheduler,
    folders,
    http_client,
    model_rows,
    recovery_fixtures,
    sample_events,
)
from tests.support.runbooks import Shell, blocks
from tests.support.stage import connect

BLOCKS = recovery_fixtures.BLOCKS
USERS = ("ann", "ben", "cyd")
RESTORE = blocks("Restore the event store")

QUESTION = """{ userProgress { totalItemsLearned accuracyRate totalSessionsCompleted }
  streak { longest } levelStats { level itemsStudied }
  dailyStats(from: "2024-04-01", to: "2024-06-01") { date answers correctAnswers }
  itemStats { edges { node { itemId answers lapses } } } }"""


def block(*words: str) -> list[str]:
    """Return the block of the runbook's restore commands that contains these words."""
    (found,) = (one for one in RESTORE if all(word in "\n".join(one) for word in words))
    return found


class Stack:
    def __init__(self, shell: Shell, schedules: Mapping[str, Any]) -> None:
        self.shell, self.schedules = shell, schedules
        self._port = ports.reserve()
        self.start()

    def start(self) -> None:
        self.shell.type(f"progress up --detach --port {self._port}")
        self.env = json.loads(self.shell.type("progress env --json"))
        self.variables = {
            "DATABASE_URL": self.env["database_url"],
            "REDIS_URL": self.env["redis_url"],
        }

    def type(self, *lines: str) -> str:
        return self.shell.type(*lines, **self.variables)

    def publish(self, events: list[dict[str, Any]]) -> None:
        file = self.shell.folder / "events"
        file.write_text("\n".join(map(json.dumps, events)), encoding="utf-8")
        self.shell.type("progress publish events")

    def await_folded(self, count: int) -> None:
        def folded() -> bool:
            with closing(connect(self.env["database_url"])) as connection:
                there = model_rows.read_value(connection, "head") == count
                return there and not connection.run(BLOCKS["behind"])

        readiness.wait(folded, f"{count} events", seconds=180)
        self.type("progress batch")

    def answers(self) -> list[Any]:
        key = data_folder.at(self.shell.environment["PROGRESS_DATA_DIR"]).key
        tokens = [development_key.token(key, user, ["learner"]) for user in USERS]
        headers = map(http_client.headers, tokens)
        return [http_client.ask(self._port, each, QUESTION) for each in headers]

    def rows(self) -> dict[str, list[str]]:
        with closing(connect(self.env["database_url"])) as connection:
            return recovery_fixtures.every_row(connection)

    def lose_the_database(self) -> None:
        server = self.env["database_url"].replace("/progress?", "/postgres?")
        with closing(database.connect(server)) as connection:
            connection.run("DROP DATABASE progress WITH (FORCE)")
            connection.run(statements.blocks("serve/laptop")["create database"])


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A running stack with a fake Cloud Scheduler, whose jobs the runbook pauses."""
    with (
        cloud_scheduler.serve("effect-local") as (scheduler, schedules),
        folders.create("recovery") as folder,
    ):
        environment = {
            "PROGRESS_DATA_DIR": str(folder / "data"),
            "PUBSUB_PROJECT_ID": "effect-local",
            "PROJECT": "effect-local",
            "CLOUD_SCHEDULER_EMULATOR_HOST": scheduler,
            "RATE_LIMIT_PER_MINUTE": "100000",
        }
        shell = Shell(tmp_path / "clone", [], environment)
        try:
            yield Stack(shell, schedules.jobs)
        finally:
            shell.type("progress down")


def of_everyone(number: int) -> list[dict[str, Any]]:
    return [event for user in USERS for event in sample_events.lesson(user, number)]


@pytest.mark.exhaustive
def test_the_runbook_recovers_a_lost_database(stack: Stack) -> None:
    """The queue is in the lost database, other than that of Google Cloud."""
    words = [sample_events.item_published(f"i{n}") for n in range(3)]
    first, later, meanwhile = of_everyone(0) + of_everyone(1), of_everyone(2), of_everyone(3)
    stack.publish(words + first)
    stack.await_folded(len(words + first))
    table_rows, answers = stack.rows(), stack.answers()
    stack.type(*block("progress dump"))
    stack.publish(later)  # after the dump
    stack.await_folded(len(words + first + later))
    assert stack.answers() != answers

    stack.type(*(line for line in block("schedule pause", "pushes hold") if "pushes" not in line))
    assert {job.state.name for job in stack.schedules.values()} == {"PAUSED"}
    stack.lose_the_database()
    stack.type(*block("progress load dumps"))
    assert "is complete" in stack.type(*block("progress rebuild", "progress check"))
    stack.type("progress batch", *block("warm --afresh"))
    assert stack.rows() == table_rows
    assert stack.answers() == answers

    # The runbook replays the messages with a seek. This test publishes them again, under new ids.
    go_on = block("replay", "pushes resume")
    stack.publish(first + later + meanwhile)
    everything = words + first + later + meanwhile
    stack.await_folded(len(everything))
    stack.type(*(line for line in go_on if "schedule resume" in line), "progress check")
    assert {job.state.name for job in stack.schedules.values()} == {"ENABLED"}
    with closing(connect(stack.env["database_url"])) as connection:
        assert not sample_events.find_differences(connection)
    for answer in stack.answers():
        assert answer["userProgress"]["totalSessionsCompleted"] == 4


@pytest.mark.exhaustive
def test_a_stack_on_a_laptop_serves_what_was_restored(tmp_path: Path) -> None:
    with folders.create("recovery") as folder:
        shell = Shell(tmp_path / "clone", [], {"PROGRESS_DATA_DIR": str(folder / "data")})
        (shell.folder / ".progress").symlink_to(folder / "data")
        stack = Stack(shell, {})
        try:
            events = of_everyone(0) + of_everyone(1)
            stack.publish(events)
            stack.await_folded(len(events))
            answers = stack.answers()
            stack.type(*block("progress dump"))
            for line in block("progress up --detach"):
                if line.startswith("progress up"):
                    stack.start()
                else:
                    shell.type(line)
            assert stack.answers() != answers
            shell.type(*block("progress load dumps"), *block("progress rebuild", "progress check"))
            shell.type(*block("warm --afresh"), "progress schedule resume progress-batch")
            assert stack.answers() == answers
            stack.publish(of_everyone(2))
            stack.await_folded(len(events + of_everyone(2)))
        finally:
            shell.type("progress down")
