"""The local stack that the tests of faults and of unusual input use one after another."""

import pytest

from tests.support import local_stack
from tests.support.local_stack import Stack

running = pytest.fixture(local_stack.started, scope="session", name="running")


@pytest.fixture
def stack(running: Stack) -> Stack:
    running.begin()
    return running
