"""Requests for an erasure: the callers who may send them, repetitions, and impossible requests."""

import pytest

from progress.adapters.postgres.database import Connection
from tests.support import model_rows
from tests.support.erasure_fixtures import (
    LEARNER,
    erase,
    no_requests,
    traced,
)
from tests.support.operation_fixtures import ADMIN, Operator

__all__ = ["no_requests", "traced"]


def test_an_unknown_learner_is_not_found_and_nothing_is_stored(
    operator: Operator, traced: Connection
) -> None:
    before = model_rows.read_table(traced, "operations.operations")
    query = 'mutation { eraseUser(userId: "nobody", idempotencyKey: "k") { id } }'
    code, message = operator.error(query)
    assert (code, "nobody" in message) == ("NOT_FOUND", False)
    assert model_rows.read_table(traced, "operations.operations") == before
    assert model_rows.read_table(traced, "event_store.erased") == []


@pytest.mark.parametrize("role", ["learner", "support"])
def test_only_an_administrator_may_erase(operator: Operator, traced: Connection, role: str) -> None:
    query = f'mutation {{ eraseUser(userId: "{LEARNER}", idempotencyKey: "k") {{ id }} }}'
    assert operator.error(query, LEARNER, roles=role)[0] == "FORBIDDEN"


def test_erasing_an_erased_learner_returns_the_finished_operation_for_any_idempotency_key(
    operator: Operator, traced: Connection
) -> None:
    done = operator.run(erase(operator, key="k")["id"])
    assert erase(operator, key="k") == done
    assert erase(operator, key="another") == done
    assert len(model_rows.read_table(traced, "operations.operations")) == 1


def test_two_administrators_get_the_same_erasure(operator: Operator, traced: Connection) -> None:
    first = erase(operator)
    query = f'mutation {{ eraseUser(userId: "{LEARNER}", idempotencyKey: "b") {{ id }} }}'
    second = operator.ask(query, "bob", roles="admin")["data"]["eraseUser"]
    assert second["id"] == first["id"]
    operator.run(first["id"])
    (row,) = model_rows.read_table(traced, "operations.operations")
    assert row["requesters"] == [ADMIN, "bob"]
    third = operator.ask(query.replace('"b"', '"c"'), "carl", roles="admin")["data"]["eraseUser"]
    assert third["id"] == first["id"]


def test_an_erasure_cannot_be_cancelled(operator: Operator, traced: Connection) -> None:
    erasure = operator.run(erase(operator)["id"])
    query = f'mutation {{ cancelOperation(id: "{erasure["id"]}") {{ id }} }}'
    assert operator.error(query)[0] == "BAD_USER_INPUT"
