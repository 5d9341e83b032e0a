"""The invariant: however a log is delivered, the read models are those of the oracle."""

from collections.abc import Iterator

import oracle
import pytest
import rows
from conftest import Store
from hypothesis import given, settings
from logs import Disturbance, Log, disturbances, logs
from stage import Stage


@pytest.fixture
def stage(store: Store) -> Iterator[Stage]:
    """One database for all the examples of a test."""
    made = Stage(store.url)
    yield made
    made.close()


def examples(times: int) -> settings:
    """So many times the profile's examples."""
    return settings(max_examples=times * settings.default.max_examples)


def check(stage: Stage, log: Log) -> None:
    """The read models are what the oracle makes of the stored events."""
    stored = rows.stored(stage.admin)
    wanted = rows.wanted(oracle.see(stored, log.now))
    wrong = rows.differences(rows.standing(stage.admin), wanted)
    assert not wrong, "\n".join(wrong)


@examples(4)
@given(log=logs(), how=disturbances())
def test_any_delivery_of_a_log_gives_the_rows_of_the_oracle(
    stage: Stage, log: Log, how: Disturbance
) -> None:
    stage.sweep()
    stage.deliver(log, how)
    expected, _ = oracle.expected(log.envelopes)
    assert {str(e.event_id): e.user_id for e in rows.stored(stage.admin)} == expected
    check(stage, log)
