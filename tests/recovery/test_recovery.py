"""The runbook recovers a lost database with all events, including those that arrive meanwhile."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from progress.adapters.postgres import database, statements
from tests.support import cloud_scheduler, folders, recovery_fixtures, sample_events
from tests.support.local_stack import Stack
from tests.support.runbooks import Shell, blocks

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


class Recovered(Stack):
    """A local stack, and a shell that types the runbook's commands for it."""

    def __init__(self, folder: Path, **changed: str) -> None:
        super().__init__(folder / "data", **changed)
        self.shell_of_runbook = Shell(folder / "clone", [], self._settings())
        self.up()

    def type(self, *lines: str) -> str:
        """Type lines that name the database; it may be an empty one."""
        names = {"DATABASE_URL": "database_url", "REDIS_URL": "redis_url"}
        own = {name: self.addresses[address] for name, address in names.items()}
        return self.shell_of_runbook.type(*lines, **own)

    def record(self, *events: dict[str, Any]) -> None:
        self.publish(*events)
        self.run_batch()

    def answers(self) -> list[Any]:
        return [self.ask(user, QUESTION) for user in USERS]

    def rows(self) -> dict[str, list[str]]:
        with closing(self.connect()) as connection:
            return recovery_fixtures.every_row(connection)

    def lose_the_database(self) -> None:
        server = self.database_url.replace("/progress?", "/postgres?")
        with closing(database.connect(server)) as connection:
            connection.run("DROP DATABASE progress WITH (FORCE)")
            connection.run(statements.blocks("serve/laptop")["create database"])


@contextmanager
def run(**changed: str) -> Iterator[Recovered]:
    with folders.create("recovery") as folder:
        stack = Recovered(folder, **changed)
        try:
            yield stack
        finally:
            stack.progress("down")


def of_everyone(number: int) -> list[dict[str, Any]]:
    return [event for user in USERS for event in sample_events.lesson(user, number)]


@pytest.mark.exhaustive
def test_the_runbook_recovers_a_lost_database() -> None:
    """A fake Cloud Scheduler has the jobs that the runbook pauses."""
    project = {"PUBSUB_PROJECT_ID": "effect-local", "PROJECT": "effect-local"}
    words = [sample_events.item_published(f"i{n}") for n in range(3)]
    first, later, meanwhile = of_everyone(0) + of_everyone(1), of_everyone(2), of_everyone(3)
    with (
        cloud_scheduler.serve("effect-local") as (scheduler, schedules),
        run(**project, CLOUD_SCHEDULER_EMULATOR_HOST=scheduler) as stack,
    ):
        stack.record(*words, *first)
        table_rows, answers = stack.rows(), stack.answers()
        stack.type(*block("progress dump"))
        stack.record(*later)  # after the dump
        assert stack.answers() != answers

        hold = block("schedule pause", "pushes hold")
        stack.type(*(line for line in hold if "pushes" not in line))
        assert {job.state.name for job in schedules.jobs.values()} == {"PAUSED"}
        stack.lose_the_database()
        stack.type(*block("progress load dumps"))
        assert "is complete" in stack.type(*block("progress rebuild", "progress check"))
        stack.type("progress batch", *block("warm --afresh"))
        assert stack.rows() == table_rows
        assert stack.answers() == answers

        # The runbook replays the messages with a seek. This test posts the events again.
        go_on = block("replay", "pushes resume")
        stack.record(*first, *later, *meanwhile)
        stack.type(*(line for line in go_on if "schedule resume" in line), "progress check")
        assert {job.state.name for job in schedules.jobs.values()} == {"ENABLED"}
        assert stack.count("appended") == len(words + first + later + meanwhile)
        with closing(stack.connect()) as connection:
            assert not sample_events.find_differences(connection)
        for answer in stack.answers():
            assert answer["userProgress"]["totalSessionsCompleted"] == 4


@pytest.mark.exhaustive
def test_a_stack_on_a_laptop_serves_what_was_restored() -> None:
    with run() as stack:
        shell = stack.shell_of_runbook
        (shell.folder / ".progress").symlink_to(stack.folder.path)
        stack.record(*of_everyone(0), *of_everyone(1))
        answers = stack.answers()
        stack.type(*block("progress dump"))
        for line in block("progress up --detach"):
            shell.type(line.replace("--detach", f"--detach --port {stack.port}"))
        assert stack.answers() != answers
        shell.type(*block("progress load dumps"), *block("progress rebuild", "progress check"))
        shell.type(*block("warm --afresh"), "progress schedule resume progress-batch")
        assert stack.answers() == answers
        stack.record(*of_everyone(2))
        assert stack.count("appended") == len(of_everyone(0)) * 3
