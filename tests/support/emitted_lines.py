"""The log lines that the functions and the job of a running local stack emit."""

import json
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from progress.errors import StackError
from progress.serve import data_folder, readiness
from tests.support import browser, http_client, pushes
from tests.support.subscription_client import Stream

FUNCTIONS = ("ingest", "project", "query", "batch")

Line = dict[str, Any]


def read(folder: Path) -> list[Line]:
    """Return the lines in the data folder of a stack, but not one that a process is writing."""
    logs = [folder / "logs" / f"{part}.log" for part in FUNCTIONS]
    return [
        json.loads(line)
        for log in logs
        if log.exists()
        for line in log.read_text(encoding="utf-8").splitlines(keepends=True)
        if line.startswith("{") and line.endswith("\n")
    ]


QUESTION = "{ userProgress { totalItemsLearned } streak { current } }"


def exercise(stack: browser.Stack, key: str = "signals") -> list[Line]:
    """Make the stack emit each kind of line: ingest, wake-up, query, mutation, stream, batch."""
    learner = http_client.headers(stack.token("signals"))
    admin = http_client.headers(stack.token("operator", "admin"))
    addresses = data_folder.running(data_folder.at(str(stack.folder))).addresses
    ingest = urlsplit(addresses["ingest_url"]).port or 0

    def is_woken() -> bool:
        """Push; return whether a wake-up folds events, because the batch job may fold them."""
        assert http_client.push(ingest, pushes.encode_push(browser.lesson("signals", 2))) == 204
        with suppress(StackError):
            readiness.wait(
                lambda: any("projection_delay_ms" in line for line in read(stack.folder)),
                "a wake-up that folds",
                seconds=10,
            )
            return True
        return False

    readiness.wait(is_woken, "a wake-up that folds", seconds=60)

    def is_cached() -> bool:
        http_client.ask(stack.port, learner, QUESTION)
        return any(line.get("cache_result") == "hit" for line in read(stack.folder))

    readiness.wait(is_cached, "a cached response", seconds=60)
    mutation = f'mutation {{ runBatch(idempotencyKey: "{key}") {{ id }} }}'
    http_client.ask(stack.port, admin, mutation)
    subscription = "subscription { progressUpdated { totalItemsLearned } }"
    with closing(Stream(stack.port, subscription, headers=learner)) as stream:
        assert stream.next_event()
    http_client.fetch(stack.port, "POST", "/events", b"[]", learner)
    wanted = {"ingest", "wake", "query", "mutation", "stream", "post", "batch", "run_batch"}

    def is_complete() -> bool:
        return wanted <= {line.get("operation") for line in read(stack.folder) if "outcome" in line}

    readiness.wait(is_complete, f"lines about {wanted}", seconds=60)
    return read(stack.folder)


@pytest.fixture(scope="session")
def emitted(demo: browser.Stack) -> list[Line]:
    return exercise(demo)
