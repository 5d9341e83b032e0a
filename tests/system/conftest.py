"""The local stack that the tests of faults and of unusual input use one after another."""

import pytest

from tests.support import local_stack

stack = pytest.fixture(local_stack.started, scope="session", name="stack")
