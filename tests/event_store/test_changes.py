"""`progress schema --against`: what breaks readers or publishers of a former version."""

import json
from pathlib import Path
from typing import Any

import pytest

from progress.event_store.contract import changes
from tests.support import cli

ROOT = Path(__file__).parents[2]
RELEASED = ROOT / "schemas" / "released.json"


def test_this_version_breaks_nothing_that_was_released() -> None:
    done = cli.progress("", "schema", "--against", str(RELEASED))
    assert cli.expect_success(done) == "nothing breaks\n"


def test_each_break_is_named_in_a_line(tmp_path: Path) -> None:
    contract = json.loads(RELEASED.read_text(encoding="utf-8"))
    goal = contract["events"]["GoalSet"]["properties"]["data"]
    goal["required"] = []
    goal["properties"]["answers_per_day"]["maximum"] = 2_000
    goal["properties"]["note"] = {"type": "string"}
    changed = contract["events"]["UserPreferencesChanged"]["properties"]["data"]["properties"]
    changed["zone"] = changed.pop("timezone")
    milestone = contract["published"]["MilestoneReached"]["properties"]
    milestone["user_id"] |= {"maxLength": 100, "anyOf": [{"pattern": "^u"}]}
    milestone["kind"]["enum"].pop()  # readers expect new members
    contract["topics"]["ReviewProcessed"] = "reviews"
    contract["events"]["GoalDropped"] = {}
    contract["api"] = contract["api"].replace("lapses: Int!\n", "lapses: Int!\n  gone: Int\n")
    former = tmp_path / "former.json"
    former.write_text(json.dumps(contract), encoding="utf-8")
    answer = cli.progress("", "schema", "--against", str(former))
    assert (answer.returncode, answer.stderr) == (1, "")
    assert answer.stdout.splitlines() == [
        "Field ItemDifficulty.gone was removed.",
        "Field ItemStats.gone was removed.",
        "GoalDropped: removed",
        "GoalSet.data.answers_per_day: narrowed: maximum 1000",
        "GoalSet.data.answers_per_day: newly required",
        "GoalSet.data.note: removed",
        "MilestoneReached.user_id: widened: fewer choices in anyOf before",
        "MilestoneReached.user_id: widened: maxLength 100 before",
        "ReviewProcessed: moved from the topic reviews to algorithm-events",
        "UserPreferencesChanged.data.zone: renamed to timezone",
    ]


def test_a_commit_has_its_schemas() -> None:
    """Files that are not committed yet may break those that are."""
    answer = cli.progress("", "schema", "--against", "HEAD")
    assert answer.stderr == ""
    assert answer.stdout


def test_a_file_or_a_commit_without_schemas_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text("{}")
    for against, reason in (
        (str(tmp_path / "none.json"), "events"),
        ("no-such-commit", "a commit"),
    ):
        cli.expect_failure(cli.progress("", "schema", "--against", against), reason)


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
