"""A seed gives the same schedule in each process."""

import os
import subprocess
import sys

from progress.adapters.postgres import async_client
from progress.ingest import group_commit
from progress.query.cache import single_flight
from progress.query.live import hub
from tests.schedules import (
    planted,
    test_circuit_breaker,
    test_group_commit,
    test_hub,
    test_pool,
    test_single_flight,
)

_SEEDS = range(20)
_SCRIPT = "from tests.schedules import test_repetition; print(test_repetition.trace())"


def trace() -> list[object]:
    """Return what tells the schedules of some seeds apart."""
    loops = [
        schedule(module, seed).trace
        for seed in _SEEDS
        for module, schedule in (
            (async_client, test_pool.schedule),
            (async_client, test_circuit_breaker.schedule),
            (single_flight, test_single_flight.schedule),
            (hub, test_hub.schedule),
        )
    ]
    with planted.plant(group_commit) as module:
        threads = [test_group_commit.schedule(module, seed) for seed in _SEEDS]
    return [*loops, *((one.steps, one.now, one.random.random()) for one in threads)]


def test_a_seed_repeats_its_schedule_in_another_process() -> None:
    program = [sys.executable, "-c", _SCRIPT]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": "."}
    other = subprocess.run(program, capture_output=True, check=True, text=True, env=environment)
    assert other.stdout.splitlines()[-1] == str(trace())
