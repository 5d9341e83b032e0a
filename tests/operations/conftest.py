"""The fixtures of operations."""

from tests.support.operation_fixtures import fake_publisher, operator, populated, worker

__all__ = ["fake_publisher", "operator", "populated", "worker"]
