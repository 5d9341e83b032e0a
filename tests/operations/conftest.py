"""Fixtures for the tests of operations."""

from tests.support.operation_fixtures import fake_publisher, operator, populated, worker
from tests.support.traced_runs import hooks

__all__ = ["fake_publisher", "hooks", "operator", "populated", "worker"]
