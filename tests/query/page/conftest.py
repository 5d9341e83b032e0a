"""One browser for all tests of the page."""

import pytest

from tests.conftest import open_chromium

chromium = pytest.fixture(open_chromium, scope="package", name="chromium")
