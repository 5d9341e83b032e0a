"""The fake cloud that the release tests share."""

from tests.support.release_runs import cloud

__all__ = ["cloud"]
