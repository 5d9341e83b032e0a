"""The work on a body is in proportion to its bytes, whatever they are, and leaves others time.

What Python does is counted in calls, also of functions in C. What one function in C does is
measured in CPU time: it must not grow faster than the body, because no other thread runs meanwhile.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from progress.errors import ProgressError
from progress.event_store import bodies, learner_post_check
from progress.ingest import publisher_post, push
from tests.support.pushes import encode_push

NOW = datetime(2026, 11, 29, tzinfo=UTC)
SMALL, LARGE = 250_000, 1_000_000  # bytes
# Calls a byte. A learner's post has few entries, and an element of a push may have two bytes.
MOST_CALLS = {"learner": 0.1, "publisher": 0.5, "push": 6.0}
MOST_GROWTH = 6  # from SMALL to LARGE, which is four times as long
TRIES = 5  # because other programs slow a measurement down
NOTICEABLE_S = 0.02  # less is nothing that others wait for
ENTRY = (
    b'{"event_id": "7", "event_type": "GoalSet", "occurred_at": "2026-11-01T00:00:00Z", "data": '
)

Body = Callable[[int], bytes]  # takes a number of bytes


def repeat(unit: bytes, left: bytes = b"[", right: bytes = b"1]") -> Body:
    return lambda size: left + unit * ((size - len(left) - len(right)) // len(unit)) + right


def nest(left: bytes, right: bytes) -> Body:
    return lambda size: left * (size // len(left + right)) + right * (size // len(left + right))


def repeat_entries(unit: bytes, *, left: bytes = b"[") -> Body:
    """Return a body of entries that are short enough to be decoded; 4 are SMALL, and 16 LARGE."""
    entry = ENTRY + repeat(unit, left)(62_000) + b"}"
    return lambda size: b"[" + b",".join([entry] * (size // len(entry))) + b"]"


PATHS: dict[str, Callable[[bytes], object]] = {
    "learner": lambda body: learner_post_check.check(body, bodies.JSON, "ann", NOW),
    "publisher": lambda body: publisher_post.parse_delivery(
        bytearray(body), bodies.LINES, "school"
    ),
    "push": lambda body: push.parse_delivery(encode_push(body)),
}
units = st.text(st.sampled_from('[]{}",:\\u0d8@eE1-. a\n\xe9'), min_size=1, max_size=6).map(
    str.encode
)
ends = st.sampled_from(
    [(b"", b""), (b"[", b"1]"), (b'["', b'"]'), (b"[{", b'"":1}]'), (b"[[[[", b"")]
)
drawn = st.builds(lambda unit, pair: repeat(unit, *pair), units, ends)


@pytest.mark.parametrize("path", PATHS)
@example(body=nest(b"[", b"]"))
@example(body=nest(b'["[",', b"1]"))
@example(body=lambda size: b"[" * 2_000 + repeat(b"[],")(size - 4_000) + b"]" * 2_000)
@example(body=repeat(b"\\ud800", b'["', b'"]'))
@example(body=repeat(b"\xff", b'["', b'"]'))
@example(body=repeat(b"1,", right=b""))
@example(body=repeat(b"{},", right=b'"\\q"]'))
@example(body=repeat_entries(b"[],"))
@example(body=repeat_entries(b"1e9,", left=b'["\\u0000",'))
@given(body=drawn)
def test_the_work_is_in_proportion_to_the_bytes(path: str, body: Body) -> None:
    take = PATHS[path]
    assert count_calls(take, body(SMALL)) / SMALL <= MOST_CALLS[path]
    assert any(
        measure(take, body(LARGE)) <= max(NOTICEABLE_S, MOST_GROWTH * measure(take, body(SMALL)))
        for _ in range(TRIES)
    )


@pytest.mark.parametrize(
    ("odd", "usual", "paths"),
    [
        (repeat_entries(b"1" * 308 + b","), repeat_entries(b"1" * 30 + b","), ("learner", "push")),
        (repeat_entries(b"1,", left=b'["\\\\u0000",'), repeat_entries(b"1,"), ("learner",)),
        (repeat(b'"\\ud800",'), repeat(b'"\\u0041",'), ("push",)),
        (repeat(b"[[[[[[1]]]]]],"), repeat(b"[[1,1,1,1]],"), ("push",)),
        (repeat(b'{"\\u0065":"\\ud800"},'), repeat(b'{"\\u0065":"\\u0041"},'), ("push",)),
    ],
)
def test_what_is_odd_costs_what_the_usual_costs(odd: Body, usual: Body, paths: list[str]) -> None:
    for take in map(PATHS.__getitem__, paths):
        assert any(
            measure(take, odd(LARGE)) <= 5 * measure(take, usual(LARGE)) + NOTICEABLE_S
            for _ in range(TRIES)
        )


def count_calls(take: Callable[[bytes], object], body: bytes) -> int:
    calls = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        with contextlib.suppress(ProgressError):
            take(body)
    finally:
        sys.setprofile(None)
    return calls


def measure(take: Callable[[bytes], object], body: bytes) -> float:
    began = time.thread_time()
    with contextlib.suppress(ProgressError):
        take(body)
    return time.thread_time() - began
