"""The schema equals the contract, and each of its members has a description."""

import re
from pathlib import Path

from graphql import GraphQLSchema, build_schema, extend_schema, parse, print_schema

from progress.query.graphql import descriptions
from progress.query.graphql.schema import SCHEMA

SPECIFIED, ADDED = (
    Path(__file__).with_name(name).read_text(encoding="utf-8")
    for name in ("api.graphql", "api_additions.graphql")
)
CONTRACT = extend_schema(build_schema(SPECIFIED), parse(ADDED))


def test_the_printed_schema_matches_the_contract() -> None:
    assert types_of(SCHEMA._schema) == types_of(CONTRACT)


def types_of(schema: GraphQLSchema) -> list[str]:
    """Return the printed types of a schema in alphabetical order, without descriptions."""
    copy = build_schema(print_schema(schema))
    for _, member in descriptions.list_members(copy):
        member.description = None
    return sorted(print_schema(copy).split("\n\n"))


def test_the_descriptions_of_the_contract_are_unchanged() -> None:
    fixed = texts_of(CONTRACT)
    described = texts_of(SCHEMA._schema)
    assert {key: described[key] for key, text in fixed.items() if text} == {
        key: text for key, text in fixed.items() if text
    }


def test_every_type_field_argument_and_enum_value_has_a_description() -> None:
    missing = [key for key, text in texts_of(SCHEMA._schema).items() if not text]
    assert missing == [], "add them to progress/query/graphql/descriptions.txt"


def test_a_description_is_one_or_more_sentences() -> None:
    for key, text in texts_of(SCHEMA._schema).items():
        assert text, key
        assert re.search(r"[.)]$", text), f"{key}: {text}"


def texts_of(schema: GraphQLSchema) -> dict[str, str | None]:
    """Map the full key of each member, such as `Type.field`, to the member's description."""
    return {keys[0]: member.description for keys, member in descriptions.list_members(schema)}
