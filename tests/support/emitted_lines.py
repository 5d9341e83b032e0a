"""The log lines that the functions and the job of a running local stack emit."""

import json
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from progress.errors import StackError
from progress.serve import readiness
from tests.support import browser, http_client
from tests.support.subscription_client import Stream

FUNCTIONS = ("ingest", "project", "query", "batch")

Line = dict[str, Any]


@dataclass(frozen=True)
class Emitted:
    lines: list[Line]

    @property
    def fields(self) -> set[str]:
        return {name for line in self.lines for name in line}

    def of(self, operation: str) -> list[Line]:
        return [line for line in self.lines if line.get("operation") == operation]


@dataclass(frozen=True)
class RunningStack:
    folder: Path

    def emitted(self) -> Emitted:
        lines: list[Line] = []
        for part in FUNCTIONS:
            log = self.folder / "logs" / f"{part}.log"
            if log.exists():
                lines.extend(_read(log.read_text(encoding="utf-8")))
        return Emitted(lines)

    def wait_for(self, *operations: str) -> Emitted:
        def is_complete() -> bool:
            lines = self.emitted().lines
            return all(
                any(line.get("operation") == operation and "outcome" in line for line in lines)
                for operation in operations
            )

        readiness.wait(is_complete, f"lines about {', '.join(operations)}", seconds=60)
        return self.emitted()


def _read(text: str) -> Iterator[Line]:
    for line in text.splitlines(keepends=True):
        if line.startswith("{") and line.endswith("\n"):  # a process may be writing the last line
            yield json.loads(line)


QUESTION = "{ userProgress { totalItemsLearned } streak { current } }"


def exercise(stack: browser.Stack, key: str = "signals") -> RunningStack:
    """Make the stack emit each kind of line: ingest, wake-up, query, mutation, stream, batch."""
    driven = RunningStack(stack.folder)
    learner = http_client.headers(stack.token("signals"))
    admin = http_client.headers(stack.token("operator", "admin"))

    def is_woken() -> bool:
        """Publish; return whether a wake-up folds events, because the batch job may fold them."""
        stack.publish(*browser.lesson("signals", 2))
        with suppress(StackError):
            readiness.wait(
                lambda: any("projection_delay_ms" in line for line in driven.emitted().of("wake")),
                "a wake-up that folds",
                seconds=10,
            )
            return True
        return False

    readiness.wait(is_woken, "a wake-up that folds", seconds=60)

    def is_cached() -> bool:
        http_client.ask(stack.port, learner, QUESTION)
        lines = driven.emitted().lines
        return any(line.get("cache_result") == "hit" for line in lines)

    readiness.wait(is_cached, "a cached response", seconds=60)
    mutation = f'mutation {{ runBatch(idempotencyKey: "{key}") {{ id }} }}'
    http_client.ask(stack.port, admin, mutation)
    subscription = "subscription { progressUpdated { totalItemsLearned } }"
    with closing(Stream(stack.port, subscription, headers=learner)) as stream:
        assert stream.next_event()
    http_client.fetch(stack.port, "POST", "/events", b"[]", learner)
    driven.wait_for("ingest", "wake", "query", "mutation", "stream", "post", "batch", "run_batch")
    return driven


@pytest.fixture(scope="session")
def emitted(demo: browser.Stack) -> Emitted:
    return exercise(demo).emitted()
