"""Races that are planted in a module: the module's source with a replaced text, executed anew."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

_CHUNK, _CHUNKS, _ALL_CHUNKS = 100, 2, 1_000
# The seeds with which each property holds: 200 in the ordinary suite, 100,000 in the other one.
CHUNKS = [
    pytest.param(range(first, first + _CHUNK), id=f"{first}")
    for first in range(0, _CHUNK * _CHUNKS, _CHUNK)
]
CHUNKS.append(
    pytest.param(
        range(_CHUNK * _CHUNKS, _CHUNK * _ALL_CHUNKS),
        id="rest",
        marks=[pytest.mark.exhaustive, pytest.mark.timeout(3600)],
    )
)
SEARCHED = 2_000  # seeds among which a planted race must be found


@contextmanager
def plant(module: ModuleType, *changes: tuple[str, str]) -> Iterator[ModuleType]:
    """Yield a copy of the module in which `by` replaces `text`, for each pair (text, by)."""
    assert module.__file__
    source = Path(module.__file__).read_text(encoding="utf-8")
    for text, by in changes:
        assert source.count(text) == 1, text
        source = source.replace(text, by)
    name = f"{module.__name__}_planted"
    spec = importlib.util.spec_from_loader(name, loader=None)
    assert spec
    copy = importlib.util.module_from_spec(spec)
    sys.modules[name] = copy
    try:
        exec(compile(source, name, "exec"), copy.__dict__)  # noqa: S102
        yield copy
    finally:
        del sys.modules[name]


def _run(fails: Callable[[int], object], seed: int) -> str:
    """Return the kind of the call's error and the first line of its text; "" without an error."""
    try:
        fails(seed)
    except Exception as error:  # noqa: BLE001 # the kind of error depends on the race
        return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    return ""


def find_seed(fails: Callable[[int], object]) -> int:
    """Return the first seed with which the call raises an error, and check that it does again."""
    for seed in range(SEARCHED):
        if failure := _run(fails, seed):
            assert _run(fails, seed) == failure
            return seed
    raise AssertionError(f"no seed below {SEARCHED:,} finds the race")
