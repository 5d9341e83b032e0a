"""Exports of statistics: permissions, arguments and downloads."""

from typing import Any

import pytest

from progress.adapters.postgres.database import Connection
from progress.operations import export_estimates
from progress.query.graphql import exports as requests
from tests.support.export_fixtures import export, get
from tests.support.operation_fixtures import Operator, fake_publisher, operator, populated

__all__ = ["fake_publisher", "operator", "populated"]


def ask(operator: Operator, arguments: str, user: str = "sue", role: str = "support") -> Any:
    """Request an export; return the operation's id, or the error's code and message."""
    query = f"mutation {{ exportStatistics({arguments}) {{ id }} }}"
    body = operator.ask(query, user, roles=role)
    if "errors" in body:
        (error,) = body["errors"]
        return error["extensions"]["code"], error["message"]
    return body["data"]["exportStatistics"]["id"]


def test_support_and_administrators_can_export_statistics_and_download_only_their_own_exports(
    operator: Operator, populated: Connection
) -> None:
    request = 'table: DAILY, idempotencyKey: "k"'
    assert ask(operator, request, "ann", "learner")[0] == "FORBIDDEN"
    own = ask(operator, request)
    assert ask(operator, request, "ada", "admin") != own
    assert operator.run(own)["state"] == "SUCCEEDED"
    download = get(operator, own, "sue", "support")["download"]
    assert "/daily-" in download["url"]
    assert download["url"].endswith(".csv")
    assert get(operator, own, "ada", "admin")["download"] is None
    assert get(operator, own, "sue", "learner")["download"] is None
    assert get(operator, own, "ann", "learner") is None


def test_an_exported_file_is_served_with_its_media_type(
    operator: Operator, populated: Connection
) -> None:
    types = {"CSV": "text/csv; charset=utf-8", "PARQUET": "application/vnd.apache.parquet"}
    for number, (name, type_) in enumerate(types.items()):
        request = f'table: LEVEL, format: {name}, idempotencyKey: "{number}"'
        operation_id = ask(operator, request)
        operator.run(operation_id)
        url = get(operator, operation_id, "sue", "support")["download"]["url"]
        response = operator.api.request("GET", url)
        assert (response.status_code, response.headers["content-type"]) == (200, type_)


def test_a_caller_can_have_only_one_unfinished_export_of_statistics(
    operator: Operator, populated: Connection
) -> None:
    first = ask(operator, 'table: DAILY, learners: ["b", "a"], idempotencyKey: "1"')
    same = 'table: DAILY, format: CSV, from: null, learners: ["a", "b", "a"], idempotencyKey: "2"'
    assert ask(operator, same) == first
    code, message = ask(operator, 'table: WEEKLY, idempotencyKey: "3"')
    assert code == "BAD_USER_INPUT"
    assert first in message
    code, message = ask(operator, 'table: WEEKLY, idempotencyKey: "1"')
    assert code == "BAD_USER_INPUT"
    assert message.startswith("idempotencyKey: expected a new key")
    assert ask(operator, 'table: WEEKLY, idempotencyKey: "4"', "sam") != first
    operator.run(first)
    assert ask(operator, 'table: WEEKLY, idempotencyKey: "5"') != first


def test_support_can_cancel_its_own_export(operator: Operator, populated: Connection) -> None:
    own = ask(operator, 'table: DAILY, idempotencyKey: "k"')
    cancel = f'mutation {{ cancelOperation(id: "{own}") {{ id }} }}'
    assert operator.error(cancel, "sam", roles="support")[0] == "NOT_FOUND"
    assert "errors" not in operator.ask(cancel, "sue", roles="support")
    assert operator.run(own)["error"] == "cancelled"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ('table: DAILY, from: "2024-01-02", to: "2024-01-01"', "from: expected a day not later"),
        ('table: ITEM, from: "2024-01-02"', "from, to: expected only with DAILY or WEEKLY"),
        ("table: DAILY, learners: []", "learners: expected 1 to 1,000 ids, or null for all"),
        ('table: DAILY, learners: [""]', "learners: expected 1 to 200 characters"),
    ],
)
def test_invalid_arguments_of_an_export_are_rejected(
    operator: Operator, populated: Connection, arguments: str, message: str
) -> None:
    code, text = ask(operator, f'{arguments}, idempotencyKey: "k"')
    assert code == "BAD_USER_INPUT"
    assert text.startswith(message)
    assert operator.called() == []


def test_an_export_that_is_too_large_for_one_step_is_rejected(
    operator: Operator, populated: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    populated.run("ANALYZE")
    monkeypatch.setattr(requests, "MAX_BYTES", 1_000)
    code, text = ask(operator, 'table: ITEM, idempotencyKey: "k"')
    assert code == "BAD_USER_INPUT"
    assert text.startswith(
        "learners: expected an export of at most 3,000 s and 1 GiB - found about 0 s"
    )
    assert text.endswith("choose fewer days or learners, and make several requests")
    code, text = operator.error(
        'mutation { exportUser(userId: "ann", idempotencyKey: "k") { id } }'
    )
    assert code == "BAD_USER_INPUT"
    assert text.startswith(
        "userId: expected an export of at most 600 s and 1 GiB - found about 0 s and"
    )
    assert operator.called() == []
    assert isinstance(ask(operator, 'table: LEVEL, learners: ["no"], idempotencyKey: "k"'), str)
    monkeypatch.setattr(requests, "MAX_BYTES", 1 << 30)
    monkeypatch.setattr(export_estimates, "_USER_BYTES_PER_S", 1)
    assert operator.error('mutation { exportUser(userId: "ann", idempotencyKey: "k") { id } }')
    monkeypatch.undo()
    export(operator)
