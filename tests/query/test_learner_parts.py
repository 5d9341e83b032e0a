"""The parts of `learner`, which names the learner and the moment once.

A part has the response, the cache key, the cost and the rights of the root field with its name.
"""

import json
from typing import cast

import pytest
from graphql import GraphQLObjectType

from progress.auth import Caller, Role
from progress.query.execution import documents, fields
from progress.query.graphql.schema import GRAPHQL
from tests.query.test_compiled import Both, both
from tests.support.api import select_all

__all__ = ["both"]

DATES = 'from: "2024-03-01", to: "2024-03-31"'


def requested(query: str) -> list[fields.RequestedField]:
    prepared = documents.read(query, introspection=False).prepare(None, None)
    return fields.request(prepared.coerced, Caller("ann", "support"))


def fields_of_a_record(moment: str = "") -> str:
    """Return each part with all that needs no arguments, or the root fields for a `moment`."""
    record = cast("GraphQLObjectType", GRAPHQL.type_map["LearnerRecord"]).fields
    texts = []
    for name, part in record.items():
        dates = DATES if "from" in part.args else ""
        dated = "filter: ANSWERED" if dates and "filter" in part.args else ""
        given = ", ".join(filter(None, (moment, dates, dated)))
        texts.append(f"{name}{f'({given})' if given else ''} {select_all(part)}")
    # Without the id and the tasks, which are those of the present only.
    return " ".join(text for text in texts[1:] if not text.startswith("tasks"))


@pytest.mark.parametrize(
    "moment",
    [
        'userId: "bob"',
        'userId: "bob", asOf: "2024-02-20T00:00:00Z"',
        'userId: "bob", knownAt: "2100-02-20T00:00:00Z"',
        'userId: "nobody"',
    ],
)
def test_every_part_has_the_response_of_the_root_field_at_its_parent_s_moment(
    both: Both, moment: str
) -> None:
    flat = both.answer(f"{{ {fields_of_a_record(moment)} }}", "support")
    whole = both.answer(f"{{ learner({moment}) {{ id {fields_of_a_record()} }} }}", "support")
    assert not flat.errors + whole.errors
    record = json.loads(whole.data or b"")["learner"]
    assert record.pop("id") in moment
    assert record == json.loads(flat.data or b"")


def test_a_part_has_the_cache_key_of_the_root_field() -> None:
    moment = 'userId: "bob", asOf: "2024-02-20T00:00:00Z"'
    parts = requested(f"{{ learner({moment}) {{ {fields_of_a_record()} }} }}")
    roots = requested(f"{{ {fields_of_a_record(moment)} }}")
    assert [part.cache_key for part in parts] == [root.cache_key for root in roots]
    assert all(part.cache_key and part.cache_key.user_id == "bob" for part in parts)


def test_a_part_fails_alone_and_the_error_names_its_place(both: Both) -> None:
    backwards = 'dailyStats(from: "2024-03-31", to: "2024-03-01") { date }'
    items = "itemStats(first: 500) { totalCount }"
    whole = both.answer(f"{{ b: learner {{ goal {{ answersPerDay }} {backwards} {items} }} }}")
    assert [error["path"] for error in whole.errors] == [["b", "dailyStats"], ["b", "itemStats"]]
    assert json.loads(whole.data or b"") == {
        "b": {"goal": {"answersPerDay": 2}, "dailyStats": None, "itemStats": None}
    }


@pytest.mark.parametrize("role", ["learner", "teacher"])
def test_a_record_of_another_learner_is_forbidden_once(both: Both, role: Role) -> None:
    parts = "streak { current } itemStats { totalCount } dueForecast { items }"
    whole = both.answer(f'{{ learner(userId: "bob") {{ id {parts} }} }}', role)
    assert [(error["path"], error["extensions"]["code"]) for error in whole.errors] == [
        (["learner"], "FORBIDDEN")
    ]
    assert whole.data == b"null"


def test_parts_cost_as_much_as_root_fields(both: Both) -> None:
    year = 'dailyStats(from: "2023-01-01", to: "2024-12-31") { date answers }'
    parts = " ".join(f"a{number}: {year}" for number in range(12))
    for text in (f"{{ {parts} }}", f"{{ learner {{ {parts} }} }}"):
        whole = both.answer(text)
        assert [error["extensions"]["code"] for error in whole.errors] == ["QUERY_TOO_COMPLEX"]
