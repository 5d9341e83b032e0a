"""A pytest plugin that records the functions of `progress` that each test calls in its process.

`pytest -p tests.mutants.recorded_calls` adds a line of JSON for each test to the file that the
variable RECORDED_CALLS names: the test, its seconds, and the called functions as `file:name`.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

_PROGRESS = f"{Path(__file__).parents[2] / 'progress'}{os.sep}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    called: set[tuple[str, str]] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_PROGRESS):
            called.add((frame.f_code.co_filename, frame.f_code.co_qualname))

    begin = time.monotonic()
    threading.setprofile(note)
    sys.setprofile(note)
    yield
    sys.setprofile(None)
    threading.setprofile(None)
    names = sorted(f"progress/{file.removeprefix(_PROGRESS)}:{name}" for file, name in called)
    line = json.dumps([item.nodeid, time.monotonic() - begin, names])
    with Path(os.environ["RECORDED_CALLS"]).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
