"""Restrict a 95th percentile to the requests during which the machine ran at full speed.

A virtual machine shares its cores with other machines. On some hosts, the same loop takes one
millisecond for a few seconds, then two milliseconds for a few seconds. The 95th percentile of all
requests then shows the load of the other machines, because more than one request in twenty runs on
a slowed core.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench import lines
from bench.lines import Line

_ITERATIONS = 15_000  # about a millisecond
# The machine is slowed if a loop takes more than this multiple of the fastest loop's time.
_SLOWED = 1.25
_MIN_REQUESTS = 20  # for a 95th percentile


@dataclass(frozen=True)
class TimedRequest:
    """The seconds of a request, and of the slower of two loops that measure the machine's speed.

    One loop runs before the request, the other after the response.
    """

    seconds: float
    loop: float


def time_loop() -> float:
    """Return the seconds of a loop that always does the same work."""
    begin, total = time.perf_counter(), 0
    for number in range(_ITERATIONS):
        total += number * number
    return time.perf_counter() - begin


def compare_p95(what: str, requests: Sequence[TimedRequest], *, bar: float) -> Line:
    """Return the line with the 95th percentile of the requests on an unslowed machine.

    If fewer than `_MIN_REQUESTS` requests ran on an unslowed machine, the line has the percentile
    of all requests. `bar` is in milliseconds.
    """
    limit = _SLOWED * min(request.loop for request in requests)
    every = [1_000 * request.seconds for request in requests]
    unslowed = [1_000 * request.seconds for request in requests if request.loop <= limit]
    is_measured = len(unslowed) >= _MIN_REQUESTS
    counted = unslowed if is_measured else every
    note = (
        f"; {len(counted)} of {len(every)} requests; "
        f"95th percentile of all requests: {lines.compute_p95(every):.1f} ms"
    )
    how = "at full speed" if is_measured else "on a slowed machine"
    return lines.limit_p95(f"{what}, {how}", counted, bar, note=note)
