"""The fake cloud that the release tests share."""

from collections.abc import Iterator

import pytest

from tests.support import fake_cloud
from tests.support.release_runs import Releases, make_measurements


@pytest.fixture
def cloud() -> Iterator[Releases]:
    """A cloud where blue serves version `a` and Monitoring shows no errors."""
    with fake_cloud.running(Releases) as made:
        made.monitoring = make_measurements()
        yield made
