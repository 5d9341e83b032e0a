"""Clients that are killed, or offline for days, lose and double nothing on a local stack."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from progress.local import ports
from tests.clients import killed
from tests.clients.killed import Client
from tests.conftest import skip_without
from tests.support import browser, folders, node
from tests.support.fault_stack import Stack

_DAYS = """query($from: Date!, $to: Date!) {
  dailyStats(from: $from, to: $to, zeroFill: false) { date answers } }"""


@pytest.fixture(scope="module")
def clients(client_app: Path) -> dict[str, Client]:
    return {name: Client(name, client_app) for name in ("node", "chromium")}


@pytest.fixture(scope="module")
def stack(clients: dict[str, Client]) -> Iterator[Stack]:
    with killed.run_stack(clients["chromium"]) as running:
        yield running


@pytest.mark.parametrize(("name", "kills"), [("node", 10), ("chromium", 5)])
def test_a_killed_client_loses_and_doubles_nothing(
    request: pytest.FixtureRequest,
    stack: Stack,
    clients: dict[str, Client],
    name: str,
    kills: int,
) -> None:
    """The module `killed` repeats it as often as wanted."""
    if name == "chromium" and browser.PROGRAM is None:
        skip_without(request, "chromium")
    assert killed.kill_often(stack, clients[name], kills, seed=1) >= kills


def test_nine_days_offline_arrive_in_one_flush(stack: Stack, client_app: Path) -> None:
    url, token = f"http://{ports.HOST}:{stack.port}", stack.token("traveller", "learner")
    with folders.create("outbox") as folder:
        outbox = str(folder)
        printed = node.run(client_app, "node", "offline.mjs", API=url, TOKEN=token, OUTBOX=outbox)
    delivered = {"accepted": 2_700, "refused": 0, "waiting": 0, "errors": []}
    assert json.loads(printed) == delivered
    stack.await_delivery()
    stack.await_projection()
    today = datetime.now(UTC).date()
    bounds = {"from": f"{today - timedelta(days=10)}", "to": f"{today}"}
    days = stack.ask("traveller", _DAYS, **bounds)["dailyStats"]
    assert [day["answers"] for day in days] == [300] * 9
