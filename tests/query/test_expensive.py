"""The most expensive document that the limits allow reads a bounded number of rows."""

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import pytest

from bench import expensive
from progress.adapters.postgres.database import Connection
from progress.query.auth import Role
from progress.query.execution import limits
from tests.conftest import Store
from tests.support.stage import connect

CASES: tuple[tuple[Role, str], ...] = (
    ("learner", "the present"),
    ("admin", "the present"),
    ("support", "the past"),
)


@dataclass
class _Small:
    """A test's database with the interface that the benchmark expects."""

    url: str

    def connect(self) -> Connection:
        return connect(self.url)


@pytest.mark.exhaustive
def test_the_most_expensive_document_stays_within_the_row_limit(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = expensive.fill(cast("Any", _Small(store.url)), times_less=expensive.SMALL)

    def find(role: Role, what: str) -> tuple[str, int]:
        past = what == "the past"
        return asyncio.run(expensive.find(store.url, learner, role, past=past))

    for role, what in CASES:
        text, work = find(role, what)
        assert work <= expensive.WORK[what] / expensive.SMALL, (role, text)
    # without the limit, the search finds a more expensive document
    monkeypatch.setattr(limits, "_MAX_ROWS", 10**9)
    _, work = find("learner", "the present")
    assert work > 1.5 * expensive.WORK["the present"] / expensive.SMALL
