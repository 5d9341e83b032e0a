"""The log lines that the functions and the job of a running local stack emit."""

import json
from contextlib import closing, suppress
from typing import Any

import pytest

from progress.errors import StackError
from progress.serve import readiness
from tests.support import browser, http_client, pushes
from tests.support.local_stack import Stack
from tests.support.subscription_client import Stream

FUNCTIONS = ("ingest", "project", "query", "batch")

Line = dict[str, Any]


def read(stack: Stack) -> list[Line]:
    """Return the lines of a stack, but not one that a process is writing."""
    return [
        json.loads(line)
        for part in FUNCTIONS
        if (log := stack.folder.log(part)).exists()
        for line in log.read_text(encoding="utf-8").splitlines(keepends=True)
        if line.startswith("{") and line.endswith("\n")
    ]


QUESTION = "{ userProgress { totalItemsLearned } streak { current } }"


def exercise(stack: Stack, key: str = "signals") -> list[Line]:
    """Make the stack emit each kind of line: ingest, wake-up, query, mutation, stream, batch."""
    learner = http_client.headers(stack.token("signals"))
    admin = http_client.headers(stack.token("operator", "admin"))

    def is_woken() -> bool:
        """Push; return whether a wake-up folds events, because the batch job may fold them."""
        assert stack.post("ingest", pushes.encode_push(browser.lesson("signals", 2))) == 204
        with suppress(StackError):
            readiness.wait(
                lambda: any("projection_delay_ms" in line for line in read(stack)),
                "a wake-up that folds",
                seconds=10,
            )
            return True
        return False

    readiness.wait(is_woken, "a wake-up that folds", seconds=60)

    def is_cached() -> bool:
        http_client.ask(stack.port, learner, QUESTION)
        return any(line.get("cache_result") == "hit" for line in read(stack))

    readiness.wait(is_cached, "a cached response", seconds=60)
    mutation = f'mutation {{ runBatch(idempotencyKey: "{key}") {{ id }} }}'
    http_client.ask(stack.port, admin, mutation)
    subscription = "subscription { progressUpdated { totalItemsLearned } }"
    with closing(Stream(stack.port, subscription, headers=learner)) as stream:
        assert stream.next_event()
    http_client.fetch(stack.port, "POST", "/events", b"[]", learner)
    wanted = {"ingest", "wake", "query", "mutation", "stream", "post", "batch", "run_batch"}

    def is_complete() -> bool:
        return wanted <= {line.get("operation") for line in read(stack) if "outcome" in line}

    readiness.wait(is_complete, f"lines about {wanted}", seconds=60)
    return read(stack)


@pytest.fixture(scope="session")
def emitted(demo: Stack) -> list[Line]:
    return exercise(demo)
