"""The local stack that the tests of faults and of unusual input use one after another."""

from collections.abc import Iterator

import pytest

from tests.support import fault_stack
from tests.support.fault_stack import Stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with fault_stack.run_stack() as made:
        yield made
