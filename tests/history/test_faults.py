"""Each planted fault is found in a history of Progress, and none without a fault."""

import pytest

from bench.history import faults

NAMES = ["", *faults.load()]


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES, ids=lambda name: name or "no fault")
def test_the_checker_finds_the_fault(name: str) -> None:
    assert faults.main([name]) == 0
