"""Check a history of operations; shares no code with Progress.

Usage: python checker.py FILE

FILE has one operation per line, in Elle's JSON form (docs/histories.md): `type` is invoke, ok, fail
or info (unknown outcome), `process` is a client that has one operation at a time, `time` is in
nanoseconds, `f` is append, read or query, and `value` is:

- append: {"learner": text, "ids": [text]}, events of one message, which are recorded together; the
  message of an append with {"retry": true} was sent before, without a known outcome
- read: {"from": position}; ok adds {"events": [[position, id]], "limit": number}; the id of an
  erased event is null
- query: {"learner": text, "cached": whether a cache may answer}; ok adds {"answers": number,
  "projectedTo": position}; the client of a process is one session

A cached answer may be 5 s older than its projectedTo: Progress allows that if a process dies, or
Redis is slow, between a commit and the notification of the caches. It then shows at least what any
answer's projectedTo had reached 5 s before. Other answers may not be older.

Print the first violations and a verdict; exit with 1 if there is a violation.
"""

import bisect
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

_SHOWN = 20
_CACHED_NS = 5e9


class Op(NamedTuple):
    """An operation; `end` is infinite without a known outcome."""

    f: str
    type: str
    process: int
    begin: int
    end: float
    value: dict[str, Any]


def load(path: str) -> list[Op]:
    """Return the operations of a file, in the order of their beginnings."""
    operations, invoked = [], {}
    with Path(path).open() as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["type"] == "invoke":
                if entry["process"] in invoked:
                    raise ValueError(f"process {entry['process']} has two operations at once")
                invoked[entry["process"]] = entry
                continue
            begun = invoked.pop(entry["process"])
            end = entry["time"] if entry["type"] == "ok" else float("inf")
            value = {**begun["value"], **entry["value"]}
            operations.append(
                Op(begun["f"], entry["type"], entry["process"], begun["time"], end, value)
            )
    operations += [
        Op(one["f"], "info", one["process"], one["time"], float("inf"), one["value"])
        for one in invoked.values()
    ]
    return sorted(operations, key=lambda op: op.begin)


def check(operations: list[Op]) -> list[str]:
    """Return a line for each violation."""
    found: list[str] = []
    reads = [op for op in operations if op.f == "read" and op.type == "ok"]
    appends = [op for op in operations if op.f == "append"]
    queries = [op for op in operations if op.f == "query" and op.type == "ok"]
    positions = _check_log(reads, found)
    _check_order_of_reads(reads, found)
    _check_appends(appends, positions, reads, found)
    _check_queries(appends, positions, queries, found)
    return found


def _check_log(reads: list[Op], found: list[str]) -> dict[str, int]:
    """Positions are dense, and no position ever has another event. Return the ids' positions.

    An event may be erased, and does not come back.
    """
    by_position: dict[int, str] = {}
    erased: dict[int, float] = {}  # the end of the first read that saw no event any more
    positions: dict[str, int] = {}
    for op in reads:
        expected = op.value["from"]
        for position, id_ in op.value["events"]:
            if position != expected:
                found.append(f"a position is missing: {expected}, before {position}")
            expected = position + 1
            if id_ is None:
                erased[position] = min(op.end, erased.get(position, op.end))
                continue
            if erased.get(position, op.begin) < op.begin:
                found.append(f"an erased event is back: {id_} at {position}")
            if by_position.setdefault(position, id_) != id_:
                found.append(f"position {position} has two events: {by_position[position]}, {id_}")
            if positions.setdefault(id_, position) != position:
                found.append(f"event {id_} has two positions: {positions[id_]}, {position}")
    return positions


def _check_order_of_reads(reads: list[Op], found: list[str]) -> None:
    """A read that begins after another has ended sees at least the same head."""
    seen: list[tuple[float, int]] = []  # (end of a read, the highest head seen by then)
    heads = sorted((op.end, _head(op)) for op in reads if op.value["events"])
    highest = 0
    for end, head in heads:
        highest = max(highest, head)
        seen.append((end, highest))
    ends = [end for end, _ in seen]
    for op in reads:
        if len(op.value["events"]) >= op.value["limit"]:
            continue  # the head may lie after this window
        index = bisect.bisect_left(ends, op.begin) - 1
        head = _head(op) if op.value["events"] else op.value["from"] - 1
        if index >= 0 and head < seen[index][1]:
            found.append(f"a read ends at {head} after another one saw {seen[index][1]}")


def _head(op: Op) -> int:
    return int(op.value["events"][-1][0])


def _check_appends(
    appends: list[Op], positions: dict[str, int], reads: list[Op], found: list[str]
) -> None:
    """Acknowledged events are recorded, whole messages at once, in the order of real time."""
    first_ends = _first_complete_reads(reads)
    heads = sorted({head for _, _, head in first_ends})
    for op in appends:
        placed = [positions[id_] for id_ in op.value["ids"] if id_ in positions]
        is_read = bool(first_ends) and first_ends[-1][0] > op.end
        if op.type == "ok" and is_read and len(placed) < len(op.value["ids"]):
            found.append(f"an acknowledged event is lost: {op.value['ids']}")
        if placed and (len(placed) < len(op.value["ids"]) or _is_split(placed, heads)):
            found.append(f"a message is recorded in parts: {op.value['ids']} at {placed}")
    acknowledged = Highest(
        (op.end, max(positions.get(id_, 0) for id_ in op.value["ids"]))
        for op in appends
        if op.type == "ok"
    )
    for op in appends:
        placed = [positions[id_] for id_ in op.value["ids"] if id_ in positions]
        before = acknowledged.before(op.begin)
        if "retry" not in op.value and placed and min(placed) < before:
            found.append(
                f"an append that began later is overtaken: {op.value['ids']} at {min(placed)}, "
                f"after {before} was acknowledged"
            )
        # A reader that began after the acknowledgement sees the event.
        if op.type == "ok" and placed:
            _check_seen(op, max(placed), first_ends, found)


class Highest:
    """The highest position that clients had seen before a time, from pairs of both."""

    def __init__(self, seen: Iterable[tuple[float, int]]) -> None:
        ended = sorted(seen)
        self._ends = [end for end, _ in ended]
        self._highest = list(itertools.accumulate((place for _, place in ended), max))

    def before(self, time: float) -> int:
        index = bisect.bisect_left(self._ends, time) - 1
        return self._highest[index] if index >= 0 else 0


def _is_split(placed: list[int], heads: list[int]) -> bool:
    """Return whether a reader saw the log end between the events of a message."""
    index = bisect.bisect_left(heads, min(placed))
    return index < len(heads) and heads[index] < max(placed)


def _first_complete_reads(reads: list[Op]) -> list[tuple[int, int, int]]:
    """Return (begin, from, head) of the reads that reached the head, by their beginnings."""
    return [
        (
            op.begin,
            op.value["from"],
            _head(op) if op.value["events"] else op.value["from"] - 1,
        )
        for op in reads
        if len(op.value["events"]) < op.value["limit"]
    ]


def _check_seen(
    op: Op, position: int, complete: list[tuple[int, int, int]], found: list[str]
) -> None:
    index = bisect.bisect_right(complete, (op.end, 0, 0))
    if index < len(complete) and complete[index][2] < position:
        found.append(f"a later read does not see an acknowledged event: {op.value['ids']}")


def _check_queries(
    appends: list[Op], positions: dict[str, int], queries: list[Op], found: list[str]
) -> None:
    """No session goes back; no answer is older than its `projectedTo`, or from the future."""
    placed: dict[str, list[int]] = defaultdict(list)
    begun: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for op in appends:
        if "retry" in op.value:
            continue
        learner, count = op.value["learner"], len(op.value["ids"])
        placed[learner] += [positions[id_] for id_ in op.value["ids"] if id_ in positions]
        begun[learner].append((op.begin, count))
    sums: dict[str, tuple[list[int], list[int]]] = {}
    for learner, counts in begun.items():
        placed[learner].sort()
        total, totals = 0, []
        for _, count in sorted(counts):
            total += count
            totals.append(total)
        sums[learner] = sorted(begin for begin, _ in counts), totals
    reached = Highest((op.end, op.value["projectedTo"]) for op in queries)
    sessions: dict[tuple[int, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for op in queries:
        learner, answers = op.value["learner"], op.value["answers"]
        projected = op.value["projectedTo"]
        is_cached = op.value["cached"]
        due = reached.before(op.begin - _CACHED_NS) if is_cached else projected
        least = bisect.bisect_right(placed[learner], min(projected, due))
        if answers < least:
            found.append(
                f"a query shows {answers} answers of {learner}, but there are {least} up to its "
                f"projectedTo {projected}"
            )
        begins, totals = sums.get(learner, ([], []))
        index = bisect.bisect_left(begins, op.end) - 1
        if answers > (totals[index] if index >= 0 else 0):
            found.append(f"a query shows {answers} answers of {learner}, more than were sent")
        last_projected, last_answers = sessions[op.process, learner]
        if answers < last_answers:
            found.append(f"a session sees {answers} answers of {learner} after {last_answers}")
        if projected < last_projected:
            found.append(f"the projectedTo of a session goes back to {projected}")
        sessions[op.process, learner] = max(last_projected, projected), max(last_answers, answers)


def main(path: str) -> int:
    operations = load(path)
    found = check(operations)
    for line in found[:_SHOWN]:
        print(line)
    counts = {f: sum(op.f == f for op in operations) for f in ("append", "read", "query")}
    print(f"{len(operations):,} operations: {counts}")
    print(f"INVALID: {len(found):,} violations" if found else "VALID")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
