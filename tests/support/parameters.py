"""Parameters of which `make test` runs one value, and `make test-all` all values."""

from collections.abc import Iterable
from typing import Any

import pytest


def first_in_gate(values: Iterable[object]) -> list[Any]:
    """Return one parameter for each value; all but the first are marked as exhaustive."""
    first, *others = values
    return [first, *(pytest.param(value, marks=pytest.mark.exhaustive) for value in others)]
