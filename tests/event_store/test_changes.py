"""`progress schema --against`: what breaks readers or publishers of a former version."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from progress.event_store.contract import changes
from tests.support import cli

ROOT = Path(__file__).parents[2]
RELEASED = ROOT / "schemas" / "released"
# The CHANGELOG names these: publishers may omit what the fields are made from.
BREAKS = [
    "Field ItemDifficulty.averageResponseMs changed type from Float! to Float.",
    "Field ItemReview.easinessFactor changed type from Float! to Float.",
]


@contextmanager
def edited(path: Path) -> Iterator[Any]:
    """Yield the content of a JSON file, and write it back at the end of the block."""
    value = json.loads(path.read_text(encoding="utf-8"))
    yield value
    path.write_text(json.dumps(value), encoding="utf-8")


def test_this_version_breaks_nothing_else_that_was_released() -> None:
    done = cli.progress("", "schema", "--against", str(RELEASED))
    assert (done.stdout.splitlines(), done.returncode) == (BREAKS, 1)


def test_each_break_is_named_in_a_line(tmp_path: Path) -> None:
    former = shutil.copytree(RELEASED, tmp_path / "former")
    with edited(former / "events" / "GoalSet.json") as goal:
        data = goal["properties"]["data"]
        data["required"] = []
        data["properties"]["answers_per_day"]["maximum"] = 2_000
        data["properties"]["note"] = {"type": "string"}
    with edited(former / "events" / "UserPreferencesChanged.json") as changed:
        data = changed["properties"]["data"]["properties"]
        data["zone"] = data.pop("timezone")
    with edited(former / "published" / "MilestoneReached.json") as milestone:
        milestone["properties"]["user_id"]["maxLength"] = 100
        milestone["properties"]["kind"]["enum"].pop()  # readers expect new members
    with edited(former / "asyncapi.json") as asyncapi:
        asyncapi["channels"]["algorithm-events"]["address"] = "reviews"
    (former / "events" / "GoalDropped.json").write_text('{"title": "GoalDropped"}')
    api = former / "schema.graphql"
    text = api.read_text(encoding="utf-8").replace("lapses: Int!\n", "lapses: Int!\n  gone: Int\n")
    api.write_text(text, encoding="utf-8")
    answer = cli.progress("", "schema", "--against", str(former))
    assert (answer.returncode, answer.stderr) == (1, "")
    assert answer.stdout.splitlines() == [
        BREAKS[0],
        "Field ItemDifficulty.gone was removed.",
        BREAKS[1],
        "Field ItemStats.gone was removed.",
        "GoalDropped: removed",
        "GoalSet.data.answers_per_day: narrowed: maximum 1000",
        "GoalSet.data.answers_per_day: newly required",
        "GoalSet.data.note: removed",
        "MilestoneReached.user_id: widened: maxLength 100 before",
        "ReviewProcessed: moved from the topic reviews to algorithm-events",
        "UserPreferencesChanged.data.zone: renamed to timezone",
    ]


def test_a_folder_or_a_commit_without_schemas_is_an_error(tmp_path: Path) -> None:
    cli.expect_failure(cli.progress("", "schema", "--against", str(tmp_path)), "schema.graphql")
    cli.expect_failure(cli.progress("", "schema", "--against", "no-such-commit"), "a commit")


@pytest.mark.parametrize(
    ("old", "new", "breaks"),
    [
        ({"type": ["string", "null"]}, {"type": "string"}, ["x: narrowed: only string"]),
        ({"type": "integer"}, {"type": "number"}, []),
        ({"description": "any"}, {"minLength": 1}, ["x: narrowed: minLength 1"]),
        ({"minimum": 1, "maxLength": 3}, {"minimum": 0, "maxLength": 4}, []),
        ({"pattern": "a"}, {"pattern": "b"}, ['x: narrowed: pattern "b"']),
        ({"enum": ["a", "b"]}, {"enum": ["a", "c"]}, ["x: narrowed: only a, c"]),
        ({"anyOf": [{"const": 1}, {"const": 2}]}, {"anyOf": [{"const": 1}]}, ["x: narrowed: "]),
        ({"minimum": 1}, {"anyOf": [{"minimum": 0}, {"type": "null"}]}, []),
        ({"minimum": 1}, {"anyOf": [{"minimum": 2}, {"type": "null"}]}, ["x: narrowed: min"]),
        ({"allOf": []}, {"allOf": [{"required": ["a"]}]}, ["x: narrowed: another rule in allOf"]),
        ({"allOf": []}, {"allOf": [{"if": {}, "then": {}}]}, []),
        ({"items": {"minLength": 1}}, {"items": {"minLength": 2}}, ["x[]: narrowed: minLength 2"]),
    ],
)
def test_a_rule_that_accepts_less_is_narrowed(
    old: dict[str, Any], new: dict[str, Any], breaks: list[str]
) -> None:
    found = list(changes.find_narrowed("x", old, new))
    assert [line.startswith(start) for line, start in zip(found, breaks, strict=True)] == [
        True for _ in breaks
    ]
