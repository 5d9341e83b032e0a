"""The checker accepts a correct history, and finds each violation in a small one."""

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.history import checker

Step = tuple[int, str, str, dict[str, Any]]

_EVENTS = [[1, "a"], [2, "b"], [3, "c"]]


def write(path: Path, *steps: Step) -> Path:
    """Write the steps (process, type, f, value) in the order of time."""
    lines = [
        {"index": n, "time": n * 1_000_000_000, "process": p, "type": type_, "f": f, "value": value}
        for n, (p, type_, f, value) in enumerate(steps)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def appended(process: int, *ids: str, kind: str = "ok") -> tuple[Step, Step]:
    value = {"learner": "ann", "ids": list(ids)}
    return (process, "invoke", "append", value), (process, kind, "append", value)


def read(
    process: int, events: list[list[Any]], start: int = 1, *, limit: int = 10
) -> tuple[Step, Step]:
    found = {"from": start, "events": events, "limit": limit}
    return (process, "invoke", "read", {"from": start}), (process, "ok", "read", found)


def asked(process: int, answers: int, projected: int, *, cached: bool = False) -> tuple[Step, Step]:
    value = {"learner": "ann", "cached": cached}
    result = {"answers": answers, "projectedTo": projected}
    return (process, "invoke", "query", value), (process, "ok", "query", value | result)


def find(path: Path, *steps: Step) -> list[str]:
    return checker.check(checker.load(str(write(path, *steps))))


def test_a_correct_history_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "h"
    steps = [*appended(1, "a"), *asked(3, 0, 0), *appended(1, "b", "c", kind="info")]
    steps += [
        *read(2, _EVENTS),
        *asked(3, 1, 1),
        *asked(3, 3, 3),
        *read(2, [[1, None], *_EVENTS[1:]]),
    ]
    assert find(file, *steps) == []
    assert checker.main(str(file)) == 0


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        ("position is missing", [*read(2, [[1, "a"], [3, "c"]])]),
        ("has two events", [*read(2, _EVENTS), *read(2, [[1, "x"]])]),
        ("an erased event is back", [*read(2, [[1, None]]), *read(2, [[1, "a"]])]),
        ("has two positions", [*read(2, _EVENTS), *read(2, [[4, "a"]], 4)]),
        ("a read ends at 2", [*read(2, _EVENTS), *read(3, _EVENTS[:2])]),
        ("acknowledged event is lost", [*appended(1, "x"), *read(2, _EVENTS)]),
        ("recorded in parts", [*appended(1, "c", "x", kind="info"), *read(2, _EVENTS)]),
        ("recorded in parts", [*appended(1, "b", "c"), *read(2, _EVENTS[:2]), *read(2, _EVENTS)]),
        ("is overtaken", [*appended(1, "b"), *appended(1, "a"), *read(2, _EVENTS)]),
        ("later read does not see", [*appended(1, "c"), *read(2, _EVENTS[:2]), *read(2, _EVENTS)]),
        ("there are 1 up to", [*appended(1, "a"), *read(2, _EVENTS), *asked(3, 0, 1)]),
        ("more than were sent", [*appended(1, "a"), *read(2, _EVENTS), *asked(3, 2, 1)]),
        ("a session sees 0 answers", [*appended(1, "a"), *asked(3, 1, 0), *asked(3, 0, 0)]),
        ("session goes back", [*asked(3, 0, 2), *asked(3, 0, 1)]),
    ],
)
def test_each_violation_is_found(tmp_path: Path, words: str, steps: list[Step]) -> None:
    file = tmp_path / "h"
    assert any(words in line for line in find(file, *steps))
    assert checker.main(str(file)) == 1


def test_another_session_may_be_behind_and_a_retry_may_have_been_recorded_before(
    tmp_path: Path,
) -> None:
    first, second = appended(1, "a", kind="info"), appended(4, "a")
    retry = [(process, type_, f, {**value, "retry": True}) for process, type_, f, value in second]
    steps = [*first, *appended(2, "b"), *retry, *read(3, _EVENTS)]
    assert find(tmp_path / "h", *steps, *asked(5, 2, 2), *asked(6, 1, 1)) == []


def test_an_event_that_was_acknowledged_after_the_last_read_is_not_missed(tmp_path: Path) -> None:
    assert find(tmp_path / "h", *read(2, _EVENTS), *appended(1, "x")) == []


def test_a_cached_answer_may_be_five_seconds_older_than_its_position(tmp_path: Path) -> None:
    steps = [*appended(1, "a"), *read(2, _EVENTS), *asked(3, 0, 1, cached=True)]
    assert find(tmp_path / "h", *steps) == []
    later = [*asked(4, 1, 1), *asked(4, 1, 1), *asked(4, 1, 1), *asked(3, 0, 1, cached=True)]
    assert any("there are 1 up to" in line for line in find(tmp_path / "h", *steps, *later))


def test_the_checker_imports_only_the_standard_library() -> None:
    tree = ast.parse(Path(checker.__file__).read_text(encoding="utf-8"))
    names = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names <= sys.stdlib_module_names
