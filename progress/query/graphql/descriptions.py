"""Descriptions of the schema's types, fields, arguments and values, from descriptions.txt.

A field without one there has the text of the column or the model with its name
(`progress.projections.columns`), a type that of its record. Those that the API's contract
prescribes are among them; a test compares them with the contract.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLEnumValue,
    GraphQLField,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
    is_introspection_type,
    is_specified_scalar_type,
    print_schema,
)

from progress.projections import columns
from progress.query.read_models import rows

Described = GraphQLNamedType | GraphQLField | GraphQLArgument | GraphQLEnumValue

_FILE = Path(__file__).with_suffix(".txt")


def describe(schema: GraphQLSchema) -> None:
    texts = columns.read_texts(_FILE)
    for keys, member in list_members(schema):
        found = next((texts[key] for key in keys if key in texts), None)
        member.description = found or _derive(keys[-1].removeprefix("."))


def _derive(name: str) -> str | None:
    column = re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)
    if meaning := columns.find(column):
        text = meaning.english.removesuffix(".")
        return f"{text[0].upper()}{text[1:]}."
    docstring = vars(rows)[name].__doc__ if name in vars(rows) else None
    return docstring and " ".join(docstring.split())


def list_members(schema: GraphQLSchema) -> Iterator[tuple[tuple[str, ...], Described]]:
    """Yield the schema's members with their keys in the file, the most specific key first.

    The parts of a learner's record have the descriptions of the root fields with their names.
    """
    for name, type_ in schema.type_map.items():
        if is_introspection_type(type_) or is_specified_scalar_type(type_):
            continue
        yield (name, *(end for end in ("Edge", "Connection") if name.endswith(end))), type_
        if isinstance(type_, GraphQLEnumType):
            for value, member in type_.values.items():
                yield (f"{name}.{value}",), member
        if isinstance(type_, GraphQLObjectType):
            parents = (name, "Query") if name == "LearnerRecord" else (name,)
            for field, declared in type_.fields.items():
                yield (*(f"{each}.{field}" for each in parents), f".{field}"), declared
                for argument, taken in declared.args.items():
                    keys = (f"{each}.{field}({argument})" for each in parents)
                    yield (*keys, f"({argument})"), taken


def print_bare(schema: GraphQLSchema) -> str:
    """Return the schema's text without descriptions."""
    copy = build_schema(print_schema(schema))
    for _, member in list_members(copy):
        member.description = None
    return print_schema(copy)
