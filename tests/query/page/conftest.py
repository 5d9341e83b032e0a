"""One browser for all tests of the page."""

import pytest

from tests.conftest import open_chromium
from tests.support.browser import Visit, Visits

chromium = pytest.fixture(open_chromium, scope="package", name="chromium")


@pytest.fixture
def visitor(visit: Visits) -> Visit:
    """Somebody with a wide screen who has not opened the page yet."""
    return visit()
