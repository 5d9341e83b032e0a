"""No document that the limits allow costs more than it may, whatever the schema has to ask."""

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import pytest
from conftest import Store
from stage import connect

from bench import expensive
from progress.api import documents, limits
from progress.auth import Role
from progress.database import Connection

CASES: tuple[tuple[Role, str], ...] = (
    ("learner", "the present"),
    ("admin", "the present"),
    ("support", "the past"),
)


@dataclass
class _Small:
    """A test's database, as the benchmark fills it."""

    url: str

    def connect(self) -> Connection:
        return connect(self.url)


@pytest.fixture
def learner(store: Store) -> str:
    return expensive.fill(cast("Any", _Small(store.url)), times_less=expensive.SMALL)


def test_the_most_expensive_document_is_within_its_bound(store: Store, learner: str) -> None:
    for role, what in CASES:
        find = expensive.find(store.url, learner, role, past=what == "the past")
        text, work = asyncio.run(find)
        assert work <= expensive.WORK[what] / expensive.SMALL, (role, text)


def test_a_search_without_the_limit_finds_what_is_too_much(
    store: Store, learner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_READING", 10**9)
    text, work = asyncio.run(expensive.find(store.url, learner, "learner", past=False))
    assert not documents.read(text, introspection=False).errors
    assert work > 1.5 * expensive.WORK["the present"] / expensive.SMALL
